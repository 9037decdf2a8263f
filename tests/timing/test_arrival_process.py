"""Arrivals as they are written, and the times that they give to records."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean, pstdev

import pytest

from factories import a_record, an_engine
from tracesim.errors import ConfigError, RequestError
from tracesim.limits import MAX_STEP
from tracesim.timing.arrival_process import ArrivalProcess, ArrivalTimes, parse_arrivals
from tracesim.timing.clock import PER_SECOND, Clock


@pytest.mark.parametrize(
    ("text", "process"),
    [
        ("trace", ArrivalProcess("trace")),
        ("asap", ArrivalProcess("asap")),
        ("poisson:2.5", ArrivalProcess("poisson", rate=2.5)),
        ("constant:1e3", ArrivalProcess("constant", rate=1000)),
        ("closed:8", ArrivalProcess("closed", users=8)),
        ("gamma:2:0.5", ArrivalProcess("gamma", rate=2, cv=0.5)),
        ("trace-rate:1.5", ArrivalProcess("trace-rate", rate=1.5)),
    ],
)
def test_valid_arrivals(text: str, process: ArrivalProcess) -> None:
    assert process == parse_arrivals(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "now", "poisson", "poisson:0", "poisson:-1", "constant:nan"),
        *("closed:0", "closed:1.5", "closed:1e9"),
        *("gamma:2", "gamma:2:0", "gamma:2:1e-9", "gamma:1:2:3", "trace-rate:0"),
    ],
)
def test_invalid_arrivals(text: str) -> None:
    with pytest.raises(ConfigError, match=f"arrivals is {text!r}; must be trace, asap, poisson:RATE"):
        parse_arrivals(text)


def arrivals(
    process: ArrivalProcess, count: int = 4, *, has_clock: bool = True, **fields: float
) -> list[float]:
    """Return the arrivals of `count` records with these fields, in seconds or in steps."""
    times = ArrivalTimes(process, has_clock=has_clock)
    found = []
    for number in range(count):
        found.append(times.of(a_record(f"r{number}", **fields)) / (PER_SECOND if has_clock else 1))
        times.advance()
    return found


def test_each_kind_of_arrival() -> None:
    assert arrivals(ArrivalProcess("asap"), arrival_time=3.0) == [0, 0, 0, 0]
    assert arrivals(ArrivalProcess("constant", rate=4)) == [0, 0.25, 0.5, 0.75]
    assert arrivals(ArrivalProcess("constant", rate=0.5), has_clock=False) == [0, 2, 4, 6]
    assert arrivals(ArrivalProcess("trace", speedup=2.0), arrival_time=3.0) == [1.5] * 4
    assert arrivals(ArrivalProcess("trace", speedup=2.0), has_clock=False, arrival_step=3) == [1] * 4


def test_large_step_is_exact() -> None:
    times = ArrivalTimes(ArrivalProcess("trace"), has_clock=False)

    assert times.of(a_record("r1", arrival_step=MAX_STEP - 1)) == MAX_STEP - 1


@pytest.mark.parametrize("has_clock", [False, True])
def test_arrival_that_is_too_late(has_clock: bool) -> None:
    times = ArrivalTimes(ArrivalProcess("constant", rate=1e-300), has_clock=has_clock)
    times.advance()

    with pytest.raises(RequestError, match=r"arrives after 1e\+300 \w+; must be at most 1"):
        times.of(a_record("r1"))


def test_an_arrival_counts_in_the_unit_of_the_run() -> None:
    with_clock = ArrivalTimes(ArrivalProcess("trace"), has_clock=True)
    without_clock = ArrivalTimes(ArrivalProcess("trace"), has_clock=False)

    assert with_clock.of(a_record("a", arrival_step=3)) == 0
    assert without_clock.of(a_record("a", arrival_time=3.0)) == 0


def test_poisson_gaps_are_exponential() -> None:
    """Mean and standard deviation are both 1 / rate."""
    times = arrivals(ArrivalProcess("poisson", rate=50.0, seed=3), 20_000)
    gaps = [b - a for a, b in pairwise(times)]

    assert pytest.approx(0.02, rel=0.03) == fmean(gaps)
    assert pytest.approx(0.02, rel=0.03) == pstdev(gaps)
    assert times == arrivals(ArrivalProcess("poisson", rate=50.0, seed=3), 20_000)


def test_refused_record_leaves_no_gap() -> None:
    records = [a_record(name, prompt=prompt) for name, prompt in (("a", "p"), ("b", "p" * 99), ("c", "p"))]
    process = ArrivalProcess("constant", rate=2.0)
    engine = an_engine(clock=Clock(base=PER_SECOND), arrivals=process, engine="vllm-v1", max_model_len=50)

    assert [record.id for record, _ in engine.add_records(records)] == ["b"]
    assert [progress.request.arrival / PER_SECOND for progress in engine.requests.values()] == [0.0, 0.5]


def planned(process: ArrivalProcess, recorded: Sequence[float]) -> list[float]:
    """Return the arrivals of a process that needs all, in seconds."""
    times = ArrivalTimes(process, has_clock=True).all_of([round(time * PER_SECOND) for time in recorded])
    return [time / PER_SECOND for time in times]


@pytest.mark.parametrize("cv", [0.25, 1.0, 3.0])
def test_gamma_gaps_have_their_variation_and_end_when_the_rate_says(cv: float) -> None:
    """The standard deviation of the gaps is `cv` times their mean, and the last arrival is at n / rate."""
    times = planned(ArrivalProcess("gamma", rate=50.0, cv=cv, seed=3), [0.0] * 20_000)
    gaps = [after - before for before, after in pairwise([0.0, *times])]

    assert times[-1] == pytest.approx(20_000 / 50)
    assert pytest.approx(cv * 0.02, rel=0.05) == pstdev(gaps)


def test_the_rate_of_a_trace_is_followed_over_time() -> None:
    """The trace has 1,000 requests in its first second and 200 in the next four, whose mean gap ends it.

    At half the rate its 1,200 requests take two rounds of its 5 s: 500 come in the first second of a round.
    """
    recorded = [at / 1000 for at in range(1000)] + [1 + at / 50 for at in range(200)]
    times = planned(ArrivalProcess("trace-rate", rate=0.5, seed=1), recorded)
    round_length = recorded[-1] * 1200 / 1199

    assert len(times) == 1200
    for start in (0, round_length):
        assert sum(start <= time < start + 1 for time in times) == pytest.approx(500, rel=0.15)
        assert sum(start + 1 <= time < start + round_length for time in times) == pytest.approx(100, rel=0.3)


def test_a_trace_without_times_has_no_rate_to_follow() -> None:
    engine = an_engine([a_record("a"), a_record("b")], arrivals=parse_arrivals("trace-rate:2"))

    with pytest.raises(ConfigError, match="arrivals is trace-rate, but the trace has no arrival times"):
        engine.run()


def test_processes_that_need_all_requests_start_sessions() -> None:
    """Later turns follow; a request that is added later arrives from then on."""
    records = [
        a_record(f"r{at}", input_length=1, output_length=2, session_id=f"s{at % 2}") for at in range(4)
    ]
    process = ArrivalProcess("gamma", rate=0.1, cv=0.001)
    engine = an_engine(records, clock=Clock(base=PER_SECOND), arrivals=process, engine="vllm-v1")
    engine.run()
    engine.add_record(a_record("later", input_length=1, output_length=2))
    engine.run()

    assert engine.timekeeper is not None
    arrived = {name: times.arrived / PER_SECOND for name, times in engine.timekeeper.requests.items()}
    assert arrived["r2"] == arrived["r0"] + 2
    assert arrived["r0"] == pytest.approx(10, rel=0.01)
    assert arrived["r1"] == pytest.approx(20)
    assert arrived["later"] == pytest.approx(24 + 10)
