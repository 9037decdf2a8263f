"""Histograms of latencies, with their percentiles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

from tracesim.analysis.percentiles import PERCENTILES
from tracesim.charts.chart_data import ChartData
from tracesim.charts.distribution import Distribution
from tracesim.charts.labels import format_duration
from tracesim.charts.time_charts import Chart, Trace, line
from tracesim.charts.timeline import Unit

_MOST_BARS: Final = 40
_MOST_TICKS: Final = 6
_WIDE: Final = 30.0
"""Where the greatest value is so many times the median, equal bars would hold nearly all in the first."""


def latency_charts(data: ChartData) -> list[Chart]:
    """Return a small chart for each latency that has values."""
    return [
        _chart(number, name, Distribution(counts), data.timeline.unit)
        for number, (name, counts) in enumerate(data.latencies.items())
        if counts
    ]


def _chart(number: int, name: str, values: Distribution, unit: Unit) -> Chart:
    shown, scale = ("steps", 1.0) if unit == "steps" else ("s", 1.0) if values.high >= 1 else ("ms", 1e3)
    is_log = values.low > 0 and values.high > _WIDE * values.percentile(50)
    marks = {percent: values.percentile(percent) for percent in PERCENTILES}
    axis = {"type": "log", "tickvals": _ticks(values.low * scale, values.high * scale)} if is_log else {}
    figure = {
        "data": [_bars(values, _edges(values, is_log), scale)],
        "layout": {
            "xaxis": {"title": {"text": f"{name} ({shown})"}, **axis},
            "yaxis": {"title": {"text": "values"}, "rangemode": "tozero"},
            "shapes": [_mark(value * scale) for value in marks.values()],
            "annotations": [
                _label(f"p{percent}", value * scale, row, is_log)
                for row, (percent, value) in enumerate(marks.items())
            ],
            "showlegend": False,
        },
    }
    percentiles = ", ".join(f"p{percent} {format_duration(value, unit)}" for percent, value in marks.items())
    note = f"{values.count:,} values: {percentiles}." + (" The axis is logarithmic." if is_log else "")
    return Chart(f"latency-{number}", name, note, {"": figure}, over_time=False, height=260, small=True)


def _edges(values: Distribution, is_log: bool) -> list[float]:
    """Return the edges of the bars; few values have few bars."""
    low, high = values.low, values.high
    if low == high:
        return [low * 0.5, low * 1.5 or 1.0]
    bars = min(_MOST_BARS, max(8, round(2 * math.sqrt(values.count))))
    if is_log:
        step = math.log(high / low) / bars
        return [low * math.exp(step * each) for each in range(bars)] + [high]
    return [low + (high - low) * each / bars for each in range(bars)] + [high]


def _ticks(low: float, high: float) -> list[float]:
    """Return ticks at 1, 2, 5, 10, 20 and so on, or only at powers of ten if those are too many."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    inside = [tick for tick in ticks if low <= tick <= high]
    return inside if len(inside) <= _MOST_TICKS else [10.0**power for power in powers]


def _bars(values: Distribution, edges: Sequence[float], scale: float) -> Trace:
    """Return the bars as a staircase: bars do not have an even width on a logarithmic axis."""
    places = [*map(values.below, edges[:-1]), values.count]
    counts = [float(after - before) for before, after in pairwise(places)]
    bars = line("values", [edge * scale for edge in edges], counts)
    bars["x"] = [bars["x"][0], *bars["x"]]
    bars["y"] = [0.0, *bars["y"][:-1], 0.0]
    return {
        **bars,
        "fill": "tozeroy",
        "meta": {"role": "latency"},
        "hovertemplate": "%{y:,} values<extra></extra>",
    }


def _mark(value: float) -> dict[str, Any]:
    return {
        "type": "line",
        "x0": value,
        "x1": value,
        "y0": 0,
        "y1": 1,
        "yref": "paper",
        "line": {"width": 1, "dash": "dot"},
    }


def _label(text: str, value: float, row: int, is_log: bool) -> dict[str, Any]:
    return {
        "text": text,
        "x": math.log10(value) if is_log else value,
        "y": 1 - 0.1 * row,
        "yref": "paper",
        "xanchor": "left",
        "yanchor": "top",
        "showarrow": False,
    }
