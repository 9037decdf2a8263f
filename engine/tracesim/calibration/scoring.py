"""How far predictions are from measurements, in the figures that people decide by."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from tracesim.analysis.percentiles import percentile
from tracesim.measured.measurements import MeasuredRequest

METRICS: Final = ("e2e", "ttft", "tpot")


class Latencies(NamedTuple):
    """The latencies of one request in seconds; `tpot` is None for a single token."""

    e2e: float
    ttft: float
    tpot: float | None


@dataclass(frozen=True, slots=True)
class Errors:
    """Relative errors of a prediction: 0.02 is 2 % too long.

    `mean`, `p50` and `p99` are those of the mean and the percentiles over `count` values. `each` is the mean
    over the values of the error of each, without its sign; for durations of steps it is the mean error
    relative to the mean duration, as the shortest steps matter least.
    """

    count: int
    mean: float
    p50: float
    p99: float
    each: float


def latencies_of(request: MeasuredRequest) -> Latencies:
    """Return the latencies of a request as vLLM's serving benchmark defines them."""
    gaps = request.output_tokens - 1
    return Latencies(
        request.last_token - request.arrival,
        request.first_token - request.arrival,
        (request.last_token - request.first_token) / gaps if gaps > 0 else None,
    )


def errors_of(predicted: Sequence[float], measured: Sequence[float], *, of_steps: bool = False) -> Errors:
    """Return the errors of predicted values, each of which stands beside the measured one; at least one."""
    count = len(measured)
    ordered = sorted(predicted), sorted(measured)
    p50, p99 = (
        percentile(ordered[0], count, percent) / percentile(ordered[1], count, percent) - 1
        for percent in (50, 99)
    )
    total = math.fsum(measured)
    if of_steps:
        each = math.fsum(abs(p - m) for p, m in zip(predicted, measured, strict=True)) / total
    else:
        each = math.fsum(abs(p / m - 1) for p, m in zip(predicted, measured, strict=True)) / count
    return Errors(count, math.fsum(predicted) / total - 1, p50, p99, each)


def latency_errors(predicted: Sequence[Latencies], measured: Sequence[Latencies]) -> Mapping[str, Errors]:
    """Return the errors of each latency that at least one request has and that is not 0."""
    found = {}
    for metric in METRICS:
        pairs = [
            (getattr(p, metric), getattr(m, metric))
            for p, m in zip(predicted, measured, strict=True)
            if getattr(m, metric) and getattr(p, metric) is not None
        ]
        if pairs:
            found[metric] = errors_of([p for p, _ in pairs], [m for _, m in pairs])
    return found
