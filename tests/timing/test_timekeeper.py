"""Time under a clock: compared with the step records of the same run, and as laws that hold in any run."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from factories import a_record, an_engine, steps_of
from random_cases import MS, drawn_clocks
from seeded_cases import case_of
from tracesim import LLMEngine, StepRecord
from tracesim.analysis.report import measure_run, summarize
from tracesim.timing.arrival_process import ArrivalProcess
from tracesim.timing.clock import Clock, to_femtoseconds

processes = st.one_of(
    st.just(ArrivalProcess("trace")),
    st.builds(ArrivalProcess, st.sampled_from(["poisson", "constant"]), rate=st.sampled_from([3.0, 70.0])),
    st.builds(ArrivalProcess, st.just("closed"), users=st.integers(1, 4)),
)
seeds = st.integers(0, 3_000)


def a_case(seed: int, clock: Clock | None, process: ArrivalProcess) -> LLMEngine:
    """Return an engine with the case of a seed; under a clock, its arrivals are in units of 10 ms."""
    records, settings = case_of(seed)
    if settings["engine"] == "simple":
        settings["num_gpu_blocks"] = None  # it stalls where a prefill takes all blocks
    if clock is not None:
        records = [r._replace(arrival_step=0, arrival_time=r.arrival_step / 100) for r in records]
    engine = an_engine(clock=clock, arrivals=process, **settings)
    engine.add_records(records)
    return engine


def times_of(engine: LLMEngine) -> Any:
    """Return all that the timekeeper knows at the end of a run."""
    timekeeper = engine.timekeeper
    assert timekeeper is not None
    return timekeeper.now, timekeeper.busy, timekeeper.requests, timekeeper.gaps.counts()


def spans_of(steps: Sequence[StepRecord]) -> dict[int, tuple[int, int]]:
    """Return start and duration of each step by its number, in femtoseconds."""
    return {s.step: (to_femtoseconds(s.start or 0), to_femtoseconds(s.duration or 0)) for s in steps}


@given(seeds, drawn_clocks, processes)
def test_times_are_those_of_the_step_records(seed: int, clock: Clock, process: ArrivalProcess) -> None:
    engine = a_case(seed, clock, process)
    steps = steps_of(engine)
    spans = spans_of(steps)
    tokens: dict[str, list[int]] = defaultdict(list)
    scheduled: dict[str, int] = {}
    busy = 0
    for step in steps:
        start, duration = spans[step.step]
        busy += (len(step.prefill) + len(step.decode)) * duration
        for entry in step.prefill:
            scheduled.setdefault(entry.id, start)
        for token in step.emitted:
            tokens[token.id].append(start + duration)
    _, found_busy, requests, gaps = times_of(engine)

    assert busy == found_busy
    assert scheduled == {name: t.scheduled for name, t in requests.items() if t.scheduled is not None}
    assert {name: (each[0], each[-1]) for name, each in tokens.items()} == {
        name: (times.first_token, times.last_token)
        for name, times in requests.items()
        if times.first_token is not None
    }
    assert Counter(b - a for each in tokens.values() for a, b in pairwise(each)) == gaps


@given(seeds, drawn_clocks, processes)
def test_strides_take_the_time_of_their_steps(seed: int, clock: Clock, process: ArrivalProcess) -> None:
    stepped, strided = (a_case(seed, clock, process) for _ in range(2))
    steps_of(stepped)
    strided.run()

    assert times_of(stepped) == times_of(strided)
    assert measure_run(stepped) == measure_run(strided)
    assert summarize(stepped) == summarize(strided)


@given(seeds, drawn_clocks, processes)
def test_littles_law(seed: int, clock: Clock, process: ArrivalProcess) -> None:
    """The time that requests spend in the engine is the sum over steps of requests there times duration."""
    engine = a_case(seed, clock, process)
    steps = steps_of(engine)
    spans = spans_of(steps)
    _, _, requests, _ = times_of(engine)
    ends = {end.id: sum(spans[step.step]) for step in steps for end in step.finished}
    in_steps = sum((s.running + s.waiting + len(s.finished)) * spans[s.step][1] for s in steps)
    before_their_first_step = sum(
        spans[progress.arrival_step][0] - requests[name].arrived
        for name, progress in engine.requests.items()
        if progress.arrival_step is not None
    )

    assert in_steps + before_their_first_step == sum(ends[name] - requests[name].arrived for name in ends)
    assert ends.keys() == engine.requests.keys()


@given(seeds, st.integers(1, 4), st.booleans())
def test_user_has_one_request_at_a_time(seed: int, users: int, has_clock: bool) -> None:
    process = ArrivalProcess("closed", users=users)
    engine = a_case(seed, Clock(base=MS) if has_clock else None, process)
    steps = steps_of(engine)
    spans = spans_of(steps)

    assert max((s.running + s.waiting + len(s.finished) for s in steps), default=0) <= users
    if engine.timekeeper is not None:
        arrivals = {name: times.arrived for name, times in engine.timekeeper.requests.items()}
        assert arrivals == {name: spans[p.arrival_step or 0][0] for name, p in engine.requests.items()}


def test_idle_time_takes_no_steps() -> None:
    engine = an_engine([a_record("a"), a_record("b", arrival_time=3600.0)], clock=Clock(base=MS))
    steps = steps_of(engine)

    assert list(range(len(steps))) == [step.step for step in steps]
    assert steps[len(steps) // 2].start == 3600.0
