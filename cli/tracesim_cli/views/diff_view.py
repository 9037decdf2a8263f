"""Two step logs side by side: the first step that differs field by field, and the steps around it.

Marks say it without colour: "!" differs, "-" is only in the first log, "+" only in the second; what has no
mark is equal in both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, TextIO

from rich.cells import cell_len

from tracesim.analysis.step_diff import Comparison, Entry, StepDiff, StepPair, align
from tracesim.analysis.step_log import LoggedStep, StepLog
from tracesim.engine.outputs import CachedTokens, EmittedToken, FinishedRequest, ScheduledTokens, StepRecord
from tracesim_cli.terminal.display import Display
from tracesim_cli.terminal.lines import Fragment, print_lines
from tracesim_cli.terminal.safe_text import visible
from tracesim_cli.terminal.text import clip
from tracesim_cli.views.diff_cells import changes, differing, entry_text, figure_text, tail
from tracesim_cli.views.items import Item, fit
from tracesim_cli.views.step_table import StepTable

Line = list[Fragment]

_STYLES = {"!": "bold yellow", "-": "red", "+": "green", " ": ""}
_MARK = 2  # cells of a mark and the space after it
_TITLE = 13
_GAP = 2
_NARROWEST = 42
_WIDEST_CELL = 48  # so that the two sides stay near each other
_MOST_ENTRIES = 8
_LONGEST_NAME = 40


def print_diff(
    stream: TextIO, display: Display, comparison: Comparison, diff: StepDiff, *, ended: bool = True
) -> None:
    """Print what `format_diff` returns: in colour on a live display, else as plain text."""
    lines = format_diff(comparison, diff, width=display.width, ended=ended)
    print_lines(stream, display, lines)


def format_equal(diff: StepDiff) -> str:
    """`equal: 1,234 steps`."""
    return f"equal: {_count(diff.steps, 'step')}"


def format_diff(
    comparison: Comparison, diff: StepDiff, *, width: int = 100, ended: bool = True
) -> list[Line]:
    """Return what differs, where something does; no line is wider than `width`, or than 42 cells.

    `ended` says that both logs were read to their end, so that all that differ are counted.
    """
    assert diff.first is not None
    view = _View(comparison, diff, max(width, _NARROWEST))
    lines: list[Line] = [*view.names(), []]
    if diff.before:
        lines += [view.header(), *map(view.equal, diff.before), []]
    lines += view.first(diff.first)
    if diff.after:
        lines += [[], *([view.header()] if any(map(_is_row, diff.after)) else [])]
        lines += [view.after(pair) for pair in diff.after]
    lines.append([])
    stopped = f"stopped at the first step that differs, after {_count(diff.steps_before, 'equal step')}"
    say = _counts(comparison, diff) if ended else stopped
    return [*lines, *_wrapped(say, view.width), *not_compared(comparison, view.width)]


def not_compared(comparison: Comparison, width: int) -> list[Line]:
    """Return what was left out of a comparison, in as many lines as it takes; none when nothing was."""
    names = comparison.not_compared
    return _wrapped(f"not compared: {', '.join(names)}", width) if names else []


class _View:
    """The lines about one comparison on a terminal of `width` cells."""

    def __init__(self, comparison: Comparison, diff: StepDiff, width: int) -> None:
        self.width = width
        self._comparison = comparison
        self._left, self._right = comparison.left, comparison.right
        self._room = width - _MARK - _TITLE - _MARK
        self._cell = min(_WIDEST_CELL, (self._room - _GAP) // 2)
        steps = [step for pair in [*diff.before, *diff.after] for step in (pair.left, pair.right) if step]
        finite = any(step.fields["free_blocks"] is not None for step in steps)
        self._table = StepTable(width - _MARK, finite_blocks=finite)

    def names(self) -> Iterator[Line]:
        """Whose steps "-" and "+" mark."""
        for mark, log in (("-", self._left), ("+", self._right)):
            yield _marked(mark, [(_name(log, self.width - _MARK), "")])

    def header(self) -> Line:
        """The titles over the steps around the difference."""
        return _marked(" ", self._table.header_fragments())

    def equal(self, pair: StepPair) -> Line:
        """A step that is equal in both, in the words of the log that tells more."""
        prefer_left = len(self._left.tells["emitted"]) > len(self._right.tells["emitted"])
        return self._row(" ", pair.left if prefer_left else pair.right)

    def after(self, pair: StepPair) -> Line:
        """A step after the first difference: a row of the table, or in few words what differs."""
        if not pair.differs:
            return self.equal(pair)
        if pair.left is None or pair.right is None:
            return self._row("-" if pair.left else "+", pair.left or pair.right)
        words = [changes(field, *self._values(field, pair)) for field in pair.fields]
        number = self._table.row_fragments(_record(pair.left))[0]
        said = clip("  ".join(["", *words]), self.width - _MARK - len(number[0]))
        return _marked("!", [number, (said, "")])

    def first(self, pair: StepPair) -> Iterator[Line]:
        """The first step that differs: both sides field by field, or the only one there is."""
        step = f"step {pair.number}"
        if pair.left is None or pair.right is None:
            mark, log = ("-", self._left) if pair.left else ("+", self._right)
            say = f"{step} is only in "
            yield _marked(mark, [(say + _name(log, self.width - _MARK - len(say)), "bold")])
            for field in self._comparison.fields:
                value = self._comparison.value(pair.left or pair.right or _NO_STEP, field)
                yield self._titled(mark, field, self._one_line(field, value))
            return
        left, right = (tail(_name(log, self.width), self._cell) for log in (self._left, self._right))
        yield self._titled("!", step, self._cells(" ", left, right))
        for field in self._comparison.fields:
            values = self._values(field, pair)
            if field not in pair.fields:
                yield self._titled(" ", field, self._one_line(field, values[0]))
            else:
                rows = self._sides(field, *values)
                yield self._titled("!", field, next(rows))
                yield from (self._titled(" ", "", row) for row in rows)

    def _values(self, field: str, pair: StepPair) -> tuple[Any, Any]:
        left, right = pair.left or _NO_STEP, pair.right or _NO_STEP
        return self._comparison.value(left, field), self._comparison.value(right, field)

    def _sides(self, field: str, left: Any, right: Any) -> Iterator[Line]:
        """The lines of a field that differs: each entry that does on its own, equal ones between them."""
        if not isinstance(left, list) or not isinstance(right, list):
            yield self._cells("!", figure_text(left), figure_text(right))
            return
        aligned = list(align(left, right))
        differ = sum(a != b for a, b in aligned)
        shown = 0
        for equal, run in groupby(aligned, key=lambda sides: sides[0] == sides[1]):
            if equal:
                yield self._one_line(field, [sides[0] for sides in run])
                continue
            for sides in run:
                yield self._entry(field, *sides)
                shown += 1
                if shown == _MOST_ENTRIES and differ > shown:
                    yield [(f"  ... and {differ - shown:,} more that differ", "dim")]
                    return

    def _entry(self, field: str, left: Entry | None, right: Entry | None) -> Line:
        parts = self._comparison.fields[field]
        mark = "+" if left is None else "-" if right is None else "!"
        texts = [entry_text(field, parts, entry) if entry else "" for entry in (left, right)]
        return self._cells(mark, *differing(texts[0], texts[1], self._cell))

    def _cells(self, mark: str, left: str, right: str) -> Line:
        left, right = clip(left, self._cell), clip(right, self._cell)
        space = " " * (self._cell - cell_len(left) + _GAP)
        return [*_marked(mark, [(left, _STYLES["-"])]), (space, ""), (right, _STYLES["+"])]

    def _one_line(self, field: str, value: Any) -> Line:
        """A value in one line: as many entries as there is room for, and the count of the others."""
        if not isinstance(value, list):
            return [("  ", ""), (clip(figure_text(value), self._room), "")]
        if not value:
            return [("  ", ""), ("none", "dim")]
        parts = self._comparison.fields[field]
        texts = (entry_text(field, parts, entry) for entry in value)
        items = (Item(text, "", "", "", cell_len(text)) for text in texts)
        return [("  ", ""), *fit(items, len(value), self._room, between=2)[0]]

    def _titled(self, mark: str, title: str, line: Line) -> Line:
        return _marked(mark, [(clip(title, _TITLE).ljust(_TITLE), "bold" if mark == "!" else ""), *line])

    def _row(self, mark: str, step: LoggedStep | None) -> Line:
        return _marked(mark, self._table.row_fragments(_record(step or _NO_STEP)))


_NO_STEP = LoggedStep(-1, {})


def _counts(comparison: Comparison, diff: StepDiff) -> str:
    """`23 of 41 steps differ, 22 of 37 after step 3: decode 20, running 4`."""
    assert diff.first is not None
    parts = [f"{field} {count:,}" for field, count in diff.by_field.most_common()]
    for log, count in ((comparison.left, diff.only_left), (comparison.right, diff.only_right)):
        parts += [f"only in {_name(log, _LONGEST_NAME)} {count:,}"] if count else []
    later = diff.steps - diff.steps_before - 1
    return (
        f"{diff.differing:,} of {_count(diff.steps, 'step')} differ, "
        f"{diff.differing - 1:,} of {later:,} after step {diff.first.number}: {', '.join(parts)}"
    )


def _is_row(pair: StepPair) -> bool:
    """Whether a step is shown as a row of the table."""
    return not pair.fields


def _name(log: StepLog, room: int) -> str:
    """The file, and the case in it."""
    return tail(visible(log.name) + ("" if log.case is None else f" ({visible(log.case)})"), room)


def _marked(mark: str, line: Sequence[Fragment]) -> Line:
    return [(f"{mark} ", _STYLES[mark]), *line]


def _wrapped(text: str, width: int) -> list[Line]:
    """Words in lines of `width` cells; a word that is wider than a line is cut."""
    lines: list[str] = []
    for word in text.split(" "):
        if lines and cell_len(lines[-1]) + 1 + cell_len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(clip(f"  {word}" if lines else word, width))
    return [[(line, "")] for line in lines]


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _record(step: LoggedStep) -> StepRecord:
    """A step for the table, which shows nothing where a log tells nothing."""
    fields = step.fields
    cached = fields.get("cached")
    return StepRecord(
        step=step.number,
        prefill=[
            ScheduledTokens(entry["id"], entry["computed"], entry["tokens"]) for entry in fields["prefill"]
        ],
        decode=[
            ScheduledTokens(entry["id"], entry["computed"], entry["tokens"]) for entry in fields["decode"]
        ],
        emitted=[EmittedToken(e["id"], e.get("token_id"), e.get("text")) for e in fields["emitted"]],
        finished=[
            FinishedRequest(e["id"], e["finish_reason"], e.get("stop_reason")) for e in fields["finished"]
        ],
        preempted=fields["preempted"],
        running=fields["running"],
        waiting=fields["waiting"],
        free_blocks=fields["free_blocks"],
        cached=None if cached is None else [CachedTokens(e["id"], e["tokens"]) for e in cached],
    )
