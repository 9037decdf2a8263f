"""How well an engine kept pace: latencies, throughput, goodput, as vLLM's serving benchmark defines them.

TTFT: from a request's arrival to its first token. TPOT: from there to the last token, for each token after
the first. ITL: between two tokens of a request, over all of them. E2E: from arrival to the last token. Queue
time: from arrival to the first step that computes any of the prompt. Percentiles are interpolated between
the two nearest ranks, as NumPy does unless told otherwise.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import accumulate
from typing import Final

from tracesim.clock import PER_SECOND, parse_duration
from tracesim.errors import ConfigError
from tracesim.timing import RequestTimes, Timekeeper

PERCENTILES: Final = (50, 90, 99)


@dataclass(frozen=True, slots=True)
class Latency:
    """A distribution in seconds: its mean and percentiles."""

    mean: float
    p50: float
    p90: float
    p99: float


@dataclass(frozen=True, slots=True)
class RequestLatency:
    """One request in seconds; None where it emitted too little: no token, or for `tpot` no second one."""

    arrival_time: float | None = None
    queue_time: float | None = None
    ttft: float | None = None
    tpot: float | None = None
    e2e: float | None = None


NO_LATENCY: Final = RequestLatency()
"""Of a request that has not arrived."""


@dataclass(frozen=True, slots=True)
class Slo:
    """What a request must keep to be good, in seconds; None: anything will do."""

    ttft: float | None = None
    tpot: float | None = None
    e2e: float | None = None

    def is_met_by(self, latency: RequestLatency) -> bool:
        """Whether a request kept every limit; one that emitted nothing kept none."""
        for field in fields(self):
            limit, found = getattr(self, field.name), getattr(latency, field.name)
            if limit is not None and found is not None and found > limit:
                return False
        return latency.e2e is not None


@dataclass(frozen=True, slots=True)
class Metrics:
    """A run under a clock, in seconds. Throughputs are per second of `duration`, up to the last step's end.

    `mean_batch` is the mean number of requests in a batch over that time. `goodput` is requests a second that
    kept the `Slo`; None without one.
    """

    duration: float
    request_throughput: float
    output_token_throughput: float
    total_token_throughput: float
    mean_batch: float
    ttft: Latency | None
    tpot: Latency | None
    itl: Latency | None
    e2e: Latency | None
    queue_time: Latency | None
    goodput: float | None = None


def parse_slo(value: str) -> Slo:
    """The limits that `ttft=500ms,tpot=50ms` stands for. Raises ConfigError."""
    limits: dict[str, float] = {}
    known = [field.name for field in fields(Slo)]
    for part in value.split(","):
        name, equals, duration = part.strip().partition("=")
        if name not in known or not equals or name in limits:
            raise ConfigError(
                f"slo is {value!r}; must be limits of {', '.join(known)}, such as ttft=500ms,tpot=50ms"
            )
        limits[name] = parse_duration(f"slo.{name}", duration) / PER_SECOND
    return Slo(**limits)


def latency_of(times: RequestTimes, output_tokens: int) -> RequestLatency:
    """One request's latencies."""
    arrived, first, last = times.arrived, times.first_token, times.last_token
    gaps = output_tokens - 1
    between = None if first is None or last is None or gaps < 1 else (last - first) / gaps

    def since_arrival(time: int | None) -> float | None:
        return None if time is None else (time - arrived) / PER_SECOND

    return RequestLatency(
        arrival_time=arrived / PER_SECOND,
        queue_time=since_arrival(times.scheduled),
        ttft=since_arrival(first),
        tpot=None if between is None else between / PER_SECOND,
        e2e=since_arrival(last),
    )


def measure(
    timekeeper: Timekeeper,
    latencies: Sequence[RequestLatency],
    *,
    prompt_tokens: int,
    output_tokens: int,
    slo: Slo | None = None,
) -> Metrics:
    """The figures of a run: the latencies of all that finished in it, and the tokens it took in and gave."""
    duration = timekeeper.now / PER_SECOND

    def a_second(count: float) -> float:
        return count / duration if duration else 0.0

    return Metrics(
        duration=duration,
        request_throughput=a_second(len(latencies)),
        output_token_throughput=a_second(output_tokens),
        total_token_throughput=a_second(prompt_tokens + output_tokens),
        mean_batch=a_second(timekeeper.busy / PER_SECOND),
        ttft=distribution(each.ttft for each in latencies),
        tpot=distribution(each.tpot for each in latencies),
        itl=_weighted({gap / PER_SECOND: count for gap, count in timekeeper.gaps.items()}),
        e2e=distribution(each.e2e for each in latencies),
        queue_time=distribution(each.queue_time for each in latencies),
        goodput=None if slo is None else a_second(sum(map(slo.is_met_by, latencies))),
    )


def distribution(values: Iterable[float | None]) -> Latency | None:
    """Mean and percentiles of the values that there are; None where there is none."""
    known = sorted(value for value in values if value is not None)
    if not known:
        return None
    return _latency(math.fsum(known) / len(known), lambda rank: known[rank], len(known))


def _weighted(counts: Mapping[float, int]) -> Latency | None:
    """The same of values that come many times."""
    if not counts:
        return None
    values = sorted(counts)
    ends = list(accumulate(counts[value] for value in values))
    mean = math.fsum(value * counts[value] for value in values) / ends[-1]
    return _latency(mean, lambda rank: values[bisect_right(ends, rank)], ends[-1])


def _latency(mean: float, value_at: Callable[[int], float], count: int) -> Latency:
    """`value_at` gives the value of each of `count` ranks, from 0."""
    percentiles = []
    for percent in PERCENTILES:
        place = (count - 1) * percent / 100
        below = math.floor(place)
        low, high = value_at(below), value_at(min(below + 1, count - 1))
        percentiles.append(low + (high - low) * (place - below))
    return Latency(mean, *percentiles)
