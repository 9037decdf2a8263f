"""When requests arrive: as the trace says, at once, at a rate, or each when another is done."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Any, Final

from tracesim.errors import ConfigError, RequestError
from tracesim.timing.clock import to_picoseconds
from tracesim.trace.record import TraceRecord

_MOST_DIGITS: Final = 9
_NEVER: Final = 2**63
"""Later than any run gets, in seconds and in steps."""


@dataclass(frozen=True, slots=True)
class ArrivalProcess:
    """How requests come to arrive; random ones by `seed`, all of them `speedup` times faster.

    `trace`: when the trace says. `asap`: all before the first step. `poisson` and `constant`: `rate` requests
    a second, with exponential gaps or with even ones; a step, where there is no clock. `closed`: `users`
    users, each of whom sends its next request when its last is done.
    """

    kind: str = "trace"
    rate: float = 0.0
    users: int = 0
    speedup: float = 1.0
    seed: int = 0


def parse_arrivals(value: str, speedup: float = 1.0, seed: int = 0) -> ArrivalProcess:
    """What `trace`, `asap`, `poisson:RATE`, `constant:RATE`, `closed:USERS` mean. Raises ConfigError."""
    kind, _, amount = value.partition(":")
    more: dict[str, Any] = {"speedup": speedup, "seed": seed}
    if value in ("trace", "asap"):
        return ArrivalProcess(kind, **more)
    if kind in ("poisson", "constant") and (rate := _positive(amount)):
        return ArrivalProcess(kind, rate=rate, **more)
    if kind == "closed" and amount.isdecimal() and len(amount) <= _MOST_DIGITS and int(amount):
        return ArrivalProcess(kind, users=int(amount), **more)
    raise ConfigError(
        f"is {value!r}; must be trace, asap, poisson:RATE, constant:RATE or closed:USERS, over 0",
        setting="arrivals",
    )


def _positive(text: str) -> float:
    """The number that `text` is; 0 where it is none, or not over 0."""
    try:
        number = float(text)
    except ValueError:
        return 0.0
    return number if 0 < number < math.inf else 0.0


class ArrivalTimes:
    """The arrival of one record after another: in picoseconds where the run is `timed`, else in steps.

    `of` tells it, and `advance` goes on to the next: a record that is refused leaves no gap.
    """

    def __init__(self, process: ArrivalProcess, *, timed: bool) -> None:
        self._process = process
        self._timed = timed
        self._random = random.Random(process.seed)
        self._next = 0.0

    def of(self, record: TraceRecord) -> int:
        """When the next record arrives. Raises RequestError for one whose own arrival means nothing here."""
        arrival = self._recorded(record) if self._process.kind == "trace" else self._next
        if self._process.speedup != 1:
            arrival /= self._process.speedup
        if not arrival < _NEVER:
            raise RequestError(f"arrives after {arrival:g} seconds or steps; must be before {_NEVER:g}")
        return to_picoseconds(arrival) if self._timed else int(arrival)

    def advance(self) -> None:
        """The record was added: the one after it comes later."""
        process = self._process
        if process.kind == "constant":
            self._next += 1 / process.rate
        elif process.kind == "poisson":
            self._next += self._random.expovariate(process.rate)

    def _recorded(self, record: TraceRecord) -> float:
        """The record's own arrival; of a step, an integer however large."""
        if not self._timed:
            return record.arrival_step
        if record.arrival_step:
            raise RequestError(
                f"arrival_step is {record.arrival_step}, and this run has a clock: give arrival_time, in "
                "seconds, or let requests arrive another way (asap, poisson, constant, closed)"
            )
        return record.arrival_time or 0.0
