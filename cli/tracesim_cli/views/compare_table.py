"""The columns of a comparison: a title, a value of the base, and values of others with their changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from tracesim.analysis.comparison import Change
from tracesim.analysis.figure_text import signed_percent
from tracesim_cli.terminal.lines import Fragment
from tracesim_cli.terminal.text import clip

Line = list[Fragment]

INDENT: Final = 2
VALUE: Final = 10
CHANGE: Final = 10
VERDICT_STYLES: Final = {"better": "green", "worse": "red", "equal": "dim", "changed": ""}

_PERCENT: Final = 8
_VERDICT: Final = 7
_OTHER: Final = VALUE + _PERCENT + _VERDICT
_MIN_TITLE: Final = 22


class Compared(NamedTuple):
    """A value of a report after the base, as text, and its change; `change` is None where there is none."""

    value: str
    absolute: str
    change: Change | None


class ComparisonTable:
    """Rows of at most `width` cells for the base and `num_others` others.

    Beside a single other there is a column for the absolute change, where it leaves titles their width.
    """

    def __init__(self, width: int, num_others: int, title_width: int) -> None:
        least = INDENT + VALUE + num_others * _OTHER
        self._has_absolute = num_others == 1 and width - least - CHANGE >= max(title_width, _MIN_TITLE)
        space = width - least - self._has_absolute * CHANGE
        self._title_width = max(min(title_width, space), _MIN_TITLE)

    def header(self, title: str, base: str, others: Sequence[str]) -> Line:
        """Return the line of column titles."""
        text = f"{base:>{VALUE}}"
        for each in others:
            absolute = f"{'change':>{CHANGE}}" if self._has_absolute else ""
            text += f"{each:>{VALUE}}{absolute}{'':{_PERCENT + _VERDICT}}"
        return [(title.ljust(self._title_width + INDENT), "bold"), (text.rstrip(), "dim")]

    def row(self, name: str, unit: str, base: str, others: Sequence[Compared]) -> Line:
        """Return a row; a unit that is longer than "ms" is shown only where the whole name is, too."""
        text = f"{name} {unit}".rstrip()
        if len(text) > self._title_width:
            unit = unit if len(unit) <= len("ms") else ""
            name = clip(name, self._title_width - len(unit) - bool(unit))
            text = f"{name} {unit}".rstrip()
        line: Line = [
            (" " * INDENT + name, ""),
            (text[len(name) :].ljust(self._title_width - len(name)), "dim"),
            (f"{base:>{VALUE}}", ""),
        ]
        for value, absolute, change in others:
            verdict = change.verdict if change else "changed"
            percent = signed_percent(change.relative) if change else ""
            shown = f"{absolute:>{CHANGE}}" if self._has_absolute else ""
            word = "" if verdict == "changed" else verdict
            line.append((f"{value:>{VALUE}}", ""))
            line.append((f"{shown}{percent:>{_PERCENT}} {word:<{_VERDICT - 1}}", VERDICT_STYLES[verdict]))
        return line


def most_others(width: int) -> int:
    """Return how many others have space beside the base in lines of `width` cells."""
    return max(1, (width - INDENT - _MIN_TITLE - VALUE) // _OTHER)
