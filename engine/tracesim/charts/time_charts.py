"""The charts over time, as Plotly figures without colours, which the page adds for the reader's theme.

A trace's `meta.role` names its colour. The texts of a chart are plain; the page escapes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tracesim.charts.bins import Series, bin_edges, span_counts, step_series, step_times
from tracesim.charts.chart_data import ChartData
from tracesim.charts.labels import format_duration
from tracesim.charts.timeline import UNLIMITED, Phase, Timeline, Unit

Trace = dict[str, Any]

_FEW: Final = 6
AXIS: Final = {"steps": "step", "s": "time (s)"}


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart: its `figures` by the name of the choice that shows each, or a single one.

    `over_time` charts zoom together. `height` is in pixels.
    """

    key: str
    title: str
    note: str
    figures: dict[str, dict[str, Any]]
    over_time: bool = True
    height: int = 300
    small: bool = False


@dataclass(slots=True)
class _Bins:
    """The steps in bins, and the notes about them."""

    timeline: Timeline
    edges: list[float] = field(init=False)
    exact: bool = field(init=False)

    def __post_init__(self) -> None:
        times = list(step_times(self.timeline.steps))
        self.edges = bin_edges(times)
        self.exact = len(self.edges) == len(set(times))

    def of(self, values: Sequence[float], *, lasting: bool = False) -> Series:
        return step_series(self.timeline.steps, values, self.edges, lasting=lasting)

    def note(self, shape: str) -> str:
        """Return what the page notes about the bins and what `shape` shows; empty if every step is shown."""
        if self.exact:
            return ""
        width = format_duration(self.edges[1] - self.edges[0], self.timeline.unit)
        return (
            f" {len(self.timeline.steps):,} steps in {len(self.edges) - 1:,} bins of {width} each: "
            f"the mean over a bin, weighted by time, and {shape}."
        )


def charts_over_time(data: ChartData) -> list[Chart]:
    """Return charts of the batches, the queue and the KV cache; none if there are no steps."""
    if not len(data.timeline.steps):
        return []
    steps, bins = data.timeline.steps, _Bins(data.timeline)

    traces, batch_sizes = _in_batch(bins, steps.prefill_requests)
    note = "Requests computed in a step, by whether it computes their prompts or their next tokens."
    note += bins.note("the largest batch")
    batch = _chart(bins, "batch", "Batch, in requests", note, traces, "requests")
    _whole(batch.figures[""]["layout"]["yaxis"], batch_sizes)

    traces, _ = _in_batch(bins, steps.prefill_tokens)
    note = "Tokens computed in a step. A decode is one token a request." + bins.note("the largest batch")
    tokens = _chart(bins, "tokens", "Batch, in tokens", note, traces, "tokens")

    charts = [batch, tokens, _running(bins)]
    if data.num_blocks and UNLIMITED not in steps.free_blocks[:1]:
        used = [100 * (data.num_blocks - free) / data.num_blocks for free in steps.free_blocks]
        note = f"Of {data.num_blocks:,} blocks, those that requests hold after each step."
        note += bins.note("a band from the least to the most")
        kv_cache = _chart(bins, "kv", "KV cache use", note, _banded(bins, "KV cache", used), "% of blocks")
        kv_cache.figures[""]["layout"]["yaxis"]["range"] = [0, 103]
        kv_cache.figures[""]["layout"]["showlegend"] = False
        charts.append(kv_cache)
    return charts


def phases_chart(timeline: Timeline) -> Chart:
    """Return how many requests are in each phase; the queue can be hidden to see the other phases."""
    spans = list(timeline.spans())
    edges = bin_edges([span.start for span in spans] + [span.end for span in spans])
    layers = {
        phase: area(
            phase.name.lower(),
            edges,
            span_counts([span for span in spans if span.phase is phase], edges),
            "phases",
        )
        for phase in (Phase.DECODE, Phase.PREFILL, Phase.DISCARDED, Phase.PREEMPTED, Phase.QUEUED)
        if any(span.phase is phase for span in spans)
    }
    admitted = [layer for phase, layer in layers.items() if phase is not Phase.QUEUED]
    choices = {"all": list(layers.values()), "without the queue": admitted}
    if Phase.QUEUED not in layers or not admitted:
        del choices["without the queue"]
    figures = {name: figure(traces, "requests", timeline.unit) for name, traces in choices.items()}
    note = "Every request, stacked by what it waits for or gets; the mean over each bin of time."
    return Chart("phases", "Requests by phase", note, figures, height=340)


