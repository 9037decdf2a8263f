"""The requests of two reports: how many moved, where their time was spent, and which moved most and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from rich.cells import cell_len

from tracesim.analysis.comparison import (
    MovedRequest,
    ReportComparison,
    RequestComparison,
    RequestTime,
    Unit,
    change_of,
    ordered_parts,
    part_label,
)
from tracesim.analysis.comparison_text import WHOLE_LABELS, reasons_text, signed_time, time_text
from tracesim_cli.terminal.safe_text import visible
from tracesim_cli.terminal.text import clip, counted, label
from tracesim_cli.views.compare_table import (
    CHANGE,
    INDENT,
    VALUE,
    VERDICT_STYLES,
    Compared,
    ComparisonTable,
    Line,
)
from tracesim_cli.views.run_view import wrap

_TITLE_WIDTH: Final = 28
_MAX_ID: Final = 24
_WIDE: Final = 100
"""From so many cells on, the reasons of a request are on its line."""


def format_requests(
    comparison: ReportComparison, letter: str, found: RequestComparison, width: int
) -> Iterator[Line]:
    """Yield the lines about the requests of the base and of the report that is called `letter`."""
    whole, unit = WHOLE_LABELS[comparison.whole], comparison.unit
    base = comparison.letters[0]
    yield [(f"requests, {base} and {letter}", "bold")]
    yield from ([(" " * INDENT + line, "")] for line in _counts(found, whole, base, letter))
    if found.before and found.after:
        yield []
        yield from _mean_times(found.before, found.after, whole, unit, base, letter, width)
    if found.moved:
        yield []
        yield from _moved(found.moved, unit, base, letter, width)


def _counts(found: RequestComparison, whole: str, base: str, letter: str) -> Iterator[str]:
    """Yield how many requests there are of each kind, in words."""
    if found.compared:
        counts = f"{found.faster:,} faster, {found.slower:,} slower, {found.equal:,} equal"
        yield f"{found.compared:,} compared by {whole}: {counts}"
    else:
        yield "no request emitted a token in both"
    if found.matched > found.compared > 0:
        yield f"{found.matched - found.compared:,} more emitted no token in {base} or {letter}"
    only = [(base, found.only_before), (letter, found.only_after)]
    if any(count for _, count in only):
        yield ", ".join(f"{count:,} only in {name}" for name, count in only if count)
    if found.other_prompts:
        requests = counted(found.other_prompts, "request")
        yield f"{requests} with another prompt length: are {base} and {letter} runs of one trace?"


def _mean_times(
    before: RequestTime, after: RequestTime, whole: str, unit: Unit, base: str, letter: str, width: int
) -> Iterator[Line]:
    table = ComparisonTable(width, 1, _TITLE_WIDTH)
    yield table.header(f"mean time ({'ms' if unit == 's' else unit})", base, [letter])
    rows = [
        (visible(part_label(part)), before.parts.get(part, 0), after.parts.get(part, 0))
        for part in ordered_parts([before, after])
    ]
    for title, old, new in [*rows, (whole, before.total, after.total)]:
        change = change_of(old, new, "lower")
        compared = Compared(time_text(new, unit), signed_time(change.absolute, unit), change)
        yield table.row(title, "", time_text(old, unit), [compared])


def _moved(moved: Sequence[MovedRequest], unit: Unit, base: str, letter: str, width: int) -> Iterator[Line]:
    ids = [clip(label(each.id), _MAX_ID) for each in moved]
    id_width = max(10, *map(cell_len, ids)) + 1
    is_wide = width >= _WIDE
    head = f"{base:>{VALUE}}{letter:>{VALUE}}{'change':>{CHANGE}}{'  why' if is_wide else ''}"
    yield [("moved most".ljust(id_width + INDENT), "bold"), (head, "dim")]
    indent = 2 * INDENT + (id_width + 2 * VALUE + CHANGE if is_wide else 0)
    for name, each in zip(ids, moved, strict=True):
        before, after = (time_text(time.total, unit) for time in (each.before, each.after))
        style = VERDICT_STYLES["better" if each.change < 0 else "worse"]
        line: Line = [
            (f"{'':{INDENT}}{name}{'':{id_width - cell_len(name)}}{before:>{VALUE}}{after:>{VALUE}}", ""),
            (f"{signed_time(each.change, unit):>{CHANGE}}", style),
        ]
        reasons = [visible(reason) for reason in reasons_text(each, unit).replace(", ", ",\0").split("\0")]
        lines: list[Line] = [[(" " * indent + text, "dim")] for text in wrap(reasons, width - indent)]
        if is_wide:
            lines[0] = [*line, (lines[0][0][0][indent - INDENT :], "dim")]
        else:
            lines.insert(0, line)
        yield from lines
