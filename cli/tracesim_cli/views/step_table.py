"""The table of steps: its columns and their widths, and the line of each step.

Nothing here prints. A line is a list of styled fragments, which become Rich text or a plain string. All text
of a trace, ids included, is escaped by `visible` and never read as Rich's markup.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from rich.cells import cell_len

from tracesim.engine.step_records import StepRecord
from tracesim_cli.terminal.lines import Fragment, rich_text
from tracesim_cli.terminal.safe_text import visible
from tracesim_cli.terminal.text import clip, label, quoted
from tracesim_cli.views.items import Item, fit

if TYPE_CHECKING:
    from rich.text import Text

LEGEND = """\
Signs in the table:
r1:8     prefill of 8 tokens of request r1
r1:8@16  prefill of 8 tokens, after 16 tokens that were computed before
r1:8~16  prefill of 8 tokens, after 16 tokens from the prefix cache
r1 "a"   token that r1 emits: its text, its id where there is no text, or · where only lengths are known
r1!      decode of r1 in vain: its end was not known yet (asynchronous scheduling)
+1       one more entry that does not fit in the column"""
"""The signs in the table of steps, for the help of a command."""

REASON_STYLES = {"stop": "green", "length": "yellow", "abort": "red", "rejected": "red", "unsent": "red"}

_GAP = 2
_MIN_WIDTH = 40
_SEPARATE_BATCH_FROM = 80
_SEPARATE_PREEMPTED_FROM = 120


class Column(NamedTuple):
    """A column: the fields of a step whose entries it shows, `between` cells apart.

    `weight` is its share of the width, `start` the first of its `width` cells.
    """

    title: str
    fields: tuple[str, ...]
    weight: int
    between: int
    start: int = 0
    width: int = 0

    def entries(self, record: StepRecord) -> tuple[int, Iterator[Item]]:
        """Return the number of entries of a step in this column, and the entries, each made when needed."""
        if len(self.fields) == 1:
            return len(getattr(record, self.fields[0])), _items(record, self.fields[0])
        total = sum([len(getattr(record, field)) for field in self.fields])
        return total, chain.from_iterable([_items(record, field, " preempted") for field in self.fields])


class StepTable:
    """The table for a terminal of `width` cells, but at least 40; no line is wider, and none wraps.

    With `finite_blocks` there can be preemptions. They have a column in a wide table, and share the last
    column with the finished requests in a narrower one.
    """

    def __init__(self, width: int, *, finite_blocks: bool = False) -> None:
        self.width = max(width, _MIN_WIDTH)
        self._step_width = 5 if self.width < _SEPARATE_BATCH_FROM else 6
        columns = _choose_columns(self.width, finite_blocks)
        weights = sum(column.weight for column in columns)
        end = self._step_width
        self._columns: list[Column] = []
        for index, column in enumerate(columns):
            gaps = _GAP * (len(columns) - index)
            share = (self.width - end - gaps) * column.weight // weights
            self._columns.append(column._replace(start=end + _GAP, width=share))
            end += _GAP + share
            weights -= column.weight

    def header(self) -> Text:
        """Return the line of column titles."""
        return rich_text(self.header_fragments())

    def row(self, record: StepRecord) -> Text:
        """Return the line of one step."""
        return rich_text(self.row_fragments(record))

    def header_fragments(self) -> list[Fragment]:
        """Return the line of column titles in fragments."""
        line = "step".rjust(self._step_width)
        for column in self._columns:
            line = line.ljust(column.start) + clip(column.title, column.width)
        return [(line, "bold")]

    def row_fragments(self, record: StepRecord) -> list[Fragment]:
        """Return the line of one step in fragments.

        A step number that is too long for its column moves the start of the next one only.
        """
        first = self._columns[0]
        step = clip(str(record.step), first.start + first.width // 2).rjust(self._step_width)
        line: list[Fragment] = [(step, "dim")]
        filled = len(step)
        for column in self._columns:
            total, items = column.entries(record)
            if total:
                start = max(column.start, filled + 1)
                line.append((" " * (start - filled), ""))
                cell, cells = fit(items, total, column.start + column.width - start, column.between)
                line += cell
                filled = start + cells
        return line


def format_reason(finish_reason: str, stop_reason: str | None) -> str:
    """Return why a request finished: `length`, or `stop "END"` with the stop string that ended it."""
    shown = visible(finish_reason)
    return shown if stop_reason is None else f"{shown} {quoted(stop_reason)}"


def _choose_columns(width: int, finite_blocks: bool) -> list[Column]:
    """Return the columns of a table, which are fewer in a narrow one."""
    columns = [Column("prefill", ("prefill",), 4, 1), Column("decode", ("decode",), 4, 1)]
    if width < _SEPARATE_BATCH_FROM:
        columns = [Column("prefill:n decode", ("prefill", "decode"), 7, 1)]
    columns.append(Column("emitted", ("emitted",), 7, 2))
    if not finite_blocks:
        return [*columns, Column("finished", ("finished",), 5, 2)]
    if width < _SEPARATE_PREEMPTED_FROM:
        return [*columns, Column("events", ("preempted", "finished"), 5, 2)]
    return [*columns, Column("finished", ("finished",), 5, 2), Column("preempted", ("preempted",), 3, 1)]


def _items(record: StepRecord, field: str, preempted: str = "") -> Iterator[Item]:
    """Yield the entries of a field as `LEGEND` says, with `preempted` after the id of a preempted request."""
    discarded = record.discarded or ()
    if field == "prefill":
        cached = {entry.id for entry in record.cached or ()}
        for prefill in record.prefill:
            before = f"{'~' if prefill.id in cached else '@'}{prefill.computed}" if prefill.computed else ""
            after = "!" if prefill.id in discarded else ""
            yield _item(prefill.id, "", f":{prefill.tokens}{before}{after}", "cyan")
    elif field == "decode":
        for decode in record.decode:
            yield _item(decode.id, "dim", "!" if decode.id in discarded else "", "yellow")
    elif field == "emitted":
        for token in record.emitted:
            text = quoted(token.text) if token.text is not None else token.token_id
            yield _item(token.id, "dim", f" {'·' if text is None else text}")
    elif field == "finished":
        for request in record.finished:
            reason = "rejected" if request.id in record.rejected else request.finish_reason
            text = format_reason(reason, request.stop_reason)
            yield _item(request.id, "", f" {text}", REASON_STYLES.get(reason, ""))
    else:
        yield from (_item(request_id, "red", preempted, "red") for request_id in record.preempted)


def _item(request_id: str, label_style: str, tail: str = "", tail_style: str = "") -> Item:
    shown = label(request_id)
    return Item(shown, label_style, tail, tail_style, cell_len(shown) + cell_len(tail))