def figure(traces: list[Trace], y_title: str, unit: Unit, **layout: Any) -> dict[str, Any]:
    """Return a figure over time."""
    axes = {
        "xaxis": {"title": {"text": AXIS[unit]}},
        "yaxis": {"title": {"text": y_title}, "rangemode": "tozero"},
    }
    return {"data": traces, "layout": {**axes, **layout}}


def area(name: str, edges: Sequence[float], values: Sequence[float], stack: str) -> Trace:
    """Return one layer of a stack: a value in each bin."""
    layer = line(name, edges, values)
    return {**layer, "line": {"shape": "hv", "width": 0}, "stackgroup": stack}


def line(name: str, edges: Sequence[float], values: Sequence[float]) -> Trace:
    """Return a value in each bin, as a staircase."""
    rounded = [round(value, 3) for value in values]
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": [round(edge, 6) for edge in edges],
        "y": rounded + rounded[-1:],
        "line": {"shape": "hv", "width": 1.5},
        "meta": {"role": name},
        "hovertemplate": "%{y:,.4~g}",
    }


def _in_batch(bins: _Bins, prefill: Sequence[int]) -> tuple[list[Trace], list[int]]:
    """Return decodes and, above them, prefills, counted in one way, and their sum in each step.

    Decodes that are discarded are a layer of their own, if there are any.

    Where bins have several steps, a thin line is at the maximum of each bin.
    """
    steps = bins.timeline.steps
    discarded = steps.discarded_decodes
    both = [p + d for p, d in zip(prefill, steps.decode_requests, strict=True)]
    emitting = [d - x for d, x in zip(steps.decode_requests, discarded, strict=True)]
    layers = {"decode": emitting, "prefill": prefill}
    if any(discarded):
        layers["discarded"] = discarded
    traces = [area(name, bins.edges, bins.of(layer).mean, "batch") for name, layer in layers.items()]
    if not bins.exact:
        largest = line("largest", bins.edges, bins.of(both).high)
        traces.append({**largest, "line": {"shape": "hv", "width": 0.7}})
    return traces, both


def _running(bins: _Bins) -> Chart:
    steps = bins.timeline.steps
    above = [{**trace, "yaxis": "y2"} for trace in _banded(bins, "waiting", steps.waiting)]
    traces = [*_banded(bins, "running", steps.running), *above]
    note = "After each step: admitted and not finished; and above, still in the queue or preempted."
    note += bins.note("a band from the least to the most")
    chart = _chart(bins, "running", "Running and waiting", note, traces, "running", height=400)
    layout = chart.figures[""]["layout"]
    layout["yaxis"]["domain"] = [0, 0.46]
    layout["yaxis2"] = {**layout["yaxis"], "title": {"text": "waiting"}, "domain": [0.54, 1]}
    layout["showlegend"] = False
    _whole(layout["yaxis"], steps.running)
    _whole(layout["yaxis2"], steps.waiting)
    return chart


def _chart(
    bins: _Bins, key: str, title: str, note: str, traces: list[Trace], y_title: str, height: int = 300
) -> Chart:
    return Chart(key, title, note, {"": figure(traces, y_title, bins.timeline.unit)}, height=height)


def _whole(axis: dict[str, Any], values: Sequence[int]) -> None:
    """Remove ticks between whole numbers from the axis of a few requests."""
    if max(values) <= _FEW:
        axis["dtick"] = 1


def _banded(bins: _Bins, name: str, values: Sequence[float]) -> list[Trace]:
    """Return a value after each step: a line and, where bins have several steps, a band of its range."""
    series = bins.of(values, lasting=True)
    mean = line(name, bins.edges, series.mean)
    if bins.exact:
        return [{**mean, "fill": "tozeroy"}]
    band: Trace = {
        "line": {"shape": "hv", "width": 0},
        "showlegend": False,
        "legendgroup": name,
        "hoverinfo": "skip",
    }
    low = {**line(name, bins.edges, series.low), **band, "hovertemplate": None}
    high = {**line(name, bins.edges, series.high), **band, "hovertemplate": None, "fill": "tonexty"}
    return [low, high, {**mean, "legendgroup": name}]
