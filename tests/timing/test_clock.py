"""Clocks as they are written, and the time of a stride without its steps."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracesim.errors import ConfigError
from tracesim.requests.batch import Batch, pairs_of_chunk
from tracesim.timing.clock import Clock, parse_clock

costs = st.integers(0, 10**9)
clocks = st.builds(Clock, st.integers(1, 10**9), costs, costs, costs, costs)
batches = st.builds(
    Batch, st.integers(0, 3_000), st.integers(0, 300), st.integers(0, 10**6), st.integers(0, 10**9)
)

MS, US = 10**12, 10**9


@given(clocks, batches, st.integers(1, 60))
def test_stride_takes_as_long_as_its_steps(clock: Clock, batch: Batch, steps: int) -> None:
    durations = [clock.duration(batch.after(step)) for step in range(steps)]

    assert sum(durations) == clock.duration_of(batch, steps)
    assert {clock.growth(batch)} >= {after - before for before, after in pairwise(durations)}


def test_the_first_tokens_of_a_step_cost_more() -> None:
    """Of 3 prompt tokens and 5 decode requests 8 are under both limits; of 30 and 5, 8 and 32."""
    clock = Clock(100, prefill=1, decode=2, first=((8, 10), (32, 1000)))

    assert clock.duration(Batch(3, 5, 0, 0)) == 100 + 3 + 10 + 8 * 10 + 8 * 1000
    assert clock.duration(Batch(30, 5, 0, 0)) == 100 + 30 + 10 + 8 * 10 + 32 * 1000


@given(st.integers(0, 100), st.integers(0, 100))
def test_pairs_of_a_chunk_are_the_tokens_before_each_of_its_tokens(computed: int, tokens: int) -> None:
    assert sum(range(computed, computed + tokens)) == pairs_of_chunk(computed, tokens)


@given(st.integers(0, 100), st.integers(1, 40), st.integers(0, 30))
def test_chunks_of_a_prompt_grow_as_the_batch_after_says(computed: int, chunk: int, steps: int) -> None:
    batch = Batch(chunk, 3, 50, pairs_of_chunk(computed, chunk))
    last = Batch(chunk, 3, 50 + 3 * steps, pairs_of_chunk(computed + steps * chunk, chunk))

    assert last == batch.after(steps)


@given(clocks, batches, st.integers(-5, 10**17), st.integers(1, 10**6))
def test_steps_before_a_time_are_the_fewest_that_reach_it(
    clock: Clock, batch: Batch, time: int, limit: int
) -> None:
    steps = clock.steps_before(time, batch, limit)

    assert steps == limit or clock.duration_of(batch, steps) >= time
    assert steps == 0 or clock.duration_of(batch, steps - 1) < time


@pytest.mark.parametrize(
    ("text", "clock"),
    [
        ("steps", None),
        ("constant:20ms", Clock(20 * MS)),
        ("constant:1.5s", Clock(1500 * MS)),
        ("constant:0.02", Clock(20 * MS)),
        (
            "linear:base=5ms,prefill=50us,decode=80µs,context=2ns,prefill_context=1.5ps",
            Clock(5 * MS, 50 * US, 80 * US, 2 * 10**6, 1500),
        ),
        ("linear:decode=1ms, prefill=1ms", Clock(0, MS, MS)),
        ("linear:base=1ms,prefill_context=7fs", Clock(MS, prefill_context=7)),
        ("linear:first_256=2us,first_8=1ms", Clock(0, first=((8, MS), (256, 2 * US)))),
    ],
)
def test_valid_clock(text: str, clock: Clock | None) -> None:
    assert clock == parse_clock(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "clock is ''; must be steps, constant:20ms, linear:"),
        ("constant", "clock is 'constant'; must be steps, constant:20ms"),
        ("constant:20m", "clock.constant is '20m'; must be a duration, such as 20ms"),
        ("constant:0ms", "a step must take time"),
        ("constant:1e400s", "clock.constant is '1e400s'; must be at most 1,000,000 seconds"),
        ("linear:base=1ms,context=1000001", "clock.context is '1000001'; must be at most 1,000,000 seconds"),
        ("linear:base=1ms,speed=2ms", "clock has 'speed'; a linear clock knows base, prefill"),
        ("linear:base=1ms,first_0=2ms", "clock has 'first_0'; a linear clock knows .*, and first_N with a"),
        ("linear:base=1ms,base=2ms", "gives a cost twice"),
        ("linear:base", "clock has 'base'; must be a name, = and a duration"),
        ("linear:prefill=1ms", "a step must take time: base, or prefill and decode, over 0"),
        ("none.toml", r"clock is none.toml, which cannot be read: No such file"),
    ],
)
def test_invalid_clock(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_clock(text)


@pytest.mark.parametrize(
    ("content", "clock"),
    [
        ('[clock]\nconstant = "20ms"\n', Clock(20 * MS)),
        ("[clock]\nbase = 1\ndecode = 8e-05\n", Clock(1000 * MS, 0, 80 * US)),
        ('title = "mine"\n[clock]\nbase = "5ms"\ndecode = "80us"\n', Clock(5 * MS, 0, 80 * US)),
    ],
)
def test_clock_in_a_file(tmp_path: Path, content: str, clock: Clock) -> None:
    path = tmp_path / "clock.toml"
    path.write_text(content)

    assert clock == parse_clock(str(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("clock", "which is not TOML"),
        ("[other]", r"has no table \[clock\]"),
        ("a = " + "9" * 5000, "which is not TOML"),
        ("a = " + "[" * 3000, "whose tables or arrays nest too deeply"),
        ("[clock]\nbase = 0x1" + "0" * 9000, "it has an integer of more than 64 bits"),
        ("[clock]\nbase = -5", r"base is -5; must be a duration, such as 20ms"),
        ("[clock]\nbase = inf", r"base is inf; must be a duration, such as 20ms"),
        ("[clock]\nbase = true", r"base is True; must be a duration, such as 20ms"),
        ('[clock]\nconstant = "5ms"\nbase = "5ms"', "has constant beside base"),
    ],
)
def test_invalid_clock_in_a_file(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "clock.toml"
    path.write_text(content)

    with pytest.raises(ConfigError, match=message):
        parse_clock(str(path))
