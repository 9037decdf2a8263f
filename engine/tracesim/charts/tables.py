"""The tables of the page: percentiles, and the slowest requests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from tracesim.analysis.percentiles import PERCENTILES
from tracesim.charts.chart_data import ChartData
from tracesim.charts.distribution import Distribution
from tracesim.charts.labels import format_amount, format_number, format_time, visible
from tracesim.charts.page import Table
from tracesim.charts.timeline import Phase, Span, Timeline, Unit

MOST_ROWS: Final = 25

Times = list[float]
"""How long a request was in each phase, by the number of the phase, and then from its arrival to its end."""


def tables(data: ChartData, spans: Sequence[Sequence[Span]]) -> list[Table]:
    """Return every table that has rows."""
    times = [_times_of(each) for each in spans]
    settings = [
        (visible(name), "–" if value is None else visible(str(value), 200))
        for name, value in data.settings.items()
    ]
    made = [
        _percentiles(data, times),
        _slowest(data.timeline, times),
        Table("Settings", "", ("setting", "value"), settings),
    ]
    return [table for table in made if table.rows]


def _times_of(spans: Sequence[Span]) -> Times:
    times = [0.0] * (len(Phase) + 1)
    for _, phase, start, end in spans:
        times[phase] += end - start
        if phase is not Phase.DISCARDED:
            times[-1] = end - spans[0].start
    return times


def _percentiles(data: ChartData, times: Sequence[Times]) -> Table:
    timeline, unit = data.timeline, data.timeline.unit
    measures: dict[str, Mapping[float, int]] = {
        **data.latencies,
        **{
            f"time {phase.name.lower()}": Counter([each[phase] for each in times if each[phase]])
            for phase in timeline.phases
        },
        "arrival to end": Counter([each[-1] for each in times if each[-1]]),
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


def _slowest(timeline: Timeline, times: Sequence[Times]) -> Table:
    unit, phases = timeline.unit, timeline.phases
    requests = sorted(timeline.requests.values(), key=lambda each: -times[each.index][-1])
    note = "Every request, the slowest first."
    if len(requests) > MOST_ROWS:
        note = f"The {MOST_ROWS} of {len(requests):,} that took longest from their arrival to their end."
    head = ("request", "arrival", "total", *(phase.name.lower() for phase in phases))
    head += ("prompt tokens", "output tokens", "preemptions", "finish")
    rows = []
    for request in requests[:MOST_ROWS]:
        of_request = times[request.index]
        shown = [of_request[-1], *(of_request[phase] for phase in phases)]
        row = (
            visible(request.id, 48),
            format_number(request.arrival) if unit == "steps" else format_time(request.arrival, unit),
            *(format_amount(time, unit) if time else "–" for time in shown),
            f"{request.prompt_tokens:,}",
            f"{request.output_tokens:,}",
            f"{len(request.preemptions):,}",
            visible(request.finish_reason or "unfinished"),
        )
        rows.append(row)
    return Table("Slowest requests", f"{_unit_note(unit)}{note}", head, rows)


def _unit_note(unit: Unit) -> str:
    return "In steps. " if unit == "steps" else ""
