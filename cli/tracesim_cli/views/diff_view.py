"""Two step logs side by side: the first step that differs, field by field, and the steps around it.

Marks before lines mean what their colours mean: "!" differs, "-" is only in the first log, "+" is only in the
second. A line without a mark is equal in both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, TextIO

from rich.cells import cell_len

from tracesim.analysis.step_diff import Comparison, Entry, StepDiff, StepPair, align
from tracesim.analysis.step_log import LoggedStep, StepLog
from tracesim.engine.step_records import (
    CachedTokens,
    EmittedToken,
    FinishedRequest,
    ScheduledTokens,
    StepRecord,
)
from tracesim_cli.terminal.display import Display
from tracesim_cli.terminal.lines import Fragment, print_lines
from tracesim_cli.terminal.safe_text import visible
from tracesim_cli.terminal.text import clip, counted
from tracesim_cli.views.diff_cells import change_text, clip_differing, clip_start, entry_text, figure_text
from tracesim_cli.views.items import Item, fit
from tracesim_cli.views.step_table import StepTable

Line = list[Fragment]

_STYLES = {"!": "bold yellow", "-": "red", "+": "green", " ": ""}
_MARK_WIDTH = 2  # the mark and a space
_TITLE_WIDTH = 13
_GAP = 2
_MIN_WIDTH = 42
_MAX_CELL_WIDTH = 48  # so that the two sides stay close to each other
_MAX_ENTRIES = 8
_MAX_NAME_WIDTH = 40
_NO_STEP = LoggedStep(-1, {})


def print_diff(
    stream: TextIO, display: Display, comparison: Comparison, diff: StepDiff, *, ended: bool = True
) -> None:
    """Print what `format_diff` returns, in colour or as plain text, as `display` wants it."""
    lines = format_diff(comparison, diff, width=display.width, ended=ended)
    print_lines(stream, display, lines)


def format_equal(diff: StepDiff) -> str:
    """Return the result of a comparison of equal logs: `equal: 1,234 steps`."""
    return f"equal: {counted(diff.steps, 'step')}"


def format_diff(
    comparison: Comparison, diff: StepDiff, *, width: int = 100, ended: bool = True
) -> list[Line]:
    """Return the differences of two logs that differ; no line is wider than `width`, or than 42 cells.

    `ended` is true if both logs were read to their end, so that all differences are counted.
    """
    first = diff.first
    assert first is not None
    view = _DiffView(comparison, diff, max(width, _MIN_WIDTH))
    lines: list[Line] = [*view.names(), []]
    if diff.before:
        lines += [view.header(), *map(view.equal_step, diff.before), []]
    lines += view.first_difference(first)
    if diff.after:
        has_rows = any(not pair.fields for pair in diff.after)
        lines += [[], *([view.header()] if has_rows else []), *map(view.later_step, diff.after)]
    if ended:
        counts = [f"{field} {count:,}" for field, count in diff.by_field.most_common()]
        for log, count in ((comparison.left, diff.only_left), (comparison.right, diff.only_right)):
            counts += [f"only in {_log_name(log, _MAX_NAME_WIDTH)} {count:,}"] if count else []
        later = f"{diff.differing - 1:,} of {diff.steps - diff.steps_before - 1:,} after step {first.number}"
        result = f"{diff.differing:,} of {counted(diff.steps, 'step')} differ, {later}: {', '.join(counts)}"
    else:
        equal = counted(diff.steps_before, "equal step")
        result = f"stopped at the first step that differs, after {equal}"
    return [*lines, [], *_wrap(result, view.width), *not_compared(comparison, view.width)]


def not_compared(comparison: Comparison, width: int) -> list[Line]:
    """Return the fields that were not compared, in lines of at most `width` cells; none if all were."""
    names = comparison.not_compared
    return _wrap(f"not compared: {', '.join(names)}", width) if names else []


class _DiffView:
    """The lines of one comparison, for `width` cells."""

    def __init__(self, comparison: Comparison, diff: StepDiff, width: int) -> None:
        self.width = width
        self._comparison = comparison
        self._left, self._right = comparison.left, comparison.right
        self._value_width = width - _MARK_WIDTH - _TITLE_WIDTH - _MARK_WIDTH
        self._cell_width = min(_MAX_CELL_WIDTH, (self._value_width - _GAP) // 2)
        steps = [step for pair in [*diff.before, *diff.after] for step in (pair.left, pair.right) if step]
        finite = any(step.fields["free_blocks"] is not None for step in steps)
        self._table = StepTable(width - _MARK_WIDTH, finite_blocks=finite)

    def names(self) -> Iterator[Line]:
        """Yield the name of each log, after the mark of what is only in it."""
        for mark, log in (("-", self._left), ("+", self._right)):
            yield _marked(mark, [(_log_name(log, self.width - _MARK_WIDTH), "")])

    def header(self) -> Line:
        """Return the column titles of the steps around the difference."""
        return _marked(" ", self._table.header_fragments())

    def equal_step(self, pair: StepPair) -> Line:
        """Return a step that is equal in both logs, from the log that has more of its tokens."""
        prefer_left = len(self._left.fields["emitted"]) > len(self._right.fields["emitted"])
        return self._row(" ", pair.left if prefer_left else pair.right)

    def later_step(self, pair: StepPair) -> Line:
        """Return a step after the first difference: a row of the table or, if it differs, how."""
        if not pair.differs:
            return self.equal_step(pair)
        if pair.left is None or pair.right is None:
            return self._row("-" if pair.left else "+", pair.left or pair.right)
        changes = [change_text(field, *self._values(field, pair)) for field in pair.fields]
        number = self._table.row_fragments(_record(pair.left))[0]
        text = clip("  ".join(["", *changes]), self.width - _MARK_WIDTH - len(number[0]))
        return _marked("!", [number, (text, "")])

    def first_difference(self, pair: StepPair) -> Iterator[Line]:
        """Yield the first step that differs: both sides field by field, or the only side that exists."""
        title = f"step {pair.number}"
        if pair.left is None or pair.right is None:
            mark, log, step = ("-", self._left, pair.left) if pair.left else ("+", self._right, pair.right)
            text = f"{title} is only in "
            yield _marked(mark, [(text + _log_name(log, self.width - _MARK_WIDTH - len(text)), "bold")])
            for field in self._comparison.fields:
                value = self._comparison.value(step or _NO_STEP, field)
                yield self._titled(mark, field, self._one_line(field, value))
            return
        names = [_log_name(log, self._cell_width) for log in (self._left, self._right)]
        yield self._titled("!", title, self._two_cells(" ", *names))
        for field in self._comparison.fields:
            values = self._values(field, pair)
            if field not in pair.fields:
                yield self._titled(" ", field, self._one_line(field, values[0]))
            else:
                for index, line in enumerate(self._two_sides(field, *values)):
                    yield self._titled(*(" ", "") if index else ("!", field), line)

    def _values(self, field: str, pair: StepPair) -> tuple[Any, Any]:
        left, right = pair.left or _NO_STEP, pair.right or _NO_STEP
        return self._comparison.value(left, field), self._comparison.value(right, field)

    def _two_sides(self, field: str, left: Any, right: Any) -> Iterator[Line]:
        """Yield the lines of a field that differs: one per entry that differs, one per run of equal ones."""
        if not isinstance(left, list) or not isinstance(right, list):
            yield self._two_cells("!", figure_text(left), figure_text(right))
            return
        aligned = list(align(left, right))
        differing = sum(a != b for a, b in aligned)
        shown = 0
        for is_equal, run in groupby(aligned, key=lambda sides: sides[0] == sides[1]):
            if is_equal:
                yield self._one_line(field, [a for a, _ in run])
                continue
            for a, b in run:
                mark = "+" if a is None else "-" if b is None else "!"
                texts = [self._entry_text(field, entry) if entry else "" for entry in (a, b)]
                yield self._two_cells(mark, *clip_differing(texts[0], texts[1], self._cell_width))
                shown += 1
                if shown == _MAX_ENTRIES and differing > shown:
                    yield [(f"  ... and {differing - shown:,} more that differ", "dim")]
                    return

    def _two_cells(self, mark: str, left: str, right: str) -> Line:
        left, right = clip(left, self._cell_width), clip(right, self._cell_width)
        space = " " * (self._cell_width - cell_len(left) + _GAP)
        return [*_marked(mark, [(left, _STYLES["-"])]), (space, ""), (right, _STYLES["+"])]

    def _one_line(self, field: str, value: Any) -> Line:
        """Return a value in one line: as many entries as fit, and the number of the others."""
        if not isinstance(value, list):
            return [("  ", ""), (clip(figure_text(value), self._value_width), "")]
        if not value:
            return [("  ", ""), ("none", "dim")]
        texts = (self._entry_text(field, entry) for entry in value)
        items = (Item(text, "", "", "", cell_len(text)) for text in texts)
        return [("  ", ""), *fit(items, len(value), self._value_width, between=2)[0]]

    def _entry_text(self, field: str, entry: Entry) -> str:
        return entry_text(field, self._comparison.fields[field], entry)

    def _titled(self, mark: str, title: str, line: Line) -> Line:
        title = clip(title, _TITLE_WIDTH).ljust(_TITLE_WIDTH)
        return _marked(mark, [(title, "bold" if mark == "!" else ""), *line])

    def _row(self, mark: str, step: LoggedStep | None) -> Line:
        return _marked(mark, self._table.row_fragments(_record(step or _NO_STEP)))


def _log_name(log: StepLog, width: int) -> str:
    """Return the file of a log, and the golden case in it, in `width` cells."""
    case = "" if log.case is None else f" ({visible(log.case)})"
    return clip_start(visible(log.name) + case, width)


def _marked(mark: str, line: Sequence[Fragment]) -> Line:
    return [(f"{mark} ", _STYLES[mark]), *line]


def _wrap(text: str, width: int) -> list[Line]:
    """Return the words of `text` in lines of `width` cells; a word that is wider is cut."""
    lines: list[str] = []
    for word in text.split(" "):
        if lines and cell_len(lines[-1]) + 1 + cell_len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(clip(f"  {word}" if lines else word, width))
    return [[(line, "")] for line in lines]


def _record(step: LoggedStep) -> StepRecord:
    """Return a step as the table takes it, with nothing where the log has nothing."""
    fields = step.fields
    cached = fields.get("cached")
    return StepRecord(
        step=step.number,
        prefill=[ScheduledTokens(e["id"], e["computed"], e["tokens"]) for e in fields["prefill"]],
        decode=[ScheduledTokens(e["id"], e["computed"], e["tokens"]) for e in fields["decode"]],
        emitted=[EmittedToken(e["id"], e.get("token_id"), e.get("text")) for e in fields["emitted"]],
        finished=[
            FinishedRequest(e["id"], e["finish_reason"], e.get("stop_reason")) for e in fields["finished"]
        ],
        preempted=fields["preempted"],
        running=fields["running"],
        waiting=fields["waiting"],
        free_blocks=fields["free_blocks"],
        discarded=fields.get("discarded"),
        cached=None if cached is None else [CachedTokens(e["id"], e["tokens"]) for e in cached],
    )
