"""Latencies, throughput and goodput of a run, as vLLM's serving benchmark defines them.

TTFT is the time from the arrival of a request to its first token. TPOT is the time from there to the last
token, divided by the number of tokens after the first. ITL is the time between two tokens of a request,
over all tokens of all requests. E2E is the time from arrival to the last token. Queue time is the time from
arrival to the first step that computes any of the prompt. Percentiles are interpolated between the two
nearest ranks, as NumPy does by default.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Final

from tracesim.analysis.percentiles import PERCENTILES, Ordered, percentile
from tracesim.errors import ConfigError
from tracesim.timing.clock import PER_SECOND, parse_duration
from tracesim.timing.timekeeper import RequestTimes, Timekeeper
from tracesim.timing.token_gaps import sum_of_gaps


@dataclass(frozen=True, slots=True)
class Latency:
    """The mean and percentiles of a latency, in seconds."""

    mean: float
    p50: float
    p90: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True)
class RequestLatency:
    """The latencies of one request in seconds; None if it emitted no token, or for `tpot` no second one."""

    arrival_time: float | None = None
    queue_time: float | None = None
    ttft: float | None = None
    tpot: float | None = None
    e2e: float | None = None


NO_LATENCY: Final = RequestLatency()
"""Of a request that has not arrived."""


@dataclass(frozen=True, slots=True)
class Slo:
    """A service level objective: limits for each request in seconds; None means no limit."""

    ttft: float | None = None
    tpot: float | None = None
    e2e: float | None = None

    def is_met_by(self, latency: RequestLatency) -> bool:
        """Return whether a request kept every limit; a request that emitted nothing kept none."""
        return latency.e2e is not None and not self.missed_by(latency)

    def missed_by(self, latency: RequestLatency) -> list[str]:
        """Return the names of the limits that a request did not keep.

        A request that emitted nothing missed all of them. One that emitted a single token has no TPOT, and so
        keeps a limit of it.
        """
        missed = []
        for name, limit in self.limits().items():
            found = getattr(latency, name)
            if latency.e2e is None or (found is not None and found > limit):
                missed.append(name)
        return missed

    def count_missed(self, latencies: Sequence[RequestLatency]) -> dict[str, int]:
        """Return the number of requests that missed a limit, for each limit that there is."""
        missed = Counter(name for latency in latencies for name in self.missed_by(latency))
        return {name: missed[name] for name in self.limits()}

    def limits(self) -> dict[str, float]:
        """Return the limits that there are, in seconds, each by its name."""
        limits = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: limit for name, limit in limits.items() if limit is not None}


@dataclass(frozen=True, slots=True)
class Metrics:
    """A run under a clock, in seconds. Throughputs are per second of `duration`, up to the last step's end.

    `mean_batch` is the mean number of requests in a batch over that time. `goodput` is requests a second that
    kept the `Slo`, `slo_attainment` their fraction of the requests that finished (None if none did), and
    `slo_missed` the number of requests that missed a limit, for each limit. They are None without an `Slo`.
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
    slo_attainment: float | None = None
    slo_missed: Mapping[str, int] | None = None


def parse_slo(value: str) -> Slo:
    """Return the limits in a text such as `ttft=500ms,tpot=50ms`. Raises ConfigError."""
    limits: dict[str, float] = {}
    known = [field.name for field in fields(Slo)]
    for part in value.split(","):
        name, equals, duration = part.strip().partition("=")
        if name in limits:
            raise ConfigError(f"is {value!r}; gives a limit of {name} twice", setting="slo")
        if name not in known or not equals:
            raise ConfigError(
                f"is {value!r}; must be limits of {', '.join(known)}, such as ttft=500ms,tpot=50ms",
                setting="slo",
            )
        limits[name] = parse_duration(f"slo.{name}", duration) / PER_SECOND
    return Slo(**limits)


def latency_of(times: RequestTimes, output_tokens: int) -> RequestLatency:
    """Return the latencies of one request."""
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
    timekeepers: Sequence[Timekeeper],
    requests: Sequence[tuple[RequestTimes, int]],
    duration: int,
    *,
    prompt_tokens: int,
    output_tokens: int,
    slo: Slo | None = None,
) -> Metrics:
    """Return the metrics of a run from the requests that finished, each with its output tokens.

    `timekeepers` are those of its engines.
    `duration` is in femtoseconds; `prompt_tokens` and `output_tokens` count the tokens of all requests.
    """
    seconds = duration / PER_SECOND

    def a_second(count: float) -> float:
        return count / seconds if seconds else 0.0

    ttft: list[float] = []
    tpot: list[float] = []
    e2e: list[float] = []
    queue_time: list[float] = []
    for times, tokens in requests:
        arrived, first, last = times.arrived, times.first_token, times.last_token
        if times.scheduled is not None:
            queue_time.append(times.scheduled - arrived)
        if first is not None and last is not None:
            ttft.append(first - arrived)
            e2e.append(last - arrived)
            if tokens > 1:
                tpot.append((last - first) / (tokens - 1))
    latencies = [] if slo is None else [latency_of(*each) for each in requests]
    met = None if slo is None else sum(map(slo.is_met_by, latencies))
    all_gaps = sum_of_gaps([each.gaps for each in timekeepers])
    gaps = all_gaps.ordered()
    num_gaps = len(gaps)
    return Metrics(
        duration=seconds,
        request_throughput=a_second(len(requests)),
        output_token_throughput=a_second(output_tokens),
        total_token_throughput=a_second(prompt_tokens + output_tokens),
        mean_batch=a_second(sum(each.busy for each in timekeepers) / PER_SECOND),
        ttft=_latency(ttft),
        tpot=_latency(tpot),
        itl=_distribution(all_gaps.total() / num_gaps, gaps, num_gaps) if num_gaps else None,
        e2e=_latency(e2e),
        queue_time=_latency(queue_time),
        goodput=None if met is None else a_second(met),
        slo_attainment=None if met is None or not requests else met / len(requests),
        slo_missed=None if slo is None else slo.count_missed(latencies),
    )


def _latency(femtoseconds: Sequence[float]) -> Latency | None:
    """Return the mean and percentiles of values in femtoseconds; None if there are none."""
    if not femtoseconds:
        return None
    return _distribution(math.fsum(femtoseconds) / len(femtoseconds), sorted(femtoseconds), len(femtoseconds))


def _distribution(mean: float, ordered: Ordered, count: int) -> Latency:
    """Return the mean and percentiles of `count` ordered values in femtoseconds, in seconds."""
    percentiles = [percentile(ordered, count, percent) / PER_SECOND for percent in PERCENTILES]
    return Latency(mean / PER_SECOND, *percentiles)
