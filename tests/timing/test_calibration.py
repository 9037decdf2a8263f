"""Clocks fitted to durations that a known clock has made, with noise, outliers and without variety."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from tracesim.requests.batch import Batch
from tracesim.timing.calibration import (
    DEFAULT_SHAPE,
    Span,
    costs_of,
    fit_latencies,
    fit_steps,
    rounded,
    with_costs,
)
from tracesim.timing.clock import PER_SECOND, Clock, parse_clock

pytest.importorskip("scipy")

TRUE = "linear:base=12ms,prefill=60us,decode=150us,context=30ns,prefill_context=3ns"


def a_clock(text: str) -> Clock:
    clock = parse_clock(text)
    assert clock is not None
    return clock


def batches(count: int, seed: int = 1) -> list[Batch]:
    """Return batches of decodes, every fifth of which has prefill."""
    draw = random.Random(seed)
    found = []
    for number in range(count):
        decodes, prefill = draw.randint(1, 100), 0 if number % 5 else draw.randint(10, 2000)
        context = decodes * draw.randint(100, 3000)
        found.append(Batch(prefill, decodes, context, prefill * draw.randint(0, 4_000)))
    return found


def durations(clock: Clock, steps: Sequence[Batch], noise: float = 0.0, seed: int = 2) -> list[float]:
    draw = random.Random(seed)
    return [clock.duration(batch) / PER_SECOND * draw.gauss(1, noise) for batch in steps]


def relative(fitted: Clock, true: Clock) -> dict[str, float]:
    return {name: cost / costs_of(true)[name] for name, cost in costs_of(fitted).items()}


def test_costs_of_exact_steps_are_found() -> None:
    steps, true = batches(400), a_clock(TRUE)
    fit = fit_steps(DEFAULT_SHAPE, steps, durations(true, steps))

    assert relative(fit.clock, true) == pytest.approx(dict.fromkeys(costs_of(true), 1), rel=0.01)
    assert (fit.uncertain, fit.negative) == ({}, {})


@pytest.mark.parametrize("factor", [10, 1e-3])
def test_outliers_hardly_move_the_costs(factor: float) -> None:
    """Every eighth step takes ten times as long, or was hardly measured at all."""
    steps, true = batches(1000), a_clock(TRUE)
    usual = durations(true, steps, 0.02)
    fit = fit_steps(DEFAULT_SHAPE, steps, [d * (1 if n % 8 else factor) for n, d in enumerate(usual)])

    assert durations(fit.clock, steps) == pytest.approx(durations(true, steps), rel=0.02)


def test_a_shape_keeps_its_proportions() -> None:
    steps, true = batches(200), a_clock(TRUE)
    twice = with_costs(true, {name: 2 * cost for name, cost in costs_of(true).items()})
    fit = fit_steps(twice, steps, durations(true, steps), keeps_shape=True)

    assert true == fit.clock


def test_the_costs_of_first_tokens_are_fitted_like_others() -> None:
    steps, true = batches(400), a_clock("linear:base=5ms,prefill=50us,decode=20us,first_32=200us")
    shape = a_clock("linear:base=9ms,prefill=30us,decode=30us,first_32=90us")
    fit = fit_steps(shape, steps, durations(true, steps))

    found, expected = costs_of(fit.clock), costs_of(true)
    assert {name: found[name] for name in ("base", "prefill", "decode", "first_32")} == pytest.approx(
        {name: expected[name] for name in ("base", "prefill", "decode", "first_32")}, rel=0.02
    )


def test_a_cost_that_would_be_negative_is_0_and_named() -> None:
    """Steps with more decodes take less time: 20 ms less 50 us for each of up to 100."""
    steps = [batch._replace(prefill_tokens=0, prefill_context_tokens=0) for batch in batches(300)]
    seconds = [0.020 - 50e-6 * batch.num_decodes for batch in steps]
    fit = fit_steps(a_clock("linear:base=10ms,decode=20us"), steps, seconds)

    assert fit.clock.decode == 0
    assert fit.negative == {"decode": pytest.approx(-50e-6, rel=0.05)}


def test_steps_of_one_size_cannot_tell_base_from_decode() -> None:
    """The two then keep the proportion of the shape: 20 us to 10 ms, times a factor."""
    steps = [Batch(0, 8, 1000, 0)] * 200
    fit = fit_steps(a_clock("linear:base=10ms,decode=20us"), steps, [0.0304] * 200)

    assert {"base", "decode"} >= fit.uncertain.keys()
    assert "decode" in fit.uncertain
    assert costs_of(fit.clock)["base"] == pytest.approx(500 * costs_of(fit.clock)["decode"], rel=0.01)
    assert fit.clock.duration(steps[0]) / PER_SECOND == pytest.approx(0.0304, rel=1e-3)


def test_latencies_are_fitted_by_asking_for_predictions() -> None:
    """Latencies here are the durations of runs of ten batches, so that the true clock predicts them."""
    steps, true = batches(1200), a_clock(TRUE)
    runs = [steps[start : start + 10] for start in range(0, len(steps), 10)]

    def predict(clock: Clock) -> list[float]:
        return [sum(map(clock.duration, run)) / PER_SECOND for run in runs]

    def spans(clock: Clock) -> list[Span]:
        """Return the runs with what each cost makes of them."""
        costs = costs_of(clock)
        only = [with_costs(clock, {**dict.fromkeys(costs, 0), name: cost}) for name, cost in costs.items()]
        return [
            Span([sum(map(each.duration, run)) / PER_SECOND for each in only], seconds)
            for run, seconds in zip(runs, predict(true), strict=True)
        ]

    fit = fit_latencies(DEFAULT_SHAPE, predict, predict(true), [0.0] * len(runs), spans)

    found = relative(fit.clock, true)
    assert found["base"] == pytest.approx(1, rel=0.1)
    assert found["prefill"] == pytest.approx(1, rel=0.05)
    assert predict(fit.clock) == pytest.approx(predict(true), rel=0.012)


def test_costs_are_rounded_to_what_a_profile_has() -> None:
    clock = Clock(12_345_678_901_234, 60_000_000_001, first=((32, 1_234_567),))

    assert rounded(clock) == Clock(12_346_000_000_000, 60_000_000_000, first=((32, 1_234_600),))
