"""Clocks: how long a step takes, calculated from its batch. Time is virtual: nothing sleeps.

Times are whole picoseconds, so that a stride takes exactly as long as its steps one by one.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from tracesim.errors import ConfigError
from tracesim.requests.batch import Batch

PER_SECOND: Final = 10**12

_UNITS: Final = {"ps": 1, "ns": 10**3, "us": 10**6, "µs": 10**6, "ms": 10**9, "s": PER_SECOND}
_DURATION: Final = re.compile(r"(?P<number>[0-9]*\.?[0-9]+(?:e-?[0-9]+)?)\s*(?P<unit>ps|ns|us|µs|ms|s)?")


@dataclass(frozen=True, slots=True)
class Clock:
    """A step takes `base`, and more per prefill token, decode request and context token; in picoseconds.

    Context tokens are those that decode requests have in the KV cache, all of which attention reads. In the
    next step of a stride each of these requests has one more.
    """

    base: int
    prefill: int = 0
    decode: int = 0
    context: int = 0

    def duration(self, batch: Batch) -> int:
        """Return how long a step with this batch takes."""
        prefill_tokens, num_decodes, context_tokens = batch
        fixed = self.base + self.prefill * prefill_tokens
        return fixed + self.decode * num_decodes + self.context * context_tokens

    def growth(self, batch: Batch) -> int:
        """Return how much longer each further step of a stride with this batch takes."""
        return self.context * batch.num_decodes

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

    Accepts `constant:20ms`, `linear:base=5ms,prefill=50us,decode=80us,context=1ns` with any of these costs,
    and a TOML file with the same names, or `constant`, in a table `[clock]`. Raises ConfigError, which calls
    the setting `name`.
    """
    kind, colon, rest = value.partition(":")
    if value == "steps":
        return None
    if kind == "constant" and colon:
        return _checked(Clock(parse_duration(f"{name}.constant", rest)), name, value)
    if kind == "linear" and colon:
        return _checked(_linear(name, _pairs(name, rest)), name, value)
    if value.endswith(".toml"):
        return _from_toml(name, Path(value))
    raise ConfigError(
        f"is {value!r}; must be steps, constant:20ms, "
        "linear:base=5ms,prefill=50us,decode=80us,context=1ns, or a .toml file",
        setting=name,
    )


def parse_duration(name: str, value: object) -> int:
    """Return a duration such as `20ms` in picoseconds; a number without a unit is seconds.

    Raises ConfigError, which calls the setting `name`.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    match = _DURATION.fullmatch(str(value).strip()) if is_number or isinstance(value, str) else None
    picoseconds = float(match["number"]) * _UNITS[match["unit"] or "s"] if match else math.inf
    if not math.isfinite(picoseconds):
        raise ConfigError(
            f"is {value!r}; must be a duration, such as 20ms (ps, ns, us, ms, s), or a number of seconds",
            setting=name,
        )
    return round(picoseconds)


def to_picoseconds(seconds: float) -> int:
    """Return seconds, as a trace has them, in whole picoseconds."""
    whole = int(seconds)  # apart, so that the fraction of a Unix time keeps all its digits
    return whole * PER_SECOND + round((seconds - whole) * PER_SECOND)


def _pairs(name: str, text: str) -> dict[str, str]:
    """Return the costs of a linear clock by name, as they are written."""
    pairs = [part.partition("=") for part in text.split(",")]
    for key, equals, _ in pairs:
        if not equals:
            raise ConfigError(
                f"has {key!r}; must be a name, = and a duration, such as decode=80us", setting=name
            )
    given = [key.strip() for key, _, _ in pairs]
    if len(set(given)) < len(given):
        raise ConfigError(f"gives a cost twice: {text!r}", setting=name)
    return {key.strip(): duration for key, _, duration in pairs}


def _linear(name: str, costs: Mapping[str, Any]) -> Clock:
    """Return the clock with these costs, those that are not given being 0."""
    known = [field.name for field in fields(Clock)]
    for cost in costs:
        if cost not in known:
            raise ConfigError(f"has {cost!r}; a linear clock knows {', '.join(known)}", setting=name)
    return Clock(
        **{"base": 0, **{cost: parse_duration(f"{name}.{cost}", value) for cost, value in costs.items()}}
    )


def _checked(clock: Clock, name: str, value: object) -> Clock:
    """Return the clock. Raises ConfigError if steps can take no time: no further request would arrive."""
    if clock.base <= 0 and (clock.prefill <= 0 or clock.decode <= 0):
        raise ConfigError(
            f"is {value!r}; a step must take time: base, or prefill and decode, over 0", setting=name
        )
    return clock


def _from_toml(name: str, path: Path) -> Clock:
    """Return the clock in the table `[clock]` of a file."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot be read from {path}: {error.strerror}", setting=name) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"is {path}, which is not TOML: {error}", setting=name) from error
    table = document.get("clock")
    if not isinstance(table, dict):
        raise ConfigError(f"is {path}, which has no table [clock]", setting=name)
    if "constant" in table:
        if len(table) > 1:
            others = ", ".join(sorted(set(table) - {"constant"}))
            raise ConfigError(f"is {path}, which has constant beside {others}", setting=name)
        table = {"base": table["constant"]}
    return _checked(_linear(f"{name}: {path}", table), name, str(path))
