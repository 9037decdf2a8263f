"""Striding is stepping: a run that nobody watches ends like one whose every step is looked at."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from factories import an_engine, steps_of
from golden_cases import ALL, engine_of
from random_cases import asked, engines, records_of
from tracesim import LLMEngine, StepLimitError
from tracesim.analysis.report import report_requests, summarize
from tracesim.engine.step_json import step_to_json


def end_of(engine: LLMEngine) -> tuple[Any, ...]:
    return report_requests(engine), summarize(engine), engine.step_number, engine.scheduler.num_free_blocks


@pytest.mark.parametrize("case", ALL)
def test_golden_cases_end_alike(case: dict[str, Any]) -> None:
    stepped, strided = engine_of(case), engine_of(case)
    steps_of(stepped)
    strided.run()

    assert end_of(strided) == end_of(stepped)


@given(asked, engines)
def test_random_cases_end_alike(asked: Any, settings: dict[str, Any]) -> None:
    stepped, strided = an_engine(records_of(asked), **settings), an_engine(records_of(asked), **settings)
    steps_of(stepped)
    strided.run()

    assert end_of(strided) == end_of(stepped)


@given(asked, engines)
def test_one_may_look_after_any_number_of_unwatched_steps(asked: Any, settings: dict[str, Any]) -> None:
    """The steps from there on are those of a run that was watched from the start."""
    watched = steps_of(an_engine(records_of(asked), **settings))
    engine = an_engine(records_of(asked), **settings)
    unwatched = len(watched) // 2
    if unwatched:
        with pytest.raises(StepLimitError):
            engine.run(max_steps=unwatched)

    assert steps_of(engine) == watched[unwatched:]


@given(asked, engines)
def test_written_lines_are_the_records(asked: Any, settings: dict[str, Any]) -> None:
    records = steps_of(an_engine(records_of(asked), **settings))
    lines: list[bytes] = []
    an_engine(records_of(asked), **settings).run(write=lines.append)

    assert lines == [step_to_json(record) for record in records]
