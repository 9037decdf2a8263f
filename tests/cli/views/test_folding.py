"""Folded rows cover every step once, add up to the steps, and do not depend on strides."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import pytest
from hypothesis import given

from factories import an_engine_with_the_valid
from random_cases import (
    DrawnRequest,
    drawn_async_settings,
    drawn_requests,
    drawn_settings,
    records_of,
    steps_or_clock,
)
from seeded_cases import case_of, late_case_of
from tracesim import StepRecord, TraceRecord
from tracesim.engine.step_records import FinishedRequest, ScheduledTokens, WaitingFor
from tracesim.engine.stride_records import StrideRecord
from tracesim_cli.views.folding import FoldedRow, RowFolder


def folded(records: Iterable[StrideRecord]) -> list[FoldedRow]:
    folder = RowFolder()
    rows = list(chain.from_iterable(map(folder.add, records)))
    return rows + folder.end()


def a_stride(step: int, steps: int = 1, **varied: Any) -> StrideRecord:
    """Return the record of a stride in which two requests decode, except for what is given."""
    usual: dict[str, Any] = {
        "num_decodes": 2,
        "num_emitted": 2 * steps,
        "running": 2,
        "waiting": 0,
        "free_blocks": None,
    }
    return StrideRecord(step, steps, **(usual | varied))


def ranges(records: Iterable[StrideRecord]) -> list[tuple[int, int]]:
    return [(row.first, row.last) for row in folded(records)]


def test_strides_without_an_event_are_one_row_that_ends_with_a_finish() -> None:
    records = [
        a_stride(3, 4),
        a_stride(7, 2),
        a_stride(9, 5, finished=[FinishedRequest("r1", "stop", None)]),
        a_stride(14),
    ]

    assert ranges(records) == [(3, 13), (14, 14)]


@pytest.mark.parametrize(
    "event",
    [
        {"prefill": [ScheduledTokens("r3", 0, 8)]},
        {"started": ["r3"]},
        {"preempted": ["r2"], "preempted_for": ["r1"]},
        {"finished": [FinishedRequest("r3", "length", None)], "rejected": ["r3"]},
    ],
)
def test_a_step_with_an_event_has_a_row_of_its_own(event: dict[str, Any]) -> None:
    assert ranges([a_stride(0, 5), a_stride(5, **event), a_stride(6, 4)]) == [(0, 4), (5, 5), (6, 9)]


def test_a_row_begins_where_the_cause_of_waiting_changes() -> None:
    blocks, budget = WaitingFor("r3", "kv_blocks", 4, 1), WaitingFor("r3", "token_budget", None, None)
    records = [
        a_stride(0, 2, waiting_for=blocks, waiting=1),
        a_stride(2, 2, waiting_for=blocks, waiting=2),
        a_stride(4, 2, waiting_for=budget, waiting=2),
        a_stride(6, 2),
    ]

    assert ranges(records) == [(0, 3), (4, 5), (6, 7)]


def test_idle_steps_divide_rows() -> None:
    """The number of a step in which nothing happens is in no row."""
    assert ranges([a_stride(0, 5), a_stride(7, 2)]) == [(0, 4), (7, 8)]


def test_chunks_of_a_prompt_are_added_up() -> None:
    records = [
        a_stride(0, prefill=[ScheduledTokens("r3", 0, 8)]),
        a_stride(1, 3, prefill=[ScheduledTokens("r3", 8, 8)]),
        a_stride(4, prefill=[ScheduledTokens("r3", 32, 8)]),
    ]

    assert [ScheduledTokens("r3", 8, 32)] == folded(records)[1].prefill


def cause_of(row: FoldedRow) -> tuple[str, str] | None:
    """Return who waits for what: the numbers of the first step depend on how the steps were taken."""
    return None if row.waiting_for is None else (row.waiting_for.id, row.waiting_for.cause)


def check_rows(records: Sequence[TraceRecord], settings: dict[str, Any], clock: str) -> None:
    steps: list[StepRecord] = []
    by_step: list[StrideRecord] = []
    by_stride: list[StrideRecord] = []
    an_engine_with_the_valid(records, settings, clock).run(steps.append, on_stride=by_step.append)
    an_engine_with_the_valid(records, settings, clock).run(on_stride=by_stride.append)
    rows, others = folded(by_stride), folded(by_step)

    assert [step.step for step in steps] == [n for row in rows for n in range(row.first, row.last + 1)]
    assert sum(len(step.emitted) for step in steps) == sum(row.num_emitted for row in rows)
    assert sum(len(step.decode) for step in steps) == sum(row.num_decodes * row.steps for row in rows)
    assert sum(entry.tokens for step in steps for entry in step.prefill) == sum(
        entry.tokens for row in rows for entry in row.prefill
    )
    for field in ("finished", "rejected", "preempted", "preempted_for"):
        expected = list(chain.from_iterable(getattr(step, field) for step in steps))
        assert expected == list(chain.from_iterable(getattr(row, field) for row in rows))
    for row, other in zip(rows, others, strict=True):
        assert cause_of(other) == cause_of(row)
        assert other.duration == pytest.approx(row.duration)
        assert replace(other, duration=row.duration, waiting_for=row.waiting_for) == row


@given(drawn_requests, drawn_settings | drawn_async_settings, steps_or_clock)
def test_rows_add_up_to_the_steps_by_stride_as_by_step(
    requests: Sequence[DrawnRequest], settings: dict[str, Any], clock: str
) -> None:
    check_rows(records_of(requests, clock), settings, clock)


@pytest.mark.parametrize("seed", range(20))
def test_rows_add_up_to_the_steps_where_much_is_short(seed: int) -> None:
    check_rows(*case_of(seed), "steps")
    check_rows(*late_case_of(seed), "steps")
