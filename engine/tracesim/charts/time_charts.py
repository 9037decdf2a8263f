"""The charts over time, as Plotly figures without colours; see `Chart`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from tracesim.analysis.queueing import CAUSE_LABELS
from tracesim.charts.bins import Series, StrideBins, bin_edges, span_counts, stride_times
from tracesim.charts.causes import mean_waiting, waiting_by_cause
from tracesim.charts.chart_data import ChartData
from tracesim.charts.labels import format_duration
from tracesim.charts.page import Chart
from tracesim.charts.timeline import UNLIMITED, Phase, Span, Timeline, Unit

Trace = dict[str, Any]

_FEW: Final = 6
_AXIS: Final = {"steps": "step", "s": "time (s)"}


class _Strides:
    """The strides of a timeline in bins, and the notes about them."""

    def __init__(self, timeline: Timeline) -> None:
        times = list(stride_times(timeline.strides))
        self.timeline, self.strides = timeline, timeline.strides
        self.edges = bin_edges(times)
        self.bins = StrideBins(self.strides, self.edges)
        self.is_exact = len(self.edges) == len(set(times))

    def note(self, shape: str) -> str:
        """Return a note about the bins and what `shape` shows; empty if every stride is shown."""
        if self.is_exact:
            return ""
        width = format_duration(self.edges[1] - self.edges[0], self.timeline.unit)
        return (
            f" {self.timeline.num_steps:,} steps in {len(self.edges) - 1:,} bins of {width} each: "
            f"the mean over a bin, weighted by time, and {shape}."
        )

    def chart(
        self, key: str, title: str, note: str, traces: list[Trace], y_title: str, height: int = 300
    ) -> Chart:
        """Return a chart with a single figure."""
        return Chart(key, title, note, {"": figure(traces, y_title, self.timeline.unit)}, height=height)


def charts_over_time(data: ChartData) -> list[Chart]:
    """Return charts of the batches, the queue and the KV cache; none if there are no strides."""
    if not len(data.timeline.strides):
        return []
    over = _Strides(data.timeline)
    strides = over.strides

    traces, batch_sizes = _in_batch(over, strides.prefill_requests)
    note = "Requests computed in a step, by whether it computes their prompts or their next tokens."
    batch = over.chart(
        "batch", "Batch, in requests", note + over.note("the largest batch"), traces, "requests"
    )
    _whole(batch.figures[""]["layout"]["yaxis"], batch_sizes)

    traces, _ = _in_batch(over, strides.prefill_tokens)
    note = "Tokens computed in a step. A decode is one token a request." + over.note("the largest batch")
    tokens = over.chart("tokens", "Batch, in tokens", note, traces, "tokens")

    charts = [batch, tokens, _running(over)]
    if data.num_blocks and UNLIMITED not in strides.free_blocks[:1]:
        charts.append(_kv_cache(over, data.num_blocks))
    return charts


def queue_chart(timeline: Timeline, spans: Sequence[Sequence[Span]]) -> Chart | None:
    """Return how many requests wait, stacked by cause; None if none ever waited."""
    parts = list(waiting_by_cause(timeline, spans))
    preempted = [span for each in spans for span in each if span.phase is Phase.PREEMPTED]
    if not parts and not preempted:
        return None
    times = [time for part in parts for time in (part.start, part.end)]
    edges = bin_edges([*times, *(time for span in preempted for time in (span.start, span.end))])
    layers = [
        area(CAUSE_LABELS[cause], edges, means, "waiting", role=cause)
        for cause, means in mean_waiting(parts, edges).items()
    ]
    if preempted:
        layers.append(area("preempted", edges, span_counts(preempted, edges), "waiting"))
    note = (
        "Requests that wait for their first step, by what keeps the first of them out, and so all others. "
        "The area of a cause is the queue time that it makes up, over all requests."
    )
    if preempted:
        note += " Above them are those that wait again, after a preemption."
    figures = {"": figure(layers, "requests", timeline.unit)}
    return Chart("queue", "Requests waiting, by cause", note, figures, height=320)


def phases_chart(timeline: Timeline, spans: Sequence[Sequence[Span]]) -> Chart:
    """Return how many requests are in each phase; the queue can be hidden to see the other phases."""
    by_phase: dict[Phase, list[Span]] = {phase: [] for phase in Phase}
    for each in spans:
        for span in each:
            by_phase[span.phase].append(span)
    edges = bin_edges([time for each in spans for span in each for time in (span.start, span.end)])
    layers = {
        phase: area(phase.name.lower(), edges, span_counts(by_phase[phase], edges), "phases")
        for phase in (Phase.DECODE, Phase.PREFILL, Phase.DISCARDED, Phase.PREEMPTED, Phase.QUEUED)
        if by_phase[phase]
    }
    admitted = [layer for phase, layer in layers.items() if phase is not Phase.QUEUED]
    choices = {"without the queue": admitted, "all": list(layers.values())}
    if Phase.QUEUED not in layers or not admitted:
        del choices["without the queue"]
    figures = {name: figure(traces, "requests", timeline.unit) for name, traces in choices.items()}
    note = "Every request, stacked by what it waits for or gets; the mean over each bin of time."
    return Chart("phases", "Requests by phase", note, figures, height=320)


def figure(traces: list[Trace], y_title: str, unit: Unit) -> dict[str, Any]:
    """Return a figure over time."""
    axes = {
        "xaxis": {"title": {"text": _AXIS[unit]}},
        "yaxis": {"title": {"text": y_title}, "rangemode": "tozero"},
    }
    return {"data": traces, "layout": axes}


def area(
    name: str, edges: Sequence[float], values: Sequence[float], stack: str, role: str | None = None
) -> Trace:
    """Return one layer of a stack: a value in each bin."""
    layer = line(name, edges, values, role)
    return {**layer, "line": {"shape": "hv", "width": 0}, "stackgroup": stack}


def line(name: str, edges: Sequence[float], values: Sequence[float], role: str | None = None) -> Trace:
    """Return a value in each bin, as a staircase; `role` is the name of its colour, if not `name`."""
    rounded = [round(value, 3) for value in values]
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": [round(edge, 6) for edge in edges],
        "y": rounded + rounded[-1:],
        "line": {"shape": "hv", "width": 1.5},
        "meta": {"role": role or name},
        "hovertemplate": "%{y:,.4~g}",
    }


def _in_batch(over: _Strides, prefill: Sequence[int]) -> tuple[list[Trace], list[int]]:
    """Return decodes and, above them, prefills, counted in one way, and their sum in each stride.

    Decodes that are discarded are a layer of their own, if there are any. Where bins have several strides, a
    thin line is at the maximum of each bin.
    """
    strides, bins = over.strides, over.bins
    discarded = strides.discarded_decodes
    both = [p + d for p, d in zip(prefill, strides.decode_requests, strict=True)]
    emitting = [d - x for d, x in zip(strides.decode_requests, discarded, strict=True)]
    layers = {"decode": emitting, "prefill": prefill}
    if any(discarded):
        layers["discarded"] = discarded
    traces = [area(name, over.edges, bins.series(layer).mean, "batch") for name, layer in layers.items()]
    if not over.is_exact:
        largest = line("largest", over.edges, bins.series(both).high)
        traces.append({**largest, "line": {"shape": "hv", "width": 0.7}})
    return traces, both


def _running(over: _Strides) -> Chart:
    strides, bins = over.strides, over.bins
    waiting = _banded(over, "waiting", bins.series(strides.waiting, lasting=True))
    running = _banded(over, "running", bins.series(strides.running))
    traces = [*running, *({**trace, "yaxis": "y2"} for trace in waiting)]
    note = (
        "In each step: admitted and not finished; and above, in the queue, for the first time or preempted."
    )
    note += over.note("a band from the least to the most")
    chart = over.chart("running", "Running and waiting", note, traces, "running", height=400)
    layout = chart.figures[""]["layout"]
    layout["yaxis"]["domain"] = [0, 0.46]
    layout["yaxis2"] = {**layout["yaxis"], "title": {"text": "waiting"}, "domain": [0.54, 1]}
    layout["showlegend"] = False
    _whole(layout["yaxis"], strides.running)
    _whole(layout["yaxis2"], strides.waiting)
    return chart


def _kv_cache(over: _Strides, num_blocks: int) -> Chart:
    """Return the use of the KV cache. Over the steps of a stride it grows evenly, at least nearly."""
    strides = over.strides
    used = [100 * (num_blocks - free) / num_blocks for free in strides.free_blocks]
    before = [0.0, *used[:-1]]
    firsts = [used[index] if steps == 1 else before[index] for index, steps in enumerate(strides.steps)]
    note = f"Of {num_blocks:,} blocks, those that requests hold." + over.note(
        "a band from the least to the most"
    )
    traces = _banded(over, "KV cache", over.bins.ramp(firsts, used))
    chart = over.chart("kv", "KV cache use", note, traces, "% of blocks")
    chart.figures[""]["layout"]["yaxis"]["range"] = [0, 103]
    chart.figures[""]["layout"]["showlegend"] = False
    return chart


def _whole(axis: dict[str, Any], values: Sequence[int]) -> None:
    """Remove ticks between whole numbers from the axis of a few requests."""
    if max(values) <= _FEW:
        axis["dtick"] = 1


def _banded(over: _Strides, name: str, series: Series) -> list[Trace]:
    """Return the value in each bin: a line and, where bins have several strides, a band of its range."""
    mean = line(name, over.edges, series.mean)
    if over.is_exact:
        return [{**mean, "fill": "tozeroy"}]
    band: Trace = {
        "line": {"shape": "hv", "width": 0},
        "showlegend": False,
        "legendgroup": name,
        "hoverinfo": "skip",
    }
    low = {**line(name, over.edges, series.low), **band, "hovertemplate": None}
    high = {**line(name, over.edges, series.high), **band, "hovertemplate": None, "fill": "tonexty"}
    return [low, high, {**mean, "legendgroup": name}]
