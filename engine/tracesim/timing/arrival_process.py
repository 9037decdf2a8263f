"""When requests arrive: as recorded, all at once, at a rate, or each when another one has finished."""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from tracesim.config import SessionMode
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
    - `closed`: sent by `users` users, each of whom sends the next one when the last one has finished.

    This holds for requests that wait for no other: the first turn of each session, and requests without a
    session. `sessions` says when the other turns arrive: to `follow` is to arrive `delay` after the turn
    before has finished, `recorded` is at the times of the trace, where it has them, and `ignore` treats each
    turn as a request of its own.
    """

    kind: str = "trace"
    rate: float = 0.0
    users: int = 0
    speedup: float = 1.0
    seed: int = 0
    sessions: SessionMode = "follow"


def parse_arrivals(
    value: str, speedup: float = 1.0, seed: int = 0, sessions: SessionMode = "follow"
) -> ArrivalProcess:
    """Return the process for `trace`, `asap`, `poisson:RATE`, `constant:RATE` or `closed:USERS`.

    Raises ConfigError.
    """
    kind, _, amount = value.partition(":")
    common: dict[str, Any] = {"speedup": speedup, "seed": seed, "sessions": sessions}
    if sessions == "recorded" and value != "trace":
        raise ConfigError(
            f"is recorded, but arrivals is {brief(value)}, which replaces the times of the trace; give "
            "arrivals trace, or another value of sessions",
            setting="sessions",
        )
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
    """The arrivals of records that wait for no other, one after another: in the clock's units, else in steps.

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
        return self._in_units(arrival)

    def recorded(self, record: TraceRecord) -> int | None:
        """Return the arrival that the trace has for a record; None if it has none in the unit of the run."""
        arrival = record.arrival_time if self._has_clock else record.arrival_step or None
        return None if arrival is None else self._in_units(arrival)

    def delay(self, record: TraceRecord) -> int:
        """Return the `delay` of a record: seconds in the clock's units or, without a clock, steps.

        `speedup` does not change it: it is the time that a user or a tool takes.
        """
        delay = record.delay or 0.0
        return to_femtoseconds(delay) if self._has_clock else int(delay)

    def _in_units(self, arrival: float) -> int:
        """Return an arrival in seconds or steps, made earlier by `speedup`, in the unit of the run."""
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
