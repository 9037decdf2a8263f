"""The table with a row for each event: steps in which nothing but tokens moves are folded into one row."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from tracesim.analysis.queueing import CAUSE_LABELS
from tracesim_cli.terminal.lines import Fragment
from tracesim_cli.views.columns import Columns, Entries, Figure
from tracesim_cli.views.folding import FoldedRow
from tracesim_cli.views.items import Item
from tracesim_cli.views.request_items import finished_items, preempted_items, prefill_item, request_item
from tracesim_cli.views.step_table import MIN_WIDTH, REPLICA, SEPARATE_BATCH_FROM, event_columns, time_figures

EVENT_LEGEND = """\
Signs in folded rows, and their events:
10-22    steps 10 to 22, in which nothing but tokens moves
r1:8     prefill of 8 tokens of request r1 in these steps, with @ and ~ as above
>r1      r1 starts to decode"""
"""The signs in the folded table, for the help of a command."""

_ALL_COLUMNS_FROM = 100
_WORDS_FROM = 150


class EventTable:
    """The table for a terminal of `width` cells, but at least 40; no line is wider, and none wraps.

    `finite_blocks`, `has_clock` and `has_replicas` are as in `StepTable`.
    """

    def __init__(
        self, width: int, *, finite_blocks: bool = False, has_clock: bool = False, has_replicas: bool = False
    ) -> None:
        self.width = max(width, MIN_WIDTH)
        is_narrow = self.width < SEPARATE_BATCH_FROM
        figures = [REPLICA] if has_replicas else []
        figures += [Figure("step", 11 if is_narrow else 15, _step_range)]
        if self.width >= _WORDS_FROM:
            figures.append(Figure("", 11, lambda row: "" if row.steps == 1 else f"{row.steps:,} steps"))
        elif not (is_narrow and has_clock):
            figures.append(Figure("steps", 6, lambda row: "" if row.steps == 1 else f"{row.steps:,}"))
        if has_clock:
            figures += time_figures(self.width)
        figures.append(Figure("decodes", 7, lambda row: f"{row.num_decodes:,}" if row.num_decodes else ""))
        if self.width >= _ALL_COLUMNS_FROM:
            figures.append(Figure("tokens", 7, lambda row: f"{row.num_emitted:,}" if row.num_emitted else ""))
        if self.width < _ALL_COLUMNS_FROM:
            entries = [Entries("events", _events, 1, 2, is_event=True)]
        else:
            entries = [
                Entries("prefill", _admitted, 6),
                *event_columns(finite_blocks=finite_blocks, is_wide=self.width >= _WORDS_FROM),
                Entries("waiting", _waiting, 5, is_event=True),
            ]
        self._columns: Columns[FoldedRow] = Columns(self.width, figures, entries)

    def header_fragments(self) -> list[Fragment]:
        """Return the line of column titles in fragments."""
        return self._columns.titles()

    def row_fragments(self, row: FoldedRow) -> list[Fragment]:
        """Return the line of a row in fragments."""
        return self._columns.line(row)


def _step_range(row: FoldedRow) -> str:
    return f"{row.first:,}" if row.first == row.last else f"{row.first:,}-{row.last:,}"


def _admitted(row: FoldedRow) -> tuple[int, Iterator[Item]]:
    """Return what is computed of prompts, and who starts to decode."""
    cached = {entry.id for entry in row.cached}
    items = chain(
        (prefill_item(entry, cached) for entry in row.prefill),
        (request_item(request_id, sign=">") for request_id in row.started),
    )
    return len(row.prefill) + len(row.started), items


def _waiting(row: FoldedRow) -> tuple[int, Iterator[Item]]:
    """Return who waits for what, and how many others wait behind it."""
    if row.waiting_for is None or not row.waiting:
        return 0, iter(())
    return row.waiting, iter([request_item(row.waiting_for.id, f" {CAUSE_LABELS[row.waiting_for.cause]}")])


def _events(row: FoldedRow) -> tuple[int, Iterator[Item]]:
    """Return all that happens to requests, the rarest first."""
    columns = (
        (len(row.preempted), preempted_items(row.preempted, row.preempted_for, with_word=True)),
        (len(row.finished), finished_items(row.finished, row.rejected)),
        _admitted(row),
    )
    return sum(total for total, _ in columns), chain.from_iterable(items for _, items in columns)
