"""Reports side by side: settings, figures with their changes, where time was spent, and what moved.

Reports are called by letters, the first, A, being what the others are compared with. Where the lines have no
space for all of them, the next ones follow in a table of their own, beside A.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from rich.cells import cell_len

from tracesim.analysis.comparison import ChangedSetting, ComparedFigure, ReportComparison
from tracesim.analysis.comparison_text import setting_text
from tracesim.analysis.figure_text import format_value, shown_unit, signed_value
from tracesim_cli.terminal.lines import clip_line
from tracesim_cli.terminal.safe_text import visible
from tracesim_cli.terminal.text import clip
from tracesim_cli.views.compare_requests_view import format_requests
from tracesim_cli.views.compare_table import INDENT, VALUE, Compared, ComparisonTable, Line, most_others
from tracesim_cli.views.run_view import wrap

MOST_REPORTS: Final = 26

_MIN_WIDTH: Final = 60
_MAX_WIDTH: Final = 160
_MAX_TITLE: Final = 33
_TITLE: Final = 7
_SETTING: Final = VALUE + 2


def format_comparison(comparison: ReportComparison, *, width: int = 100) -> list[Line]:
    """Return the comparison as lines of at most `width` cells, or of 60 where there are fewer."""
    width = min(max(width, _MIN_WIDTH), _MAX_WIDTH)
    lines: list[Line] = [
        [(f"{letter}  ", "bold"), (visible(report.name), "")]
        for letter, report in zip(comparison.letters, comparison.reports, strict=True)
    ]
    if comparison.settings:
        lines += [[], *_settings(comparison.settings, comparison.letters, width)]
    else:
        lines += [[], [("settings are equal", "dim")]]
    changed = [each for each in comparison.figures if not each.is_equal]
    if changed:
        numbers, size = range(len(comparison.letters) - 1), most_others(width)
        for start in numbers[::size]:
            lines += [[], *_figures(changed, comparison.letters, numbers[start : start + size], width)]
    lines += _equal_figures(comparison.figures, width)
    for letter, found in comparison.pairs():
        lines += [[], *format_requests(comparison, letter, found, width)]
    return [clip_line(line, width) for line in lines]


def _settings(settings: Sequence[ChangedSetting], letters: Sequence[str], width: int) -> Iterator[Line]:
    """Yield the settings that differ: in columns where all values fit, else each on a line of its own."""
    title_width = min(max(len(each.name) for each in settings) + INDENT, _MAX_TITLE)
    cells = min((width - INDENT - title_width) // len(letters), _SETTING)
    header = "".join(f"{letter:>{cells}}" for letter in letters)
    yield [("settings".ljust(title_width + INDENT), "bold"), (header, "dim")]
    for setting in settings:
        values = [visible(setting_text(value)) for value in setting.values]
        title = " " * INDENT + clip(visible(setting.name), title_width - 1).ljust(title_width)
        if all(cell_len(value) < cells for value in values):
            columns = "".join(" " * (cells - cell_len(value)) + value for value in values)
            yield [(title, ""), (columns, "")]
            continue
        yield [(title, "")]
        for letter, value in zip(letters, values, strict=True):
            first, *others = wrap(value.replace(",", ",\0").split("\0"), width - _TITLE, between="")
            yield [(f"    {letter}  ", "dim"), (first, "")]
            yield from ([(" " * _TITLE + line, "")] for line in others)


def _figures(
    figures: Sequence[ComparedFigure], letters: Sequence[str], others: Sequence[int], width: int
) -> Iterator[Line]:
    """Yield a row for each figure: its value in the base, and in each of the others with its change."""
    titles = [f"{each.figure.name} {shown_unit(each.figure)}".rstrip() for each in figures]
    table = ComparisonTable(width, len(others), min(max(map(len, titles)), _MAX_TITLE))
    yield table.header("figures", letters[0], [letters[1 + other] for other in others])
    for each in figures:
        base, *values = (format_value(each.figure, value) for value in each.values)
        compared = []
        for other in others:
            change = each.changes[other]
            absolute = "" if change is None else signed_value(each.figure, change.absolute)
            compared.append(Compared(values[other], absolute, change))
        yield table.row(each.figure.name, shown_unit(each.figure), base, compared)


def _equal_figures(figures: Sequence[ComparedFigure], width: int) -> Iterator[Line]:
    """Yield the figures that are equal in all reports, and by name alone those that are 0 in all."""
    words: list[str] = []
    zeros: list[str] = []
    for each in figures:
        if each.is_equal and each.values[0]:
            unit = shown_unit(each.figure)
            value = format_value(each.figure, each.values[0])
            words.append(f"{each.figure.name} {value}{'' if unit == '%' else ' '}{unit}".rstrip())
        elif each.is_equal:
            zeros.append(each.figure.name)
    for title, names in (("equal", words), ("zero", zeros)):
        if names:
            separated = [*(f"{name}," for name in names[:-1]), names[-1]]
            first, *others = wrap(separated, width - _TITLE)
            yield from ([], [(f"{title:<{_TITLE}}", "bold"), (first, "dim")])
            yield from ([(" " * _TITLE + line, "dim")] for line in others)
