"""Folded rows: consecutive steps in which nothing but tokens moves, as one row of the table.

What makes a row of its own is an event: a request is admitted, starts to decode, finishes, is preempted or is
rejected, or something else keeps requests waiting. Rows do not depend on how a run was divided into strides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tracesim.engine.step_records import CachedTokens, FinishedRequest, ScheduledTokens, WaitingFor
from tracesim.engine.stride_records import StrideRecord


@dataclass(slots=True)
class FoldedRow:
    """Consecutive steps as one row.

    `prefill` has an entry for each request: the tokens that all steps computed, after those before the first
    step. `num_emitted` counts the tokens that all steps emit, `num_decodes` the decodes of each step. Other
    fields are as in `StrideRecord`, `waiting_for` as in the first step.
    """

    first: int
    last: int
    num_decodes: int
    num_emitted: int
    waiting: int
    waiting_for: WaitingFor | None
    prefill: list[ScheduledTokens]
    start: float | None = None
    duration: float | None = None
    started: Sequence[str] = ()
    finished: Sequence[FinishedRequest] = ()
    rejected: Sequence[str] = ()
    preempted: Sequence[str] = ()
    preempted_for: Sequence[str] = ()
    cached: Sequence[CachedTokens] = ()
    replica: int | None = None

    @property
    def steps(self) -> int:
        """How many steps the row has."""
        return self.last - self.first + 1


class RowFolder:
    """Folds the stride records of a run into rows.

    `pending` is the row that the next record may still become a part of; None if there is none. `at_event` is
    whether the last record has an event.
    """

    def __init__(self) -> None:
        self.pending: FoldedRow | None = None
        self.at_event = False
        self._cause: tuple[str, str] | None = None

    def add(self, record: StrideRecord) -> list[FoldedRow]:
        """Take the next record, and return the rows that are complete with it: none, one or two."""
        complete = []
        is_alone = _has_event_of_its_own(record)
        begins = is_alone or _cause_of(record) != self._cause
        self._cause = _cause_of(record)
        self.at_event = begins or bool(record.finished)
        row = self.pending
        if row is not None and (begins or not _continues(row, record)):
            complete.append(row)
            row = None
        if row is None:
            row = _row_of(record)
        else:
            _extend(row, record)
        is_complete = is_alone or bool(record.finished)
        self.pending = None if is_complete else row
        if is_complete:
            complete.append(row)
        return complete

    def end(self) -> list[FoldedRow]:
        """Return the row that is still pending, if there is one."""
        row, self.pending = self.pending, None
        return [] if row is None else [row]


def _continues(row: FoldedRow, record: StrideRecord) -> bool:
    """Return whether a record follows a row at once, on the same replica, with as many decodes."""
    is_next = record.step == row.last + 1 and record.replica == row.replica
    return is_next and record.num_decodes == row.num_decodes


def _has_event_of_its_own(record: StrideRecord) -> bool:
    """Return whether a request is admitted, starts to decode, is preempted or is rejected in the record.

    Such a record is a single step. A request may also finish at the end of a longer one.
    """
    return bool(
        record.started
        or record.preempted
        or record.rejected
        or record.cached
        or any(entry.computed == 0 for entry in record.prefill)
    )


def _cause_of(record: StrideRecord) -> tuple[str, str] | None:
    return None if record.waiting_for is None else (record.waiting_for.id, record.waiting_for.cause)


def _row_of(record: StrideRecord) -> FoldedRow:
    return FoldedRow(
        first=record.step,
        last=record.step + record.steps - 1,
        num_decodes=record.num_decodes,
        num_emitted=record.num_emitted,
        replica=record.replica,
        waiting=record.waiting,
        waiting_for=record.waiting_for,
        prefill=_prefill_of(record),
        start=record.start,
        duration=record.duration,
        started=record.started,
        finished=record.finished,
        rejected=record.rejected,
        preempted=record.preempted,
        preempted_for=record.preempted_for,
        cached=record.cached,
    )


def _extend(row: FoldedRow, record: StrideRecord) -> None:
    """Add a record that has no event, except that requests may finish at its end."""
    row.last = record.step + record.steps - 1
    row.num_emitted += record.num_emitted
    row.waiting = record.waiting
    row.finished, row.rejected = record.finished, record.rejected
    if row.start is not None and record.start is not None and record.duration is not None:
        row.duration = record.start + record.duration - row.start
    places = {entry.id: place for place, entry in enumerate(row.prefill)}
    for entry in _prefill_of(record):
        place = places.get(entry.id)
        if place is None:
            row.prefill.append(entry)
        else:
            before = row.prefill[place]
            row.prefill[place] = ScheduledTokens(entry.id, before.computed, before.tokens + entry.tokens)


def _prefill_of(record: StrideRecord) -> list[ScheduledTokens]:
    """Return the prefill of all steps of a record, with an entry for each request."""
    if record.steps == 1:
        return list(record.prefill)
    return [
        ScheduledTokens(entry.id, entry.computed, entry.tokens * record.steps) for entry in record.prefill
    ]
