"""Clocks: how long a step takes, calculated from its batch. Time is virtual: nothing sleeps.

Times are whole femtoseconds, so that a stride takes exactly as long as its steps one by one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from tracesim.errors import ConfigError, brief
from tracesim.limits import MAX_DURATION, written
from tracesim.requests.batch import Batch
from tracesim.toml_file import read_toml

PER_SECOND: Final = 10**15

_UNITS: Final = {
    "fs": 1,
    "ps": 10**3,
    "ns": 10**6,
    "us": 10**9,
    "µs": 10**9,
    "ms": 10**12,
    "s": PER_SECOND,
}
_DURATION: Final = re.compile(r"(?P<number>[0-9]*\.?[0-9]+(?:e-?[0-9]+)?)\s*(?P<unit>fs|ps|ns|us|µs|ms|s)?")
_FIRST: Final = re.compile(r"first_(?P<tokens>[1-9][0-9]{0,6})")


@dataclass(frozen=True, slots=True)
class Clock:
    """A step takes `base`, and more per prefill token, decode request and context token; in femtoseconds.

    Attention reads the tokens in the KV cache: `context` is the cost of one that a decode request has there,
    and `prefill_context` that of one that a prefill token has before it; see `Batch`. `first` has pairs of a
    number of tokens and a cost: that of each of the first so many tokens of a batch, whether prefill or
    decode. In a model with experts, say, each of the first tokens brings weights into use that none before it
    has used.
    """

    base: int
    prefill: int = 0
    decode: int = 0
    context: int = 0
    prefill_context: int = 0
    first: tuple[tuple[int, int], ...] = ()

    def duration(self, batch: Batch) -> int:
        """Return how long a step with this batch takes."""
        prefill_tokens, num_decodes, context_tokens, prefill_context_tokens = batch
        prefill = self.prefill * prefill_tokens + self.prefill_context * prefill_context_tokens
        duration = self.base + prefill + self.decode * num_decodes + self.context * context_tokens
        for tokens, cost in self.first:
            duration += cost * min(tokens, prefill_tokens + num_decodes)
        return duration

    def growth(self, batch: Batch) -> int:
        """Return how much longer each further step of a stride with this batch takes."""
        chunk = batch.prefill_tokens
        return self.context * batch.num_decodes + self.prefill_context * chunk * chunk

    def duration_of(self, batch: Batch, steps: int) -> int:
        """Return how long a stride of `steps` steps takes; `batch` is that of the first."""
        return sum_of_series(self.duration(batch), self.growth(batch), steps)

    def steps_before(self, time: int, batch: Batch, limit: int) -> int:
        """Return how many steps with this batch, up to the limit, start before `time` has passed."""
        first = self.duration(batch)
        growth = self.growth(batch)
        if time <= 0 or limit <= 0:
            return 0
        if not growth:
            return min(limit, -(-time // first)) if first else limit
        # n steps take n * first + growth * n * (n - 1) / 2: the smaller of the two whole n around the root.
        a, b = growth, 2 * first - growth
        steps = (math.isqrt(b * b + 8 * a * time) - b) // (2 * a)
        while steps < limit and sum_of_series(first, growth, steps) < time:
            steps += 1
        return min(limit, steps)


def sum_of_series(first: int, growth: int, steps: int) -> int:
    """Return how long `steps` steps take if each takes `growth` longer than the one before."""
    return steps * first + growth * (steps * (steps - 1) // 2)


def parse_clock(value: str, name: str = "clock") -> Clock | None:
    """Return the clock that `value` describes; None for `steps`.

    Accepts `constant:20ms`, `linear:base=5ms,prefill=50us,decode=80us,context=1ns,prefill_context=1ns` with
    any of these costs and `first_32=20us`, the cost of each of the first 32 tokens of a step, and a TOML file
    with a table `[clock]`, see `clock_of_table`. Raises ConfigError, which calls the setting `name`.
    """
    kind, colon, rest = value.partition(":")
    if value == "steps":
        return None
    if kind == "constant" and colon:
        return _checked(Clock(parse_duration(f"{name}.constant", rest)), name, value)
    if kind == "linear" and colon:
        return _checked(_linear(_pairs(name, rest), name, "."), name, value)
    if is_clock_file(value):
        return parse_clock(clock_in_file(value, name))
    raise ConfigError(
        f"is {brief(value)}; must be steps, constant:20ms, "
        "linear:base=5ms,prefill=50us,decode=80us,context=1ns, or a .toml file",
        setting=name,
    )


def is_clock_file(value: str) -> bool:
    """Return whether a value of the setting `clock` names a file."""
    return value.endswith(".toml")


def clock_in_file(path: str, name: str = "clock") -> str:
    """Return what the table `[clock]` of a TOML file describes, in the words of `parse_clock`.

    Raises ConfigError, which calls the setting `name`.
    """
    table = read_toml(Path(path), name).document.get("clock")
    if not isinstance(table, dict):
        raise ConfigError(f"is {path}, which has no table [clock]", setting=name)
    return clock_of_table(table, f"{name}: {path}: [clock]")


def clock_of_table(table: Mapping[str, Any], place: str) -> str:
    """Return what a table `[clock]` describes, in the words of `parse_clock`.

    The table has `constant`, or any of the costs of a `Clock` by their names: each a duration such as "20ms",
    or a number of seconds. Raises ConfigError, which calls the table `place`.
    """
    if "constant" not in table:
        _checked(_linear(table, place, " "), place, dict(table))
        return "linear:" + ",".join(f"{cost}={duration}" for cost, duration in table.items())
    if len(table) > 1:
        others = ", ".join(sorted(set(table) - {"constant"}))
        raise ConfigError(f"has constant beside {others}", setting=place)
    _checked(Clock(parse_duration(f"{place} constant", table["constant"])), place, dict(table))
    return f"constant:{table['constant']}"


def parse_duration(name: str, value: object) -> int:
    """Return a duration such as `20ms` in femtoseconds; a number without a unit is seconds.

    Raises ConfigError, which calls the setting `name`, for anything else and for over `MAX_DURATION` seconds.
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and value != math.inf:
        seconds = math.inf if value > MAX_DURATION else float(value)
        femtoseconds = seconds * PER_SECOND if seconds >= 0 else math.nan
    elif isinstance(value, str) and (match := _DURATION.fullmatch(value.strip())):
        femtoseconds = float(match["number"]) * _UNITS[match["unit"] or "s"]
    else:
        femtoseconds = math.nan
    if femtoseconds > MAX_DURATION * PER_SECOND:
        raise ConfigError(f"is {brief(value)}; must be at most {written(MAX_DURATION)} seconds", setting=name)
    if math.isnan(femtoseconds):
        raise ConfigError(
            f"is {brief(value)}; must be a duration, such as 20ms (fs, ps, ns, us, ms, s), or seconds",
            setting=name,
        )
    return round(femtoseconds)


