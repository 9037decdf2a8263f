"""Time under a clock: against a naive account of step records, by hand, and as laws that hold in any run."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import astuple
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factories import a_record, an_engine, steps_of
from seeded_cases import case_of
from tracesim import LLMEngine, RequestError, StepRecord
from tracesim.analysis.metrics import Latency, Slo
from tracesim.analysis.report import (
    RunReport,
    TimedRequestReport,
    measure_run,
    report_requests,
    report_to_json,
    requests_to_csv,
    summarize,
)
from tracesim.timing.arrival_process import ArrivalProcess, parse_arrivals
from tracesim.timing.clock import PER_SECOND, Clock, to_picoseconds

MS = PER_SECOND // 1000

clocks = st.builds(
    Clock,
    base=st.integers(1, 30).map(lambda ms: ms * MS),
    prefill=st.sampled_from([0, MS // 3]),
    decode=st.sampled_from([0, MS]),
    context=st.sampled_from([0, MS // 7]),
)
processes = st.one_of(
    st.just(ArrivalProcess("trace")),
    st.builds(ArrivalProcess, st.sampled_from(["poisson", "constant"]), rate=st.sampled_from([3.0, 70.0])),
    st.builds(ArrivalProcess, st.just("closed"), users=st.integers(1, 4)),
)
seeds = st.integers(0, 3_000)


def a_case(seed: int, clock: Clock | None, process: ArrivalProcess) -> LLMEngine:
    """A case that is often short of something; with a clock its arrivals are in units of 10 ms."""
    records, settings = case_of(seed)
    if settings["engine"] == "simple":
        settings["num_gpu_blocks"] = None  # with few blocks a prefill may fill them all, and can never decode
    if clock is not None:
        records = [r._replace(arrival_step=0, arrival_time=r.arrival_step / 100) for r in records]
    engine = an_engine(clock=clock, arrivals=process, **settings)
    engine.add_records(records)
    return engine


def times_of(engine: LLMEngine) -> Any:
    assert engine.timekeeper is not None
    return engine.timekeeper.now, engine.timekeeper.requests, engine.timekeeper.gaps.counts()


def busy_of(steps: Sequence[StepRecord]) -> int:
    return sum((len(s.prefill) + len(s.decode)) * to_picoseconds(s.duration or 0) for s in steps)


def naive_times(steps: Sequence[StepRecord]) -> tuple[dict[str, list[int]], dict[str, int]]:
    """When each token of each request came, and when each request was first scheduled."""
    tokens: dict[str, list[int]] = defaultdict(list)
    scheduled: dict[str, int] = {}
    for step in steps:
        assert step.start is not None
        assert step.duration is not None
        start = to_picoseconds(step.start)
        for entry in step.prefill:
            scheduled.setdefault(entry.id, start)
        for token in step.emitted:
            tokens[token.id].append(start + to_picoseconds(step.duration))
    return tokens, scheduled


@given(seeds, clocks, processes)
def test_times_are_those_of_the_step_records(seed: int, clock: Clock, process: ArrivalProcess) -> None:
    engine = a_case(seed, clock, process)
    steps = steps_of(engine)
    tokens, scheduled = naive_times(steps)
    _, requests, gaps = times_of(engine)

    assert {
        name: times.scheduled for name, times in requests.items() if times.scheduled is not None
    } == scheduled
    assert {
        name: (times.first_token, times.last_token)
        for name, times in requests.items()
        if times.first_token is not None
    } == {name: (each[0], each[-1]) for name, each in tokens.items()}
    assert engine.timekeeper is not None
    assert engine.timekeeper.busy == busy_of(steps)
    assert gaps == Counter(b - a for each in tokens.values() for a, b in pairwise(each))


@given(seeds, clocks, processes)
def test_strides_take_the_same_time_as_their_steps(seed: int, clock: Clock, process: ArrivalProcess) -> None:
    stepped, strided = (a_case(seed, clock, process) for _ in range(2))
    steps_of(stepped)
    strided.run()

    assert times_of(strided) == times_of(stepped)
    assert measure_run(strided) == measure_run(stepped)
    assert summarize(strided) == summarize(stepped)


@given(seeds, clocks, processes)
def test_requests_in_the_engine_are_littles_law(seed: int, clock: Clock, process: ArrivalProcess) -> None:
    """The time that requests spend in the engine is, summed over steps, who is there times how long."""
    engine = a_case(seed, clock, process)
    steps = steps_of(engine)
    _, requests, _ = times_of(engine)
    starts = {step.step: to_picoseconds(step.start or 0) for step in steps}
    durations = {step.step: to_picoseconds(step.duration or 0) for step in steps}
    ends = {end.id: starts[step.step] + durations[step.step] for step in steps for end in step.finished}
    in_engine = sum(
        (step.running + step.waiting + len(step.finished)) * durations[step.step] for step in steps
    )
    before = sum(
        starts[progress.arrival_step] - requests[name].arrived
        for name, progress in engine.requests.items()
        if progress.arrival_step is not None
    )

    assert in_engine + before == sum(ends[name] - requests[name].arrived for name in ends)
    assert len(ends) == len(engine.requests)


@given(seeds, st.integers(1, 4), st.booleans())
def test_users_never_have_more_than_one_request_each(seed: int, users: int, timed: bool) -> None:
    process = ArrivalProcess("closed", users=users)
    engine = a_case(seed, Clock(base=MS) if timed else None, process)
    steps = steps_of(engine)
    for step in steps:
        assert step.running + step.waiting + len(step.finished) <= users
    if engine.timekeeper is not None:
        starts = {step.step: to_picoseconds(step.start or 0) for step in steps}
        for name, times in engine.timekeeper.requests.items():
            assert times.arrived == starts[engine.requests[name].arrival_step or 0]


def seconds(latency: Latency | None) -> tuple[float, ...]:
    """Mean, p50, p90 and p99."""
    assert latency is not None
    return astuple(latency)


def test_a_case_by_hand() -> None:
    """Two requests under `vllm-v0`, steps of 10 ms and 1 ms more for each prefill token.

    a: prompt of 4 tokens, 3 output tokens, arrives at 0. b: prompt of 6, 2 output tokens, arrives at 5 ms.

        step 0 (0 to 14 ms): prefill a; a's 1st token at 14.
        step 1 (14 to 30 ms): b, arrived at 5, is prefilled; b's 1st token at 30.
        step 2 (30 to 40 ms): decode both; a's 2nd and b's 2nd and last token at 40.
        step 3 (40 to 50 ms): decode a; its last token at 50.

    TTFT: a 14, b 25. E2E: a 50, b 35. TPOT: a (50 - 14) / 2 = 18, b 10. ITL: a 26 and 10, b 10. Queue time:
    a 0, b 14 - 5 = 9. 2 requests and 5 output tokens in 50 ms: 40 and 100 a second, with 10 prompt tokens
    300 a second. Within TTFT 20 ms: a alone, 20 a second. Batches of 1, 1, 2 and 1 requests for 14, 16, 10
    and 10 ms: 60 / 50 on average.
    """
    records = [
        a_record("a", prompt="aaaa", response="xyz"),
        a_record("b", prompt="bbbbbb", response="xy", arrival_time=0.005),
    ]
    engine = an_engine(records, clock=Clock(base=10 * MS, prefill=MS), engine="vllm-v0")
    engine.run()
    metrics = measure_run(engine, Slo(ttft=0.020))

    shown = ("arrival_time", "queue_time", "ttft", "tpot", "e2e")
    assert [{name: getattr(each, name) for name in shown} for each in report_requests(engine)] == [
        {"arrival_time": 0.0, "queue_time": 0.0, "ttft": 0.014, "tpot": 0.018, "e2e": 0.05},
        {"arrival_time": 0.005, "queue_time": 0.009, "ttft": 0.025, "tpot": 0.01, "e2e": 0.035},
    ]
    assert metrics is not None
    assert (metrics.duration, metrics.request_throughput, metrics.goodput) == (0.05, 40.0, 20.0)
    assert (metrics.output_token_throughput, metrics.total_token_throughput) == (100.0, 300.0)
    assert metrics.mean_batch == pytest.approx(1.2)
    assert seconds(metrics.ttft) == pytest.approx((0.0195, 0.0195, 0.0239, 0.02489))
    assert seconds(metrics.tpot) == pytest.approx((0.014, 0.014, 0.0172, 0.01792))
    assert seconds(metrics.itl) == pytest.approx((0.046 / 3, 0.010, 0.0228, 0.02568))
    assert seconds(metrics.e2e) == pytest.approx((0.0425, 0.0425, 0.0485, 0.04985))
    assert seconds(metrics.queue_time) == pytest.approx((0.0045, 0.0045, 0.0081, 0.00891))


def test_idle_time_is_passed_over() -> None:
    engine = an_engine([a_record("a"), a_record("b", arrival_time=3600.0)], clock=Clock(base=MS))
    steps = steps_of(engine)

    assert [step.step for step in steps] == list(range(len(steps)))
    assert steps[len(steps) // 2].start == 3600.0


def test_the_same_seed_gives_the_same_bytes() -> None:
    def report(seed: int) -> bytes:
        records = [a_record(f"r{number}", response="x" * (number % 9)) for number in range(50)]
        process = parse_arrivals("poisson:40", seed=seed)
        engine = an_engine(
            records, clock=Clock(base=3 * MS, context=MS // 9), arrivals=process, max_num_seqs=4
        )
        engine.run()
        rows = report_requests(engine)
        return report_to_json(RunReport({}, summarize(engine), rows, measure_run(engine))) + requests_to_csv(
            rows
        )

    assert report(1) == report(1)
    assert report(1) != report(2)


def test_a_step_of_the_trace_means_nothing_under_a_clock() -> None:
    record = a_record("a", arrival_step=3)
    engine = an_engine(clock=Clock(base=MS))

    with pytest.raises(RequestError, match=r"arrival_step is 3, and this run has a clock: give arrival_time"):
        engine.add_record(record)


def test_without_a_clock_there_are_no_times_to_report() -> None:
    engine = an_engine([a_record("a", arrival_time=9.0)])
    engine.run()

    assert measure_run(engine) is None
    assert not isinstance(report_requests(engine)[0], TimedRequestReport)
    assert report_requests(engine)[0].arrival_step == 0


def test_a_request_that_emitted_nothing_has_no_latency_but_its_queue_time() -> None:
    engine = an_engine([a_record("a", response="")], clock=Clock(base=MS))
    engine.run()
    (row,) = report_requests(engine)
    metrics = measure_run(engine, Slo(ttft=1.0))

    assert isinstance(row, TimedRequestReport)
    assert (row.queue_time, row.ttft, row.tpot, row.e2e) == (0.0, None, None, None)
    assert metrics is not None
    assert (metrics.ttft, metrics.itl, metrics.goodput) == (None, None, 0.0)


@pytest.mark.parametrize("closed", [False, True])
def test_an_aborted_request_leaves_others_as_they_were(closed: bool) -> None:
    """Its gaps count as far as it came; with one user, the next request is sent then."""
    records = [a_record("goes", response="x" * 9), a_record("stays", prompt="Yo", response="abc")]
    process = ArrivalProcess("closed", users=1) if closed else None
    engine = an_engine(records, clock=Clock(base=MS), arrivals=process, engine="vllm-v0")
    for _ in range(4):
        engine.step()
    engine.abort_request("goes")
    engine.run()
    metrics = measure_run(engine)
    goes, stays = report_requests(engine)

    assert engine.timekeeper is not None
    assert engine.timekeeper.gaps.counts() == {MS: 3 + 2}
    assert isinstance(goes, TimedRequestReport)
    assert isinstance(stays, TimedRequestReport)
    assert (goes.finish_reason, goes.e2e) == ("abort", 0.004)
    assert (stays.arrival_time, stays.tpot) == (0.004 if closed else 0.0, 0.001)
    assert metrics is not None
    assert metrics.request_throughput == pytest.approx(1 / metrics.duration)


def test_refused_records_leave_no_gap_in_the_arrivals() -> None:
    records = [a_record(name, prompt=prompt) for name, prompt in (("a", "p"), ("b", "p" * 99), ("c", "p"))]
    process = ArrivalProcess("constant", rate=2.0)
    engine = an_engine(clock=Clock(base=MS), arrivals=process, engine="vllm-v1", max_model_len=50)

    assert [record.id for record, _ in engine.add_records(records)] == ["b"]
    assert [progress.request.arrival / PER_SECOND for progress in engine.requests.values()] == [0.0, 0.5]


def test_a_row_a_request_in_csv() -> None:
    engine = an_engine([a_record('a,"b"\n', response="xy")], clock=Clock(base=MS))
    engine.run()

    assert requests_to_csv(report_requests(engine)).decode().splitlines() == [
        "id,prompt_tokens,output_tokens,finish_reason,stop_reason,arrival_step,first_token_step,"
        "last_token_step,preemptions,cached_tokens,arrival_time,queue_time,ttft,tpot,e2e",
        '"a,""b""',
        '",2,2,stop,,0,1,2,0,0,0.0,0.0,0.002,0.001,0.003',
    ]
