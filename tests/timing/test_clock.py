"""Clocks and arrivals as they are written, and a stride's time without its steps."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factories import a_record
from tracesim.analysis.metrics import Slo, parse_slo
from tracesim.errors import ConfigError, RequestError
from tracesim.requests.batch import Batch
from tracesim.timing.arrival_process import ArrivalProcess, ArrivalTimes, parse_arrivals
from tracesim.timing.clock import Clock, parse_clock

costs = st.integers(0, 10**9)
batches = st.builds(Batch, st.integers(0, 3_000), st.integers(0, 300), st.integers(0, 10**6))


@given(st.builds(Clock, st.integers(1, 10**9), costs, costs, costs), batches, st.integers(1, 60))
def test_steps_at_once_take_as_long_as_one_by_one(clock: Clock, batch: Batch, steps: int) -> None:
    one_by_one = [
        clock.duration(batch._replace(context_tokens=batch.context_tokens + step * batch.num_decodes))
        for step in range(steps)
    ]

    assert clock.duration_of(batch, steps) == sum(one_by_one)


@given(
    st.builds(Clock, st.integers(1, 10**9), costs, costs, costs),
    batches,
    st.integers(-5, 10**14),
    st.integers(1, 10**6),
)
def test_steps_to_a_time_are_the_fewest_that_reach_it(
    clock: Clock, batch: Batch, time: int, limit: int
) -> None:
    steps = clock.steps_before(time, batch, limit)

    assert steps == limit or clock.duration_of(batch, steps) >= time
    assert steps == 0 or clock.duration_of(batch, steps - 1) < time


@pytest.mark.parametrize(
    ("text", "clock"),
    [
        ("steps", None),
        ("constant:20ms", Clock(20 * 10**9)),
        ("constant:1.5s", Clock(15 * 10**11)),
        (
            "linear:base=5ms,prefill=50us,decode=80µs,context=2ns",
            Clock(5 * 10**9, 50 * 10**6, 80 * 10**6, 2000),
        ),
        ("linear:decode=1ms, prefill=1ms", Clock(0, 10**9, 10**9)),
    ],
)
def test_a_clock_is_what_its_text_says(text: str, clock: Clock | None) -> None:
    assert parse_clock(text) == clock


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "clock is ''; must be steps, constant:20ms, linear:"),
        ("constant", "must be steps, constant:20ms"),
        ("constant:20", "clock.constant is '20'; must be a number and ns, us, ms or s, such as"),
        ("constant:0ms", "a step must take time"),
        ("constant:1e400s", "must be a number"),
        (
            "linear:base=1ms,speed=2ms",
            "clock has 'speed'; a linear clock knows base, prefill",
        ),
        ("linear:base=1ms,base=2ms", "gives a cost twice"),
        ("linear:base", "clock has 'base'; must be a name, = and a duration"),
        ("linear:prefill=1ms", "a step must take time: base, or prefill and decode, over 0"),
        ("none.toml", r"cannot be read from none.toml: No such file"),
    ],
)
def test_a_clock_that_is_none_is_an_error(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parse_clock(text)


@pytest.mark.parametrize(
    ("content", "clock"),
    [
        ('[clock]\nconstant = "20ms"\n', Clock(20 * 10**9)),
        ('title = "mine"\n[clock]\nbase = "5ms"\ndecode = "80us"\n', Clock(5 * 10**9, 0, 80 * 10**6)),
    ],
)
def test_a_clock_is_read_from_a_file(tmp_path: Path, content: str, clock: Clock) -> None:
    path = tmp_path / "clock.toml"
    path.write_text(content)

    assert parse_clock(str(path)) == clock


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("clock", "which is not TOML"),
        ("[other]", r"has no table \[clock\]"),
        ("[clock]\nbase = 5", r"base is 5; must be a number and ns, us, ms or s"),
        ('[clock]\nconstant = "5ms"\nbase = "5ms"', "has constant beside base"),
    ],
)
def test_a_file_that_has_no_clock_is_an_error(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "clock.toml"
    path.write_text(content)

    with pytest.raises(ConfigError, match=says):
        parse_clock(str(path))


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
def test_arrivals_are_what_their_text_says(text: str, process: ArrivalProcess) -> None:
    assert parse_arrivals(text) == process


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "poisson",
        "poisson:0",
        "poisson:-1",
        "constant:nan",
        "closed:0",
        "closed:1.5",
        f"closed:{10**20}",
    ],
)
def test_arrivals_that_are_none_are_an_error(text: str) -> None:
    with pytest.raises(ConfigError, match=f"arrivals is {text!r}; must be trace, asap, poisson:RATE"):
        parse_arrivals(text)


def arrivals(process: ArrivalProcess, count: int = 4, *, timed: bool = True, **fields: float) -> list[float]:
    times = ArrivalTimes(process, has_clock=timed)
    found = []
    for number in range(count):
        found.append(times.of(a_record(f"r{number}", **fields)) / (10**12 if timed else 1))
        times.advance()
    return found


def test_each_kind_of_arrival() -> None:
    assert arrivals(ArrivalProcess("asap"), arrival_time=3.0) == [0, 0, 0, 0]
    assert arrivals(ArrivalProcess("constant", rate=4)) == [0, 0.25, 0.5, 0.75]
    assert arrivals(ArrivalProcess("constant", rate=0.5), timed=False) == [0, 2, 4, 6]
    assert arrivals(ArrivalProcess("trace", speedup=2.0), arrival_time=3.0) == [1.5] * 4
    assert arrivals(ArrivalProcess("trace", speedup=2.0), timed=False, arrival_step=3) == [1] * 4


def test_a_step_is_exact_however_large() -> None:
    times = ArrivalTimes(ArrivalProcess("trace"), has_clock=False)

    assert times.of(a_record("r1", arrival_step=2**53 + 1)) == 2**53 + 1


@pytest.mark.parametrize("timed", [False, True])
def test_what_would_never_arrive_is_an_error(timed: bool) -> None:
    times = ArrivalTimes(ArrivalProcess("constant", rate=1e-300), has_clock=timed)
    times.advance()

    with pytest.raises(RequestError, match=r"arrives after 1e\+300 seconds or steps; must be before"):
        times.of(a_record("r1"))


def test_poisson_arrivals_have_the_rate_and_the_spread_that_they_should() -> None:
    """Gaps are exponential: their mean is 1 / rate, and so is their standard deviation."""
    times = arrivals(ArrivalProcess("poisson", rate=50.0, seed=3), 20_000)
    gaps = [b - a for a, b in pairwise(times)]
    mean = sum(gaps) / len(gaps)
    deviation = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5

    assert mean == pytest.approx(0.02, rel=0.03)
    assert deviation == pytest.approx(0.02, rel=0.03)
    assert times == arrivals(ArrivalProcess("poisson", rate=50.0, seed=3), 20_000)


def test_limits_are_what_their_text_says() -> None:
    assert parse_slo("ttft=500ms, tpot=50ms") == Slo(ttft=0.5, tpot=0.05)
    assert parse_slo("e2e=2s") == Slo(e2e=2.0)


@pytest.mark.parametrize("text", ["", "ttft", "itl=5ms", "ttft=1s,ttft=2s", "ttft=fast"])
def test_limits_that_are_none_are_an_error(text: str) -> None:
    with pytest.raises(ConfigError, match="slo"):
        parse_slo(text)
