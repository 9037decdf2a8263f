"""A stride changes nothing: a run that is not observed ends as one whose every step is recorded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factories import an_engine, steps_of
from golden_cases import ALL, ASYNC, engine_of
from random_cases import (
    DrawnRequest,
    drawn_async_settings,
    drawn_requests,
    drawn_settings,
    records_of,
)
from tracesim import LLMEngine, StepLimitError, measure_run, parse_clock
from tracesim.analysis.report import report_requests, summarize
from tracesim.engine.step_json import step_to_json


def end_of(engine: LLMEngine) -> tuple[Any, ...]:
    return report_requests(engine), summarize(engine), engine.step_number, engine.scheduler.num_free_blocks


@pytest.mark.parametrize("case", [*ALL, *ASYNC])
def test_golden_cases(case: dict[str, Any]) -> None:
    stepped, strided = engine_of(case), engine_of(case)
    steps_of(stepped)
    strided.run()

    assert end_of(strided) == end_of(stepped)


@given(drawn_requests, drawn_settings | drawn_async_settings)
def test_random_cases(requests: Sequence[DrawnRequest], settings: dict[str, Any]) -> None:
    stepped, strided = (an_engine(records_of(requests), **settings) for _ in range(2))
    steps_of(stepped)
    strided.run()

    assert end_of(strided) == end_of(stepped)


@given(drawn_requests, drawn_settings)
def test_steps_after_strides(requests: Sequence[DrawnRequest], settings: dict[str, Any]) -> None:
    """Steps recorded after half of a run are those of a run that was recorded from the start."""
    recorded = steps_of(an_engine(records_of(requests), **settings))
    engine = an_engine(records_of(requests), **settings)
    half = len(recorded) // 2
    if half:
        with pytest.raises(StepLimitError):
            engine.run(max_steps=half)

    assert steps_of(engine) == recorded[half:]


@given(drawn_requests, drawn_settings)
def test_outputs_after_strides(requests: Sequence[DrawnRequest], settings: dict[str, Any]) -> None:
    """A client that steps after half of a run gets the outputs of one that stepped from the start."""
    stepped, strided = (an_engine(records_of(requests), **settings) for _ in range(2))
    outputs = []
    while stepped.has_unfinished_requests():
        outputs.append(stepped.step())
    half = len(outputs) // 2
    if half:
        with pytest.raises(StepLimitError):
            strided.run(max_steps=half)

    assert [strided.step() for _ in outputs[half:]] == outputs[half:]


@given(drawn_requests, drawn_settings | drawn_async_settings)
def test_written_lines_are_those_of_the_records(
    requests: Sequence[DrawnRequest], settings: dict[str, Any]
) -> None:
    records = steps_of(an_engine(records_of(requests), **settings))
    lines: list[bytes] = []
    an_engine(records_of(requests), **settings).run(write=lines.append)

    assert lines == [step_to_json(record) for record in records]


@given(
    drawn_requests,
    drawn_async_settings,
    st.sampled_from(["constant:20ms", "linear:base=3ms,decode=1ms,context=1us"]),
)
def test_asynchronous_times(requests: Sequence[DrawnRequest], settings: dict[str, Any], clock: str) -> None:
    """Under a clock a stride of asynchronous steps gives every request the times of single steps."""
    records = records_of(requests, clock)
    stepped, strided = (an_engine(records, clock=parse_clock(clock), **settings) for _ in range(2))
    steps_of(stepped)
    strided.run()

    assert report_requests(strided) == report_requests(stepped)
    assert measure_run(strided) == measure_run(stepped)
