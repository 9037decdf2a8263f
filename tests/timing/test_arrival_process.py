"""Arrivals as they are written, and the times that they give to records."""

from __future__ import annotations

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
    ],
)
def test_valid_arrivals(text: str, process: ArrivalProcess) -> None:
    assert process == parse_arrivals(text)


@pytest.mark.parametrize(
    "text",
    ["", "now", "poisson", "poisson:0", "poisson:-1", "constant:nan", "closed:0", "closed:1.5", "closed:1e9"],
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
