"""Reports side by side: settings, figures with their changes, where time was spent, and what moved.

Reports are called by letters, the first, A, being what the others are compared with. Where the lines have no
space for all of them, the next ones follow in a table of their own, beside A.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from rich.cells import cell_len

from tracesim.analysis.comparison import (
    DECODE,
    PREFILL,
    WAITING,
    Change,
    ComparedFigure,
    MovedRequest,
    ReportComparison,
    RequestComparison,
    Unit,
    change_of,
    part_label,
)
from tracesim.analysis.figures import Figure
from tracesim.analysis.queueing import CAUSE_LABELS
from tracesim_cli.terminal.lines import Fragment, clip_line
from tracesim_cli.terminal.safe_text import visible
from tracesim_cli.terminal.text import clip, counted, label
from tracesim_cli.views.compare_cells import (
    WHOLE_LABELS,
    reasons_text,
    signed_percent,
    signed_time,
    signed_value,
    time_text,
)
from tracesim_cli.views.figure_text import SHOWN_UNITS, format_value
from tracesim_cli.views.run_view import wrap

MOST_REPORTS: Final = 26

Line = list[Fragment]

_LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_MIN_WIDTH: Final = 60
_MAX_WIDTH: Final = 160
_INDENT: Final = 2
_VALUE: Final = 10
_CHANGE: Final = 10
_PERCENT: Final = 8
_VERDICT: Final = 7
_MIN_TITLE: Final = 22
_MAX_TITLE: Final = 33
_MAX_ID: Final = 24
_WIDE: Final = 100
"""From so many cells on, the reasons of a request are on its line."""
_PARTS: Final = (*CAUSE_LABELS, WAITING, PREFILL, DECODE)
_STYLES: Final = {"better": "green", "worse": "red", "equal": "dim", "changed": ""}


def format_comparison(comparison: ReportComparison, *, width: int = 100) -> list[Line]:
    """Return the comparison as lines of at most `width` cells, or of 60 where there are fewer."""
    view = _ComparisonView(comparison, min(max(width, _MIN_WIDTH), _MAX_WIDTH))
    return [clip_line(line, view.width) for line in view.lines()]


class _ComparisonView:
    """The lines of one comparison, for `width` cells."""

    def __init__(self, comparison: ReportComparison, width: int) -> None:
        self.width = width
        self._comparison = comparison
        self._letters = _LETTERS[: len(comparison.reports)]

    def lines(self) -> Iterator[Line]:
        for letter, report in zip(self._letters, self._comparison.reports, strict=True):
            yield [(f"{letter}  ", "bold"), (visible(report.name), "")]
        yield from self._settings()
        changed = [each for each in self._comparison.figures if not each.is_equal]
        others = range(len(self._letters) - 1)
        if changed:
            for block in _blocks(others, self._table(1).most_beside(self.width)):
                yield from self._figures(changed, block)
        yield from self._equal_figures()
        for other in others:
            yield from self._requests(other)

    def _table(self, others: int) -> _Table:
        titles = [_title_width(each.figure) for each in self._comparison.figures]
        return _Table(self.width - _INDENT, others, min(max(titles, default=0), _MAX_TITLE))

    def _settings(self) -> Iterator[Line]:
        """Yield the settings that differ: in columns where all values fit, else each on a line of its own."""
        if not self._comparison.settings:
            yield from ([], [("settings are equal", "dim")])
            return
        title_width = min(max(len(each.name) for each in self._comparison.settings) + 2, _MAX_TITLE)
        value_width = (self.width - _INDENT - title_width) // len(self._letters)
        header = "".join(f"{letter:>{min(value_width, _VALUE + 2)}}" for letter in self._letters)
        yield from ([], [("settings".ljust(title_width + _INDENT), "bold"), (header, "dim")])
        for setting in self._comparison.settings:
            values = [_setting_text(value) for value in setting.values]
            title = (" " * _INDENT + clip(visible(setting.name), title_width - 1).ljust(title_width), "")
            cells = min(value_width, _VALUE + 2)
            if all(cell_len(value) < cells for value in values):
                yield [title, ("".join(" " * (cells - cell_len(value)) + value for value in values), "")]
                continue
            yield [title]
            for letter, value in zip(self._letters, values, strict=True):
                words = value.replace(",", ",\0").split("\0")
                first, *more = wrap_tight(words, self.width - 7)
                yield [(f"    {letter}  ", "dim"), (first, "")]
                yield from ([(" " * 7 + line, "")] for line in more)

    def _figures(self, figures: Sequence[ComparedFigure], others: Sequence[int]) -> Iterator[Line]:
        table = self._table(len(others))
        yield from (
            [],
            table.header("figures", self._letters[0], [self._letters[1 + each] for each in others]),
        )
        for each in figures:
            values = [format_value(each.figure, value) for value in each.values]
            changes = [
                (values[1 + other], _change_cells(each.figure, each.changes[other])) for other in others
            ]
            yield table.row(table.title(each.figure), values[0], changes)

    def _equal_figures(self) -> Iterator[Line]:
        """Yield the figures that are equal in all reports, and by name alone those that are 0 in all."""
        words: list[str] = []
        zeros: list[str] = []
        for each in self._comparison.figures:
            if each.is_equal and each.values[0]:
                unit = _shown_unit(each.figure)
                value = format_value(each.figure, each.values[0])
                words.append(f"{each.figure.name} {value}{'' if unit == '%' else ' '}{unit}".rstrip())
            elif each.is_equal:
                zeros.append(each.figure.name)
        for title, names in (("equal", words), ("zero", zeros)):
            if names:
                separated = [*(f"{name}," for name in names[:-1]), names[-1]]
                first, *others = wrap(separated, self.width - len("equal  "))
                yield from ([], [(f"{title:<7}", "bold"), (first, "dim")])
                yield from ([(" " * 7 + line, "dim")] for line in others)

    def _requests(self, other: int) -> Iterator[Line]:
        """Yield where the time of requests was spent in the base and another report, and which moved most."""
        found, unit = self._comparison.requests[other], self._comparison.unit
        base, letter = self._letters[0], self._letters[1 + other]
        whole = WHOLE_LABELS[self._comparison.whole]
        yield from ([], [(f"requests, {base} and {letter}", "bold")])
        yield from ([(" " * _INDENT + line, "")] for line in self._counts(found, letter))
        if found.before and found.after:
            table = _Table(self.width - _INDENT, 1, min(26, _MAX_TITLE))
            shown = "ms" if unit == "s" else unit
            yield from ([], table.header(f"mean time ({shown})", base, [letter]))
            found_in = found.before.parts.keys() | found.after.parts.keys()
            names = sorted(found_in, key=_PARTS.index)
            parts = [
                (part_label(n), found.before.parts.get(n, 0), found.after.parts.get(n, 0)) for n in names
            ]
            for title, before, after in [*parts, (whole, found.before.total, found.after.total)]:
                change = change_of(before, after, "lower")
                cells = (signed_time(change.absolute, unit), signed_percent(change.relative), change.verdict)
                yield table.row((title, ""), time_text(before, unit), [(time_text(after, unit), cells)])
        if found.moved:
            yield from ([], *self._moved(found.moved, unit, base, letter))

    def _counts(self, found: RequestComparison, letter: str) -> Iterator[str]:
        base, whole = self._letters[0], WHOLE_LABELS[self._comparison.whole]
        text = f"{found.compared:,} compared by {whole}: "
        text += f"{found.faster:,} faster, {found.slower:,} slower, {found.equal:,} equal"
        yield text if found.compared else "no request emitted a token in both"
        if found.matched > found.compared > 0:
            yield f"{found.matched - found.compared:,} more emitted no token in {base} or {letter}"
        only = [(base, found.only_before), (letter, found.only_after)]
        if text := ", ".join(f"{count:,} only in {name}" for name, count in only if count):
            yield text
        if found.other_prompts:
            yield (
                f"{counted(found.other_prompts, 'request')} with another prompt length: are {base} and "
                f"{letter} runs of one trace?"
            )

    def _moved(self, moved: Sequence[MovedRequest], unit: Unit, base: str, letter: str) -> Iterator[Line]:
        ids = [clip(label(each.id), _MAX_ID) for each in moved]
        id_width = max(10, *map(cell_len, ids)) + 1
        is_wide = self.width >= _WIDE
        head = f"{base:>{_VALUE}}{letter:>{_VALUE}}{'change':>{_CHANGE}}{'  why' if is_wide else ''}"
        yield [("moved most".ljust(id_width + _INDENT), "bold"), (head, "dim")]
        for name, each in zip(ids, moved, strict=True):
            style = _STYLES["better" if each.change < 0 else "worse"]
            times = (
                f"{time_text(each.before.total, unit):>{_VALUE}}{time_text(each.after.total, unit):>{_VALUE}}"
            )
            line: Line = [
                (" " * _INDENT + name + " " * (id_width - cell_len(name)) + times, ""),
                (f"{signed_time(each.change, unit):>{_CHANGE}}", style),
            ]
            why = reasons_text(each, unit)
            if is_wide:
                yield [*line, (f"  {why}", "dim")]
            else:
                yield line
                yield [(" " * (_INDENT + 2) + why, "dim")]


class _Table:
    """Columns for a title, a value of the base, and a value and its change for each of some others."""

    def __init__(self, width: int, others: int, title_width: int) -> None:
        least = _VALUE + others * (_VALUE + _PERCENT + _VERDICT)
        self.has_change = others == 1 and width - least - _CHANGE >= max(title_width, _MIN_TITLE)
        self._title_width = max(min(title_width, width - least - self.has_change * _CHANGE), _MIN_TITLE)

    def most_beside(self, width: int) -> int:
        """Return how many others have space beside the base."""
        return max(1, (width - _INDENT - _MIN_TITLE - _VALUE) // (_VALUE + _PERCENT + _VERDICT))

    def title(self, figure: Figure) -> tuple[str, str]:
        """Return the name and the unit of a figure, as far as both fit."""
        unit = _shown_unit(figure)
        if _title_width(figure) <= self._title_width:
            return figure.name, unit
        if len(unit) <= len("ms"):
            return clip(figure.name, self._title_width - len(unit) - 1), unit
        return clip(figure.name, self._title_width), ""

    def header(self, title: str, base: str, others: Sequence[str]) -> Line:
        """Return the line of column titles."""
        text = f"{base:>{_VALUE}}"
        for each in others:
            text += f"{each:>{_VALUE}}" + ("change".rjust(_CHANGE) if self.has_change else "")
            text += " " * (_PERCENT + _VERDICT)
        return [(title.ljust(self._title_width + _INDENT), "bold"), (text.rstrip(), "dim")]

    def row(
        self, title: tuple[str, str], base: str, others: Sequence[tuple[str, tuple[str, str, str]]]
    ) -> Line:
        """Return a row: its title and unit, and of each other report its value, change and verdict."""
        name, unit = title
        text = f"{name} {unit}" if unit else name
        line: Line = [
            (" " * _INDENT + name, ""),
            (text[len(name) :].ljust(self._title_width - len(name)), "dim"),
            (f"{base:>{_VALUE}}", ""),
        ]
        for value, (change, percent, verdict) in others:
            style = _STYLES.get(verdict, "")
            line.append((f"{value:>{_VALUE}}", ""))
            if self.has_change:
                line.append((f"{change:>{_CHANGE}}", style))
            word = verdict if verdict != "changed" else ""
            line.append((f"{percent:>{_PERCENT}}", style))
            line.append((f" {word:<{_VERDICT - 1}}", style))
        return line


def _blocks(numbers: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(numbers), size):
        yield numbers[start : start + size]


def _shown_unit(figure: Figure) -> str:
    """Return the unit to show after the name of a figure; none if the name says it."""
    unit = SHOWN_UNITS.get(figure.unit, figure.unit)
    return "" if figure.name.endswith(unit) else unit


def _title_width(figure: Figure) -> int:
    return len(f"{figure.name} {_shown_unit(figure)}".rstrip())


def _change_cells(figure: Figure, change: Change | None) -> tuple[str, str, str]:
    """Return a change as the cells of a row; empty where there is none."""
    if change is None:
        return "", "", ""
    percent = "" if figure.unit == "yes or no" else signed_percent(change.relative)
    return signed_value(figure, change.absolute), percent, change.verdict


def _setting_text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list):
        return visible(", ".join(map(str, value))) or "none"
    return visible(f"{value:,}" if isinstance(value, int) else str(value))


def wrap_tight(words: Sequence[str], width: int) -> list[str]:
    """Return lines of words without blanks between them, each as long as `width` cells allow."""
    lines: list[str] = []
    for word in words:
        if lines and cell_len(lines[-1]) + cell_len(word) <= width:
            lines[-1] += word
        else:
            lines.append(word)
    return lines
