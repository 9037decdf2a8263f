"""The tables of the page: percentiles, and the slowest requests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tracesim.analysis.percentiles import PERCENTILES
from tracesim.charts.chart_data import ChartData
from tracesim.charts.distribution import Distribution
from tracesim.charts.labels import format_amount, format_number, format_time, visible
from tracesim.charts.request_chart import Spans, time_in, time_of
from tracesim.charts.timeline import Timeline, Unit

MOST_ROWS: Final = 25


@dataclass(frozen=True, slots=True)
class Table:
    """A table of plain texts, which are not HTML yet. The first column names the row."""

    title: str
    note: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def tables(data: ChartData, spans: Spans) -> list[Table]:
    """Return every table that has rows."""
    settings = [
        (visible(name), "–" if value is None else visible(str(value), 200))
        for name, value in data.settings.items()
    ]
    made = [
        _percentiles(data, spans),
        _slowest(data.timeline, spans),
        Table("Settings", "", ("setting", "value"), settings),
    ]
    return [table for table in made if table.rows]


def _percentiles(data: ChartData, spans: Spans) -> Table:
    unit = data.timeline.unit
    phases = {
        f"time {phase.name.lower()}": [time_in(each, phase) for each in spans]
        for phase in data.timeline.phases
    }
    measures: dict[str, Mapping[float, int]] = {
        **data.latencies,
        **{name: Counter(value for value in values if value > 0) for name, values in phases.items()},
        "arrival to end": Counter(time_of(each) for each in spans if each),
    }
    rows = []
    for name, counts in measures.items():
        if counts:
            values = Distribution(counts)
            figures = [values.mean, *map(values.percentile, PERCENTILES), values.high]
            rows.append((name, f"{values.count:,}", *(format_amount(figure, unit) for figure in figures)))
    head = ("", "values", "mean", *(f"p{percent}" for percent in PERCENTILES), "most")
    note = "Time in a phase is the sum of a request's stays in it, of the requests that were in it."
    return Table("Percentiles", f"{_unit_note(unit)}{note}", head, rows)


def _slowest(timeline: Timeline, spans: Spans) -> Table:
    unit = timeline.unit
    requests = sorted(timeline.requests.values(), key=lambda each: -time_of(spans[each.index]))
    note = "Every request, the slowest first."
    if len(requests) > MOST_ROWS:
        note = f"The {MOST_ROWS} of {len(requests):,} that took longest from their arrival to their end."
    head = ("request", "arrival", "total", *(phase.name.lower() for phase in timeline.phases))
    head += ("prompt tokens", "output tokens", "preemptions", "finish")
    rows = []
    for request in requests[:MOST_ROWS]:
        stays = spans[request.index]
        times = [time_of(stays), *(time_in(stays, phase) for phase in timeline.phases)]
        row = (
            visible(request.id, 48),
            format_number(request.arrival) if unit == "steps" else format_time(request.arrival, unit),
            *(format_amount(time, unit) if time else "–" for time in times),
            f"{request.prompt_tokens:,}",
            f"{request.output_tokens:,}",
            f"{request.preemptions:,}",
            visible(request.finish_reason or "unfinished"),
        )
        rows.append(row)
    return Table("Slowest requests", f"{_unit_note(unit)}{note}", head, rows)


def _unit_note(unit: Unit) -> str:
    return "In steps. " if unit == "steps" else ""
