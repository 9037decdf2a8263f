"""The tables of the page: percentiles, and the slowest requests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tracesim.analysis.percentiles import PERCENTILES
from tracesim.charts.chart_data import ChartData
from tracesim.charts.distribution import Distribution
from tracesim.charts.labels import format_amount, format_number, format_time, visible
from tracesim.charts.request_chart import Spans, time_in, time_of
from tracesim.charts.timeline import Phase, Timeline, TimelineRequest

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
    timeline = data.timeline
    made = [
        Table("Percentiles", _percentile_note(timeline), _PERCENTILE_HEAD, list(_percentiles(data, spans))),
        _slowest(timeline, spans),
        Table("Settings", "", ("setting", "value"), list(_settings(data.settings))),
    ]
    return [table for table in made if table.rows]


_PERCENTILE_HEAD: Final = ("", "values", "mean", *(f"p{percent}" for percent in PERCENTILES), "most")


def _percentile_note(timeline: Timeline) -> str:
    note = "Time in a phase is the sum of a request's stays in it, of the requests that were in it."
    return f"{_counted(timeline)}{note}"


def _counted(timeline: Timeline) -> str:
    return "In steps. " if timeline.unit == "steps" else ""


def _percentiles(data: ChartData, spans: Spans) -> Iterator[Sequence[str]]:
    phases = {f"time {phase.name.lower()}": [time_in(each, phase) for each in spans] for phase in Phase}
    measures: dict[str, Mapping[float, int]] = {
        **data.latencies,
        **{name: Counter(value for value in values if value > 0) for name, values in phases.items()},
        "arrival to end": Counter(time_of(each) for each in spans if each),
    }
    for name, counts in measures.items():
        if counts:
            values = Distribution(counts)
            figures = [values.mean, *map(values.percentile, PERCENTILES), values.high]
            yield (
                name,
                f"{values.count:,}",
                *(format_amount(figure, data.timeline.unit) for figure in figures),
            )


def _slowest(timeline: Timeline, spans: Spans) -> Table:
    requests = sorted(timeline.requests.values(), key=lambda each: -time_of(spans[each.index]))
    note = "Every request, the slowest first."
    if len(requests) > MOST_ROWS:
        note = f"The {MOST_ROWS} of {len(requests):,} that took longest from their arrival to their end."
    note = f"{_counted(timeline)}{note}"
    head = ("request", "arrival", "total", *(phase.name.lower() for phase in Phase))
    head += ("prompt tokens", "output tokens", "preemptions", "finish")
    rows = [_row(request, spans, timeline) for request in requests[:MOST_ROWS]]
    return Table("Slowest requests", note, head, rows)


def _row(request: TimelineRequest, spans: Spans, timeline: Timeline) -> Sequence[str]:
    stays = spans[request.index]
    times = [time_of(stays), *(time_in(stays, phase) for phase in Phase)]
    return (
        visible(request.id, 48),
        _arrival(request, timeline),
        *(format_amount(time, timeline.unit) if time else "–" for time in times),
        f"{request.prompt_tokens:,}",
        f"{request.output_tokens:,}",
        f"{request.preemptions:,}",
        visible(request.finish_reason or "unfinished"),
    )


def _arrival(request: TimelineRequest, timeline: Timeline) -> str:
    is_step = timeline.unit == "steps"
    return format_number(request.arrival) if is_step else format_time(request.arrival, timeline.unit)


def _settings(settings: Mapping[str, object]) -> Iterator[Sequence[str]]:
    for name, value in settings.items():
        yield visible(name), "–" if value is None else visible(str(value), 200)
