"""The timeline of requests: a row each, coloured by phase; of many requests, samples of them."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any, Final

from tracesim.pictures.charts import Chart, Trace, figure
from tracesim.pictures.words import moment, period, visible
from tracesim.timeline import Phase, Span, Timeline, TimelineRequest

MOST_ROWS: Final = 60
_ROW_HEIGHT: Final = 18
_LONGEST_LABEL: Final = 16

Spans = Sequence[Sequence[Span]]


def in_arrival_order(timeline: Timeline) -> list[TimelineRequest]:
    """The requests as they arrived; those that arrived together as they were added."""
    return sorted(timeline.requests.values(), key=lambda request: request.arrival)


def request_chart(timeline: Timeline, spans: Spans) -> Chart:
    """A row a request: all, or where there are more than 60 a sample that the reader chooses."""
    requests = in_arrival_order(timeline)
    if len(requests) <= MOST_ROWS:
        samples = {"": requests}
        note = "Every request in the order of arrival."
    else:
        samples = _samples(requests, spans)
        note = (
            f"{MOST_ROWS} of {len(requests):,} requests at most, in the order of arrival. "
            "The chart of phases above has all of them."
        )
    figures = {name: _figure(sample, spans, timeline) for name, sample in samples.items()}
    rows = max(map(len, samples.values()), default=0)
    height = 110 + max(4, rows) * _ROW_HEIGHT
    return Chart("requests", "Timeline of requests", note, figures, height=height)


def time_in(spans: Sequence[Span], phase: Phase) -> float:
    """How long one request's stays in a phase are together."""
    return sum(span.end - span.start for span in spans if span.phase is phase)


def time_of(spans: Sequence[Span]) -> float:
    """How long one request took from its arrival to its end."""
    return spans[-1].end - spans[0].start if spans else 0.0


def _samples(requests: list[TimelineRequest], spans: Spans) -> dict[str, list[TimelineRequest]]:
    """Evenly spread ones, and the extreme ones of each kind, all in the order of arrival."""
    last = len(requests) - 1
    even = [requests[round(each * last / (MOST_ROWS - 1))] for each in range(MOST_ROWS)]
    samples = {
        "evenly spread": even,
        "longest": _greatest(requests, [time_of(spans[r.index]) for r in requests]),
        "longest queued": _greatest(requests, [time_in(spans[r.index], Phase.QUEUED) for r in requests]),
        "longest decode": _greatest(requests, [time_in(spans[r.index], Phase.DECODE) for r in requests]),
        "most preempted": _greatest(requests, [float(r.preemptions) for r in requests]),
    }
    return {name: sample for name, sample in samples.items() if sample}


def _greatest(requests: list[TimelineRequest], measures: list[float]) -> list[TimelineRequest]:
    """The requests that measure most; those that measure nothing are left out."""
    order = sorted(range(len(requests)), key=lambda each: -measures[each])
    return [requests[each] for each in sorted(order[:MOST_ROWS]) if measures[each] > 0]


def _figure(sample: list[TimelineRequest], spans: Spans, timeline: Timeline) -> dict[str, Any]:
    traces = [_bars(phase, sample, spans, timeline) for phase in Phase]
    rows = {
        "tickvals": list(range(len(sample))),
        "ticktext": [_label(request, _LONGEST_LABEL) for request in sample],
        "range": [max(3, len(sample)) - 0.4, -0.6],
        "fixedrange": True,
        "showgrid": False,
        "zeroline": False,
    }
    built = figure(
        [trace for trace in traces if trace["y"]], "", timeline.unit, barmode="overlay", bargap=0.25
    )
    built["layout"]["yaxis"] = rows
    return built


def _bars(phase: Phase, sample: list[TimelineRequest], spans: Spans, timeline: Timeline) -> Trace:
    stays = [
        (row, request, span)
        for row, request in enumerate(sample)
        for span in spans[request.index]
        if span.phase is phase
    ]
    return {
        "type": "bar",
        "orientation": "h",
        "name": phase.name.lower(),
        "y": [row for row, _, _ in stays],
        "base": [round(span.start, 6) for _, _, span in stays],
        "x": [round(span.end - span.start, 6) for _, _, span in stays],
        "customdata": [_said(request, span, timeline) for _, request, span in stays],
        "hovertemplate": "%{customdata}<extra></extra>",
        "meta": {"role": phase.name.lower()},
    }


def _said(request: TimelineRequest, span: Span, timeline: Timeline) -> str:
    took, since = period(span.end - span.start, timeline.unit), moment(span.start, timeline.unit)
    return f"<b>{_label(request, 48)}</b><br>{span.phase.name.lower()} for {took} from {since}"


def _label(request: TimelineRequest, most: int) -> str:
    """An id as Plotly is to show it, whose texts have some HTML, and TeX between dollar signs."""
    return html.escape(visible(request.id, most), quote=False).replace("$", "&#36;")
