"""The cards that the page of a run leads with: latencies, SLO attainment and causes of queue time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tracesim.analysis.queueing import CAUSE_LABELS
from tracesim.charts.chart_data import ChartData
from tracesim.charts.distribution import Distribution
from tracesim.charts.labels import format_duration, format_latency
from tracesim.charts.page import Card, Share

_LATENCIES: Final = {
    "TTFT": "time to the first token",
    "TPOT": "time per output token after the first",
    "E2E": "time from arrival to the last token",
}


def cards_of(data: ChartData) -> list[Card]:
    """Return a card for each latency that has values, for the attainment of an SLO, and the queue time."""
    return [*_latencies(data), *_attainment(data), *_queue_time(data)]


def _latencies(data: ChartData) -> Iterator[Card]:
    unit = data.timeline.unit
    for name, meaning in _LATENCIES.items():
        if counts := data.latencies.get(name):
            values = Distribution(counts)
            median, *others = (format_latency(values.percentile(percent), unit) for percent in (50, 95, 99))
            yield Card(name, median, [("p95", others[0]), ("p99", others[1])], f"Median {meaning}.")


def _attainment(data: ChartData) -> Iterator[Card]:
    if not data.slo_limits:
        return
    limits = [f"{name.upper()} ≤ {format_duration(limit, 's')}" for name, limit in data.slo_limits.items()]
    missed = [
        (f"{name.upper()} missed", f"{count:,}")
        for name, count in sorted(data.slo_missed.items(), key=lambda each: -each[1])
        if count
    ]
    attainment = data.slo_attainment
    value = "–" if attainment is None else f"{attainment:.1%}"
    shares = [] if attainment is None else [Share("", "met", attainment), Share("", "missed", 1 - attainment)]
    yield Card("SLO attainment", value, missed, f"Requests with {' and '.join(limits)}.", shares)


def _queue_time(data: ChartData) -> Iterator[Card]:
    total = sum(data.queue_time_by_cause.values())
    requests = len(data.timeline.requests)
    if not requests:
        return
    if not total:
        yield Card("Queue time", format_latency(0, data.timeline.unit), note="No request waited.")
        return
    shares = [
        Share(_share(CAUSE_LABELS[cause], part / total), cause, part / total)
        for cause, part in data.queue_time_by_cause.items()
    ]
    mean = format_latency(total / requests, data.timeline.unit)
    yield Card("Queue time", mean, note="Mean per request, and what it was spent on.", shares=shares)


def _share(label: str, fraction: float) -> str:
    """Return a share as a label; one below 1 % has none."""
    return f"{100 * fraction:.0f} % {label}" if fraction >= 0.01 else ""
