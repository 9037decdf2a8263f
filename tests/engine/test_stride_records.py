"""Stride records add up to the records of their steps."""

from __future__ import annotations

from collections.abc import Sequence
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
from tracesim import LLMEngine, StepRecord
from tracesim.engine.step_records import ScheduledTokens
from tracesim.engine.stride_records import StrideRecord


def strides_of(engine: LLMEngine) -> list[StrideRecord]:
    strides: list[StrideRecord] = []
    engine.run(on_stride=strides.append)
    return strides


def steps_and_their_strides(engine: LLMEngine) -> tuple[list[StepRecord], list[StrideRecord]]:
    """Run an engine step by step, and return its step records with the stride record of each."""
    steps: list[StepRecord] = []
    strides: list[StrideRecord] = []
    engine.run(steps.append, on_stride=strides.append)
    return steps, strides


def waits(record: StrideRecord | StepRecord) -> tuple[str, str] | None:
    """Return the first request that waits, and why."""
    return None if record.waiting_for is None else (record.waiting_for.id, record.waiting_for.cause)


def joined(steps: Sequence[StrideRecord], stride: StrideRecord) -> StrideRecord:
    """Return one record for the steps of a stride, after a check that nothing but tokens changes in them."""
    first, last = steps[0], steps[-1]
    for number, each in enumerate(steps):
        assert first.step + number == each.step
        assert first.num_decodes == each.num_decodes
        assert [
            ScheduledTokens(entry.id, entry.computed + number * entry.tokens, entry.tokens)
            for entry in first.prefill
        ] == list(each.prefill)
        assert waits(first) == waits(each)
        assert len(steps) == 1 or not any([each.started, each.preempted, each.cached])
    assert not list(chain.from_iterable(each.finished for each in steps[:-1]))
    return StrideRecord(
        first.step,
        len(steps),
        first.num_decodes,
        sum(each.num_emitted for each in steps),
        last.running,
        last.waiting,
        last.free_blocks,
        stride.waiting_for,
        first.start,
        stride.duration,
        first.prefill,
        first.started,
        last.finished,
        last.rejected,
        first.preempted,
        first.preempted_for,
        first.cached,
        last.discarded,
    )


def check_strides(records: Sequence[Any], settings: dict[str, Any], clock: str) -> None:
    _, steps = steps_and_their_strides(an_engine_with_the_valid(records, settings, clock))
    strides = strides_of(an_engine_with_the_valid(records, settings, clock))
    index = 0
    for stride in strides:
        parts = steps[index : index + stride.steps]
        index += stride.steps

        assert joined(parts, stride) == stride
        assert waits(stride) == waits(parts[0])
        if stride.duration is not None:
            assert pytest.approx(sum(each.duration or 0 for each in parts)) == stride.duration
    assert len(steps) == index


@given(drawn_requests, drawn_settings | drawn_async_settings, steps_or_clock)
def test_a_stride_adds_up_to_its_steps(
    requests: Sequence[DrawnRequest], settings: dict[str, Any], clock: str
) -> None:
    check_strides(records_of(requests, clock), settings, clock)


@pytest.mark.parametrize("seed", range(60))
def test_a_stride_adds_up_to_its_steps_where_much_is_short(seed: int) -> None:
    check_strides(*case_of(seed), "steps")
    check_strides(*late_case_of(seed), "steps")


@pytest.mark.parametrize("seed", range(60))
def test_a_step_has_the_figures_of_its_step_record(seed: int) -> None:
    for case in (case_of(seed), late_case_of(seed)):
        steps, strides = steps_and_their_strides(an_engine_with_the_valid(*case))
        assert len(steps) == len(strides)
        for step, stride in zip(steps, strides, strict=True):
            batch = step.step, step.prefill, len(step.decode), len(step.emitted)
            assert batch == (stride.step, [*stride.prefill], stride.num_decodes, stride.num_emitted)
            assert (step.finished, step.rejected) == ([*stride.finished], [*stride.rejected])
            assert (step.preempted, step.preempted_for) == ([*stride.preempted], [*stride.preempted_for])
            assert (step.cached or [], step.discarded or []) == ([*stride.cached], [*stride.discarded])
            assert step.waiting_for == stride.waiting_for
            if step.launched is None:
                left = step.running, step.waiting, step.free_blocks
                assert left == (stride.running, stride.waiting, stride.free_blocks)
