"""When requests arrive: as recorded, all at once, at a rate, or each when another one has finished."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final

from tracesim.config import SessionMode
from tracesim.errors import ConfigError, RequestError, brief
from tracesim.limits import MAX_FACTOR, MAX_SECONDS, MAX_STEP, written
from tracesim.timing.clock import PER_SECOND, to_femtoseconds
from tracesim.trace.record import TraceRecord

_MAX_DIGITS: Final = 9
_MAX_CV: Final = 1_000


@dataclass(frozen=True, slots=True)
class ArrivalProcess:
    """How requests arrive, by `kind`; `speedup` times faster than that, with random numbers from `seed`.

    - `trace`: at the `arrival_time` of each record, or, without a clock, at its `arrival_step`.
    - `asap`: all before the first step.
    - `poisson`, `constant`: at `rate` requests per second, or per step without a clock, with exponentially
      distributed gaps or equal ones.
    - `gamma`: at `rate`, with gaps of a gamma distribution whose coefficient of variation is `cv`: more even
      than `poisson` below 1, in bursts above. The arrivals are scaled so that the last of n is at n / rate.
    - `trace-rate`: at random, at `rate` times the rate that the trace has at each time. Where requests are
      left at its end, its times are repeated.
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
    cv: float = 1.0

    @property
    def is_random(self) -> bool:
        """Whether arrivals depend on `seed`."""
        return self.kind in ("poisson", "gamma", "trace-rate")

    @property
    def has_rate(self) -> bool:
        """Whether arrivals follow from `rate`, whatever the trace has."""
        return self.kind in ("poisson", "constant", "gamma", "trace-rate")

    @property
    def needs_all(self) -> bool:
        """Whether an arrival is known only when all requests are."""
        return self.kind in ("gamma", "trace-rate")


def parse_arrivals(
    value: str, speedup: float = 1.0, seed: int = 0, sessions: SessionMode = "follow"
) -> ArrivalProcess:
    """Return the process for `trace`, `asap`, `poisson:RATE` and the like; see `ArrivalProcess`.

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
    if kind in ("poisson", "constant", "trace-rate") and (rate := _factor(amount)):
        return ArrivalProcess(kind, rate=rate, **common)
    if kind == "gamma":
        rate, cv = (_factor(part) for part in (*amount.split(":"), "")[:2])
        if rate and cv and 1 / _MAX_CV <= cv <= _MAX_CV and amount.count(":") == 1:
            return ArrivalProcess(kind, rate=rate, cv=cv, **common)
    if kind == "closed" and amount.isdecimal() and len(amount) <= _MAX_DIGITS and int(amount):
        return ArrivalProcess(kind, users=int(amount), **common)
    raise ConfigError(
        f"is {brief(value)}; must be trace, asap, poisson:RATE, constant:RATE, gamma:RATE:CV, "
        f"trace-rate:FACTOR or closed:USERS, over 0 and at most {written(MAX_FACTOR)}; "
        f"CV from {1 / _MAX_CV:g} to {_MAX_CV:,}",
        setting="arrivals",
    )


def _factor(text: str) -> float | None:
    """Return the number over 0 and at most `MAX_FACTOR` that a text is; None for anything else."""
    with suppress(ValueError):
        number = float(text)
        if 0 < number <= MAX_FACTOR:
            return number
    return None


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
        self._most = MAX_SECONDS if has_clock else MAX_STEP

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

    def all_of(self, recorded: Sequence[int]) -> list[int]:
        """Return the arrivals of all records, for a process that needs all; `recorded` are the trace's.

        Raises ConfigError if the trace has no times whose rate could be followed, and RequestError if an
        arrival is too late to count with.
        """
        if self._process.kind == "gamma":
            return [self._in_units(time) for time in self._gamma_times(len(recorded))]
        arrivals = self._times_at_rate_of(sorted(recorded))
        last = arrivals[-1] / PER_SECOND if self._has_clock else arrivals[-1]
        if last > self._most:
            raise self._too_late(last)
        return arrivals

    def _gamma_times(self, count: int) -> Sequence[float]:
        """Return arrivals as `vllm bench serve` draws them: its burstiness is 1 / cv ** 2.

        The gaps have a gamma distribution of this shape and of the mean 1 / rate, the first one before the
        first request. Then all are scaled so that the last arrival is at count / rate.
        """
        rate, shape = self._process.rate, self._process.cv**-2
        gaps = [self._random.gammavariate(shape, 1 / (rate * shape)) for _ in range(count)]
        times = list(accumulate(gaps))
        scale = count / rate / times[-1] if times and times[-1] else 1.0
        return [time * scale for time in times]

    def _times_at_rate_of(self, recorded: Sequence[int]) -> list[int]:
        """Return arrivals at random, at times whose rate is that of sorted recorded ones times the factor.

        Between two recorded arrivals the rate is one request in that time. After the last one comes a mean
        gap, and then the same times again.
        """
        first, last = recorded[0], recorded[-1]
        if first == last:
            problem = "is trace-rate, but the trace has no arrival times that differ; give another value"
            raise ConfigError(problem, setting="arrivals")
        count = len(recorded)
        points = [*recorded, last + (last - first) // (count - 1)]
        arrivals, position = [], 0.0
        for _ in recorded:
            position += self._random.expovariate(1.0) / self._process.rate
            rounds, place = divmod(position, count)
            index = min(int(place), count - 1)
            gap = points[index + 1] - points[index]
            start = int(rounds) * (points[-1] - first) + points[index] - first
            arrivals.append(start + int(gap * (place - index)))
        return arrivals

    def _in_units(self, arrival: float) -> int:
        """Return an arrival in seconds or steps, made earlier by `speedup`, in the unit of the run."""
        if self._process.speedup != 1:
            arrival /= self._process.speedup
        if not arrival <= self._most:
            raise self._too_late(arrival)
        return to_femtoseconds(arrival) if self._has_clock else int(arrival)

    def _too_late(self, arrival: float) -> RequestError:
        """Return the error of an arrival in seconds or steps that is too late to count with."""
        unit = "seconds" if self._has_clock else "steps"
        return RequestError(f"arrives after {arrival:g} {unit}; must be at most {written(self._most)}")

    def advance(self) -> None:
        """Move on to the record after the one that was added."""
        process = self._process
        if process.kind == "constant":
            self._next += 1 / process.rate
        elif process.kind == "poisson":
            self._next += self._random.expovariate(process.rate)
