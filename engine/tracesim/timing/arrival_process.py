"""When requests arrive: as recorded, all at once, at a rate, or each when another one has finished."""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from tracesim.errors import ConfigError, RequestError, brief
from tracesim.limits import MAX_FACTOR, MAX_SECONDS, MAX_STEP, written
from tracesim.timing.clock import to_femtoseconds
from tracesim.trace.record import TraceRecord

_MAX_DIGITS: Final = 9


@dataclass(frozen=True, slots=True)
class ArrivalProcess:
    """How requests arrive, by `kind`; `speedup` times faster than that, with random numbers from `seed`.

    - `trace`: at the `arrival_time` of each record, or, without a clock, at its `arrival_step`.
    - `asap`: all before the first step.
    - `poisson`, `constant`: at `rate` requests per second, or per step without a clock, with exponentially
      distributed gaps or equal ones.
    - `closed`: sent by `users` users, each of whom sends the next request when the last one has finished.
    """

    kind: str = "trace"
    rate: float = 0.0
    users: int = 0
    speedup: float = 1.0
    seed: int = 0


def parse_arrivals(value: str, speedup: float = 1.0, seed: int = 0) -> ArrivalProcess:
    """Return the process for `trace`, `asap`, `poisson:RATE`, `constant:RATE` or `closed:USERS`.

    Raises ConfigError.
    """
    kind, _, amount = value.partition(":")
    common: dict[str, Any] = {"speedup": speedup, "seed": seed}
    if value in ("trace", "asap"):
        return ArrivalProcess(kind, **common)
    if kind in ("poisson", "constant"):
        with suppress(ValueError):
            rate = float(amount)
            if 0 < rate <= MAX_FACTOR:
                return ArrivalProcess(kind, rate=rate, **common)
    if kind == "closed" and amount.isdecimal() and len(amount) <= _MAX_DIGITS and int(amount):
        return ArrivalProcess(kind, users=int(amount), **common)
    raise ConfigError(
        f"is {brief(value)}; must be trace, asap, poisson:RATE, constant:RATE or closed:USERS, over 0 "
        f"and at most {written(MAX_FACTOR)}",
        setting="arrivals",
    )


class ArrivalTimes:
    """The arrivals of records, one after another: in femtoseconds in a run with a clock, else in steps.

    `of` gives the arrival of the next record, and `advance` moves on to the one after it. So a record that
    is refused, for which `advance` is not called, leaves no gap.
    """

    def __init__(self, process: ArrivalProcess, *, has_clock: bool) -> None:
        self._process = process
        self._has_clock = has_clock
        self._random = random.Random(process.seed)
        self._next = 0.0

    def of(self, record: TraceRecord) -> int:
        """Return when the next record arrives.

        With a clock `arrival_step` is ignored, as `arrival_time` is without one. Raises RequestError if the
        arrival is too late to count with.
        """
        arrival = self._next
        if self._process.kind == "trace":
            arrival = record.arrival_time or 0.0 if self._has_clock else record.arrival_step
        if self._process.speedup != 1:
            arrival /= self._process.speedup
        most, unit = (MAX_SECONDS, "seconds") if self._has_clock else (MAX_STEP, "steps")
        if not arrival <= most:
            raise RequestError(f"arrives after {arrival:g} {unit}; must be at most {written(most)}")
        return to_femtoseconds(arrival) if self._has_clock else int(arrival)

    def advance(self) -> None:
        """Move on to the record after the one that was added."""
        process = self._process
        if process.kind == "constant":
            self._next += 1 / process.rate
        elif process.kind == "poisson":
            self._next += self._random.expovariate(process.rate)
