"""The timeline of requests: a row for each, coloured by phase; of many requests, several selections."""

from __future__ import annotations

import html
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, Final

from tracesim.charts.labels import format_duration, format_time, visible
from tracesim.charts.time_charts import Chart, Trace, figure
from tracesim.charts.timeline import Phase, Span, Timeline, TimelineRequest

MOST_ROWS: Final = 60
_ROW_HEIGHT: Final = 18
_LONGEST_LABEL: Final = 16
_SINCE: Final = {"steps": "steps since arrival", "s": "time since arrival (s)"}

Spans = Sequence[Sequence[Span]]


def in_arrival_order(timeline: Timeline) -> list[TimelineRequest]:
    """Return the requests in the order of arrival, and of adding where they arrived together."""
    return sorted(timeline.requests.values(), key=lambda request: request.arrival)


def request_charts(timeline: Timeline, spans: Spans) -> list[Chart]:
    """Return a row per request; for more than 60, neighbours in time and samples from their arrival."""
    requests = in_arrival_order(timeline)
    if len(requests) <= MOST_ROWS:
        figures = {"": _figure(requests, spans, timeline)}
        note = "Every request in the order of arrival."
        return [Chart("requests", "Timeline of requests", note, figures, height=_height(requests))]
    arrivals = [request.arrival for request in requests]
    busiest = max(range(len(timeline.steps)), key=timeline.steps.waiting.__getitem__)
    places = {
        "where most wait": bisect_right(arrivals, timeline.steps.start[busiest]) - MOST_ROWS // 2,
        "the first": 0,
        "in the middle": (len(requests) - MOST_ROWS) // 2,
        "the last": len(requests) - MOST_ROWS,
    }
    figures = {}
    for name, place in places.items():
        first = min(max(place, 0), len(requests) - MOST_ROWS)
        figures[name] = _figure(requests[first : first + MOST_ROWS], spans, timeline)
    note = f"{MOST_ROWS} of {len(requests):,} requests, one after another in the order of arrival."
    height = _height(requests)
    neighbours = Chart("requests", "Timeline of requests", note, figures, over_time=False, height=height)
    return [neighbours, _samples(requests, spans, timeline)]


def _samples(requests: list[TimelineRequest], spans: Spans, timeline: Timeline) -> Chart:
    """Return a selection of requests from all times, each aligned at its arrival."""
    last = len(requests) - 1
    samples = {
        "evenly spread": [requests[round(each * last / (MOST_ROWS - 1))] for each in range(MOST_ROWS)],
        "longest": _greatest(requests, [time_of(spans[r.index]) for r in requests]),
        "longest queued": _greatest(requests, [time_in(spans[r.index], Phase.QUEUED) for r in requests]),
        "longest decode": _greatest(requests, [time_in(spans[r.index], Phase.DECODE) for r in requests]),
        "most preempted": _greatest(requests, [float(r.preemptions) for r in requests]),
    }
    figures = {
        name: _figure(sample, spans, timeline, from_arrival=True)
        for name, sample in samples.items()
        if sample
    }
    note = f"{MOST_ROWS} of {len(requests):,} requests at most, each from its own arrival on."
    height = _height(requests)
    return Chart("samples", "Requests since their arrival", note, figures, over_time=False, height=height)


def _height(requests: list[TimelineRequest]) -> int:
    return 110 + min(MOST_ROWS, max(4, len(requests))) * _ROW_HEIGHT


def time_in(spans: Sequence[Span], phase: Phase) -> float:
    """Return how long a request was in a phase in total."""
    return sum(span.end - span.start for span in spans if span.phase is phase)


def time_of(spans: Sequence[Span]) -> float:
    """Return how long a request took from its arrival to its end."""
    ends = [span.end for span in spans if span.phase is not Phase.DISCARDED]
    return ends[-1] - spans[0].start if ends else 0.0


def _greatest(requests: list[TimelineRequest], measures: list[float]) -> list[TimelineRequest]:
    """Return the requests with the greatest measure; those that measure nothing are omitted."""
    order = sorted(range(len(requests)), key=lambda each: -measures[each])
    return [requests[each] for each in sorted(order[:MOST_ROWS]) if measures[each] > 0]


def _figure(
    sample: list[TimelineRequest], spans: Spans, timeline: Timeline, *, from_arrival: bool = False
) -> dict[str, Any]:
    origins = [request.arrival if from_arrival else 0.0 for request in sample]
    traces = [_bars(phase, sample, origins, spans, timeline) for phase in Phase]
    traces = [trace for trace in traces if trace["y"]]
    starts = [start for trace in traces for start in trace["base"]]
    ends = [start + took for trace in traces for start, took in zip(trace["base"], trace["x"], strict=True)]
    built = figure(traces, "", timeline.unit, barmode="overlay")
    built["layout"]["xaxis"]["range"] = [min(starts, default=0.0), max(ends, default=1.0)]
    if from_arrival:
        built["layout"]["xaxis"]["title"] = {"text": _SINCE[timeline.unit]}
    built["layout"]["yaxis"] = {
        "tickvals": list(range(len(sample))),
        "ticktext": [_label(request, _LONGEST_LABEL) for request in sample],
        "range": [max(3, len(sample)) - 0.4, -0.6],
        "fixedrange": True,
        "showgrid": False,
        "zeroline": False,
    }
    return built


def _bars(
    phase: Phase,
    sample: list[TimelineRequest],
    origins: Sequence[float],
    spans: Spans,
    timeline: Timeline,
) -> Trace:
    """Return the stays in one phase, one bar each; rows start at their `origins`."""
    stays = [
        (row, request, span)
        for row, request in enumerate(sample)
        for span in spans[request.index]
        if span.phase is phase
    ]
    name = phase.name.lower()
    texts = []
    for _, request, span in stays:
        took = format_duration(span.end - span.start, timeline.unit)
        since = format_time(span.start, timeline.unit)
        texts.append(f"<b>{_label(request, 48)}</b><br>{name} for {took} from {since}")
    return {
        "type": "bar",
        "orientation": "h",
        "width": 0.75,
        "name": name,
        "y": [row for row, _, _ in stays],
        "base": [round(span.start - origins[row], 6) for row, _, span in stays],
        "x": [round(span.end - span.start, 6) for _, _, span in stays],
        "customdata": texts,
        "hovertemplate": "%{customdata}<extra></extra>",
        "meta": {"role": name},
    }


def _label(request: TimelineRequest, most: int) -> str:
    """Return an id as Plotly has to get it: its texts may have HTML, and TeX between dollar signs."""
    return html.escape(visible(request.id, most), quote=False).replace("$", "&#36;")
