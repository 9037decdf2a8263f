"""Histograms of latencies, with their percentiles."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, Final

from tracesim.analysis.percentiles import PERCENTILES
from tracesim.charts.chart_data import ChartData
from tracesim.charts.distribution import Distribution
from tracesim.charts.labels import format_duration
from tracesim.charts.page import Chart
from tracesim.charts.time_charts import Trace, line
from tracesim.charts.timeline import Unit

_MOST_BARS: Final = 40
_MOST_TICKS: Final = 6
"""Where a logarithmic axis would have more ticks at 1, 2, 5, 10, 20 and so on, it has the powers of ten."""
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
    axis: dict[str, Any] = {}
    if is_log:
        low, high = values.low * scale, values.high * scale
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        ticks = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
        inside = [tick for tick in ticks if low <= tick <= high]
        is_crowded = len(inside) > _MOST_TICKS
        axis = {"type": "log", "tickvals": [10.0**power for power in powers] if is_crowded else inside}
    shapes: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for row, (percent, value) in enumerate(marks.items()):
        x = value * scale
        ends = {"x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper"}
        shapes.append({"type": "line", **ends, "line": {"width": 1, "dash": "dot"}})
        place = {"x": math.log10(x) if is_log else x, "y": 1 - 0.1 * row, "yref": "paper"}
        corner = {"xanchor": "left", "yanchor": "top"}
        annotations.append({"text": f"p{percent}", **place, **corner, "showarrow": False})
    layout = {
        "xaxis": {"title": {"text": f"{name} ({shown})"}, **axis},
        "yaxis": {"title": {"text": "values"}, "rangemode": "tozero"},
        "shapes": shapes,
        "annotations": annotations,
        "showlegend": False,
    }
    figure = {"data": [_bars(values, scale, is_log)], "layout": layout}
    percentiles = ", ".join(f"p{percent} {format_duration(value, unit)}" for percent, value in marks.items())
    number_of = f"{values.count:,} value" if values.count == 1 else f"{values.count:,} values"
    note = f"{number_of}: {percentiles}." + (" The axis is logarithmic." if is_log else "")
    return Chart(f"latency-{number}", name, note, {"": figure}, over_time=False, height=260, small=True)


def _bars(values: Distribution, scale: float, is_log: bool) -> Trace:
    """Return the bars, few for few values, as a staircase: a logarithmic axis has bars of uneven widths."""
    low, high = values.low, values.high
    number = min(_MOST_BARS, max(8, round(2 * math.sqrt(values.count))))
    if low == high:
        edges = [low * 0.5, low * 1.5 or 1.0]
    elif is_log:
        step = math.log(high / low) / number
        edges = [low * math.exp(step * each) for each in range(number)] + [high]
    else:
        edges = [low + (high - low) * each / number for each in range(number)] + [high]
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