def written_duration(femtoseconds: int, digits: int = 5) -> str:
    """Return a duration as `parse_duration` reads it, such as "12.616ms", rounded to so many digits."""
    if not femtoseconds:
        return "0s"
    value = float(f"{femtoseconds:.{digits - 1}e}")
    unit = max((unit for unit in _UNITS if _UNITS[unit] <= value and unit != "µs"), key=_UNITS.__getitem__)
    return f"{value / _UNITS[unit]:.{digits}g}".rstrip(".") + unit


def to_femtoseconds(seconds: float) -> int:
    """Return seconds, as a trace has them, in femtoseconds.

    They are rounded to picoseconds: as many digits as a number of some thousand seconds has, so that 1234.3
    is what is written and no step that starts then is missed.
    """
    whole = int(seconds)  # apart, so that the fraction of a Unix time keeps all its digits
    return whole * PER_SECOND + round((seconds - whole) * 10**12) * _UNITS["ps"]


def _pairs(name: str, text: str) -> dict[str, str]:
    """Return the costs of a linear clock by name, as they are written."""
    pairs = [part.partition("=") for part in text.split(",")]
    for key, equals, _ in pairs:
        if not equals:
            raise ConfigError(
                f"has {brief(key)}; must be a name, = and a duration, such as decode=80us", setting=name
            )
    given = [key.strip() for key, _, _ in pairs]
    if len(set(given)) < len(given):
        raise ConfigError(f"gives a cost twice: {brief(text)}", setting=name)
    return {key.strip(): duration for key, _, duration in pairs}


def _linear(costs: Mapping[str, Any], place: str, separator: str) -> Clock:
    """Return the clock with these costs, those that are not given being 0; errors call them as in `place`."""
    known = [field.name for field in fields(Clock) if field.name != "first"]
    given: dict[str, int] = {"base": 0}
    first: list[tuple[int, int]] = []
    for cost, value in costs.items():
        match = _FIRST.fullmatch(cost)
        if cost not in known and not match:
            accepted = f"{', '.join(known)}, and first_N with a number of tokens for N"
            raise ConfigError(f"has {brief(cost)}; a linear clock knows {accepted}", setting=place)
        duration = parse_duration(f"{place}{separator}{cost}", value)
        if match:
            first.append((int(match["tokens"]), duration))
        else:
            given[cost] = duration
    return Clock(**given, first=tuple(sorted(first)))


def _checked(clock: Clock, name: str, value: object) -> Clock:
    """Return the clock. Raises ConfigError if steps can take no time: no further request would arrive."""
    has_first = any(cost > 0 for _, cost in clock.first)
    if clock.base <= 0 and (clock.prefill <= 0 or clock.decode <= 0) and not has_first:
        raise ConfigError(
            f"is {brief(value)}; a step must take time: base, or prefill and decode, over 0", setting=name
        )
    return clock
