"""The times of steps and requests are those of the plain loop in `plain_schedulers.py`."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from factories import an_engine
from plain_schedulers import plain_steps
from random_cases import drawn_clocks
from seeded_cases import Settings, case_of, late_case_of
from tracesim import ArrivalProcess, Clock, LLMEngine, StepRecord, TraceRecord, measure_run
from tracesim.analysis.report import report_requests, summarize
from tracesim.engine.step_json import step_to_json
from tracesim.timing.clock import to_femtoseconds

cases = st.integers(0, 3_000).map(late_case_of) | st.integers(0, 3_000).map(case_of)
users = st.sampled_from([0, 0, 1, 2, 5])


def timed(records: Sequence[TraceRecord], unit: float) -> list[TraceRecord]:
    """Return records that arrive at a time of so many units in place of their step."""
    return [r._replace(arrival_step=0, arrival_time=(r.arrival_step or 0) * unit) for r in records]


def duration_of(
    clock: Clock, prefill_tokens: int, num_decodes: int, context_tokens: int, prefill_context_tokens: int
) -> int:
    """Return how long a step takes, in femtoseconds."""
    prefill = clock.prefill * prefill_tokens + clock.prefill_context * prefill_context_tokens
    first = sum(cost * min(tokens, prefill_tokens + num_decodes) for tokens, cost in clock.first)
    return clock.base + prefill + clock.decode * num_decodes + clock.context * context_tokens + first


def engine_with(records: Sequence[TraceRecord], settings: Settings, clock: Clock, users: int) -> LLMEngine:
    """Return an engine with the records that it does not refuse."""
    process = ArrivalProcess("closed", users=users) if users else ArrivalProcess()
    engine = an_engine(clock=clock, arrivals=process, **settings)
    engine.add_records(records)
    return engine


def plain_times(steps: Sequence[StepRecord]) -> tuple[dict[str, Any], Counter[int], int]:
    """Return of each request when it was scheduled first and its first and last token; the gaps; the end."""
    scheduled: dict[str, int] = {}
    tokens: dict[str, list[int]] = defaultdict(list)
    last = 0
    for step in steps:
        start = to_femtoseconds(step.start or 0)
        end = start + to_femtoseconds(step.duration or 0)
        for entry in step.prefill:
            scheduled.setdefault(entry.id, start)
        for token in step.emitted:
            tokens[token.id].append(end)
        in_batch = {entry.id for entry in (*step.prefill, *step.decode)}
        if in_batch.difference(step.discarded or ()):
            last = end
    gaps = Counter(after - before for each in tokens.values() for before, after in pairwise(each))
    times = {
        name: (start, *((tokens[name][0], tokens[name][-1]) if name in tokens else (None, None)))
        for name, start in scheduled.items()
    }
    return times, gaps, last


def times_of(engine: LLMEngine) -> tuple[dict[str, Any], Counter[int], int]:
    """Return what the timekeeper knows, in the form of `plain_times`."""
    timekeeper = engine.timekeeper
    assert timekeeper is not None
    times = {
        name: (each.scheduled, each.first_token, each.last_token)
        for name, each in timekeeper.requests.items()
        if each.scheduled is not None
    }
    return times, Counter(timekeeper.gaps.counts()), timekeeper.end


@settings(max_examples=150)
@given(cases, drawn_clocks, users, st.sampled_from([0.002, 0.01, 0.1, 1.0]))
def test_times_are_those_of_the_plain_loop(
    case: tuple[list[TraceRecord], Settings], clock: Clock, users: int, unit: float
) -> None:
    """Steps, requests and gaps have the times of the plain loop, and so have those of strides."""
    records, settings = timed(case[0], unit), case[1]
    if settings["engine"] == "simple":
        settings["num_gpu_blocks"] = None  # it stalls where a prefill takes all blocks
    stepped, strided = (engine_with(records, settings, clock, users) for _ in range(2))
    plain = plain_steps(records, partial(duration_of, clock), users, **settings)
    steps: list[StepRecord] = []
    stepped.run(steps.append)
    strided.run()

    assert [step_to_json(step) for step in steps] == [step_to_json(step) for step in plain]
    assert times_of(stepped) == plain_times(plain)
    assert times_of(strided) == plain_times(plain)
    assert report_requests(strided) == report_requests(stepped)
    assert measure_run(strided) == measure_run(stepped)
    assert summarize(strided) == summarize(stepped)
