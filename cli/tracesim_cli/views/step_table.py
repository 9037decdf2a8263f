"""The table with a row for each step: its columns, and the entries of a step in them.

All text of a trace, ids included, is escaped by `visible` and never read as Rich's markup.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from tracesim.engine.step_records import StepRecord
from tracesim_cli.terminal.lines import Fragment, rich_text
from tracesim_cli.terminal.text import format_duration, quoted
from tracesim_cli.views.columns import Columns, Entries, Figure
from tracesim_cli.views.items import Item
from tracesim_cli.views.request_items import finished_items, preempted_items, prefill_item, request_item

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

MIN_WIDTH = 40
SEPARATE_BATCH_FROM = 80
SEPARATE_PREEMPTED_FROM = 120


class StepTable:
    """The table for a terminal of `width` cells, but at least 40; no line is wider, and none wraps.

    With `finite_blocks` there can be preemptions. They have a column in a wide table, and share the last
    column with the finished requests in a narrower one. With `has_clock` rows have the start of the step and,
    in a table of 80 cells or more, its duration. With `has_replicas` they begin with the replica of the step.
    """

    def __init__(
        self, width: int, *, finite_blocks: bool = False, has_clock: bool = False, has_replicas: bool = False
    ) -> None:
        self.width = max(width, MIN_WIDTH)
        figures = [REPLICA] if has_replicas else []
        figures += [Figure("step", 5 if self.width < SEPARATE_BATCH_FROM else 6, lambda row: str(row.step))]
        if has_clock:
            figures += time_figures(self.width)
        is_wide = self.width >= SEPARATE_PREEMPTED_FROM
        entries = [
            *_batch_columns(self.width),
            *event_columns(finite_blocks=finite_blocks, is_wide=is_wide),
        ]
        self._columns: Columns[StepRecord] = Columns(self.width, figures, entries)

    def header(self) -> Text:
        """Return the line of column titles."""
        return rich_text(self.header_fragments())

    def row(self, record: StepRecord) -> Text:
        """Return the line of one step."""
        return rich_text(self.row_fragments(record))

    def header_fragments(self) -> list[Fragment]:
        """Return the line of column titles in fragments."""
        return self._columns.titles()

    def row_fragments(self, record: StepRecord) -> list[Fragment]:
        """Return the line of one step in fragments."""
        return self._columns.line(record)


REPLICA: Final = Figure("replica", 7, lambda row: str(row.replica))
"""The column with the replica of a row's steps."""


def time_figures(width: int) -> list[Figure]:
    """Return the columns with the start of a row's steps and, in a wide table, how long they take."""
    figures = [Figure("time", 9, lambda row: "" if row.start is None else f"{row.start:.3f}s")]
    if width >= SEPARATE_BATCH_FROM:
        figures.append(
            Figure("took", 7, lambda row: "" if row.duration is None else format_duration(row.duration))
        )
    return figures


def event_columns(*, finite_blocks: bool, is_wide: bool) -> list[Entries]:
    """Return the columns for requests that finish and, with `finite_blocks`, for those that are preempted.

    A table that is wide has a column for each.
    """
    finished = Entries("finished", _finished, 5, 2, is_event=True)
    if not finite_blocks:
        return [finished]
    if not is_wide:
        return [Entries("events", _preempted_and_finished, 5, 2, is_event=True)]
    return [finished, Entries("preempted", _preempted, 3, 2, is_event=True)]


def _batch_columns(width: int) -> list[Entries]:
    emitted = Entries("emitted", _emitted, 7, 2)
    if width < SEPARATE_BATCH_FROM:
        return [Entries("prefill:n decode", _batch, 7), emitted]
    return [Entries("prefill", _prefill, 4), Entries("decode", _decode, 4), emitted]


def _prefill(record: StepRecord) -> tuple[int, Iterator[Item]]:
    cached = {entry.id for entry in record.cached or ()}
    discarded = record.discarded or ()
    return len(record.prefill), (prefill_item(entry, cached, discarded) for entry in record.prefill)


def _decode(record: StepRecord) -> tuple[int, Iterator[Item]]:
    discarded = record.discarded or ()
    items = (
        request_item(entry.id, "!" if entry.id in discarded else "", "yellow") for entry in record.decode
    )
    return len(record.decode), items


def _batch(record: StepRecord) -> tuple[int, Iterator[Item]]:
    (prefills, prefill), (decodes, decode) = _prefill(record), _decode(record)
    return prefills + decodes, chain(prefill, decode)


def _emitted(record: StepRecord) -> tuple[int, Iterator[Item]]:
    return len(record.emitted), (
        request_item(token.id, f" {_token_text(token.text, token.token_id)}") for token in record.emitted
    )


def _token_text(text: str | None, token_id: int | None) -> str:
    if text is not None:
        return quoted(text)
    return "·" if token_id is None else str(token_id)


def _finished(row: Any) -> tuple[int, Iterator[Item]]:
    return len(row.finished), finished_items(row.finished, row.rejected)


def _preempted(row: Any) -> tuple[int, Iterator[Item]]:
    return len(row.preempted), preempted_items(row.preempted, row.preempted_for, with_word=False)


def _preempted_and_finished(row: Any) -> tuple[int, Iterator[Item]]:
    preempted = preempted_items(row.preempted, row.preempted_for, with_word=True)
    items = chain(preempted, finished_items(row.finished, row.rejected))
    return len(row.preempted) + len(row.finished), items
