"""The charts of a comparison: the parts of a request's time, each request before and after, all by time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import cycle
from typing import Any, Final

from tracesim.analysis.comparison import DECODE, PREFILL, ReportComparison, ordered_parts, part_label
from tracesim.analysis.comparison_text import WHOLE_LABELS
from tracesim.analysis.queueing import CAUSE_LABELS
from tracesim.charts.labels import visible
from tracesim.charts.page import Chart

SHOWN_UNITS: Final = {"s": "ms", "steps": "steps"}
"""The units of charts, by those of a comparison."""

Point = tuple[str, float, float]
"""A request: its id, and its time before and after."""

_SCALES: Final = {"s": 1000, "steps": 1}
_MOST_POINTS: Final = 4000
_KINDS: Final = (
    ("faster than in A", "better", "triangle-down"),
    ("as in A", "queued", "circle"),
    ("slower than in A", "worse", "triangle-up"),
)
_PART_ROLES: Final = (*CAUSE_LABELS, PREFILL, DECODE)
_LINES: Final = (
    ("decode", "solid"),
    ("prefill", "dash"),
    ("max_num_seqs", "dot"),
    ("preempted", "dashdot"),
    ("token_budget", "longdash"),
)
"""The colour and the dashes of the line of each report; later reports have the first again."""
_WIDE: Final = 20.0
"""Where the greatest time is so many times the smallest, an axis is logarithmic."""


def comparison_charts(comparison: ReportComparison) -> list[Chart]:
    """Return the charts of a comparison; none if no request emitted a token in two reports."""
    return [*_parts(comparison), *_before_and_after(comparison), *_distribution(comparison)]


def _parts(comparison: ReportComparison) -> Iterator[Chart]:
    """Yield a bar for each report, divided by the parts of the mean time of a request."""
    means = comparison.mean_times()
    if not means:
        return
    data = [
        {
            "type": "bar",
            "orientation": "h",
            "name": _in_plotly(visible(part_label(part))),
            "y": [letter for letter, _ in means],
            "x": [mean.parts.get(part, 0) * _SCALES[comparison.unit] for _, mean in means],
            "meta": {"role": part if part in _PART_ROLES else "queued"},
            "hovertemplate": "%{x:,.4~g}",
        }
        for part in ordered_parts(mean for _, mean in means)
    ]
    layout = {
        "barmode": "stack",
        "bargap": 0.35,
        "hovermode": "y unified",
        "xaxis": {"title": {"text": f"mean time of a request ({SHOWN_UNITS[comparison.unit]})"}},
        "yaxis": {"autorange": "reversed"},
    }
    note = "Mean over the requests that emitted a token both in A and in the other report."
    title = "Where the time of a request is spent"
    height = 130 + 48 * len(means)
    yield Chart("parts", title, note, {"": {"data": data, "layout": layout}}, over_time=False, height=height)


def _before_and_after(comparison: ReportComparison) -> Iterator[Chart]:
    """Yield a point for each request: its time in A, and in another report that the reader chooses."""
    pairs = [(letter, found.points) for letter, found in comparison.pairs() if found.points]
    if not pairs:
        return
    figures = {f"A and {letter}": _scatter(comparison, letter, _selected(points)) for letter, points in pairs}
    note = "Below the line a request is faster than in A, above it slower."
    if any(len(points) > _MOST_POINTS for _, points in pairs):
        note += f" {_MOST_POINTS:,} requests are shown: half of them those that moved most."
    title = f"{WHOLE_LABELS[comparison.whole]} of each request, before and after"
    yield Chart("before-and-after", title, note, figures, over_time=False, height=460)


def _scatter(comparison: ReportComparison, letter: str, points: Sequence[Point]) -> dict[str, Any]:
    scale, unit = _SCALES[comparison.unit], SHOWN_UNITS[comparison.unit]
    kinds: dict[int, list[Point]] = {0: [], 1: [], 2: []}
    for request_id, before, after in points:
        kinds[(after > before) - (after < before) + 1].append((request_id, before * scale, after * scale))
    ends = [
        choose(min(each[1:]) if choose is min else max(each[1:]) for kind in kinds.values() for each in kind)
        for choose in (min, max)
    ]
    line = {
        "type": "scatter",
        "mode": "lines",
        "x": ends,
        "y": ends,
        "line": {"width": 1, "dash": "dot"},
        "meta": {"role": "waiting"},
        "hoverinfo": "skip",
        "showlegend": False,
    }
    hover = f"%{{text}}<br>A %{{x:,.4~g}} {unit}<br>{letter} %{{y:,.4~g}} {unit}<extra></extra>"
    traces = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": name,
            "x": [round(before, 6) for _, before, _ in kinds[kind]],
            "y": [round(after, 6) for _, _, after in kinds[kind]],
            "text": [_in_plotly(visible(request_id, 60)) for request_id, _, _ in kinds[kind]],
            "marker": {"size": 6, "symbol": symbol},
            "meta": {"role": role},
            "hovertemplate": hover,
        }
        for kind, (name, role, symbol) in enumerate(_KINDS)
        if kinds[kind]
    ]
    axis = _axis(*ends)
    whole = WHOLE_LABELS[comparison.whole]
    layout = {
        "hovermode": "closest",
        "xaxis": {**axis, "title": {"text": f"{whole} in A ({unit})"}},
        "yaxis": {**axis, "title": {"text": f"{whole} in {letter} ({unit})"}},
    }
    return {"data": [line, *traces], "layout": layout}


def _selected(points: Sequence[Point]) -> Sequence[Point]:
    """Return the points to show: all, or of many the half that moved most, and every nth of the others."""
    if len(points) <= _MOST_POINTS:
        return points
    by_change = sorted(points, key=lambda each: -abs(each[2] - each[1]))
    half = _MOST_POINTS // 2
    others = by_change[half:]
    return by_change[:half] + others[:: -(-len(others) // half)]


def _distribution(comparison: ReportComparison) -> Iterator[Chart]:
    """Yield a line for each report: how many of the requests take at most so long."""
    pairs = [(letter, found.points) for letter, found in comparison.pairs() if found.points]
    if not pairs:
        return
    times = [("A", [before for _, before, _ in pairs[0][1]])]
    times += [(letter, [after for _, _, after in points]) for letter, points in pairs]
    scale, unit = _SCALES[comparison.unit], SHOWN_UNITS[comparison.unit]
    ordered = {letter: sorted(value * scale for value in values) for letter, values in times}
    data = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": letter,
            "x": [round(values[round(place * (len(values) - 1) / 200)], 6) for place in range(201)],
            "y": [place / 2 for place in range(201)],
            "line": {"width": 2, "dash": dash},
            "meta": {"role": role},
            "hovertemplate": f"{letter}: %{{y:.1f}}% take at most %{{x:,.4~g}} {unit}<extra></extra>",
        }
        for (letter, values), (role, dash) in zip(ordered.items(), cycle(_LINES), strict=False)
    ]
    axis = _axis(
        min(values[0] for values in ordered.values()), max(values[-1] for values in ordered.values())
    )
    whole = WHOLE_LABELS[comparison.whole]
    layout = {
        "hovermode": "closest",
        "xaxis": {**axis, "title": {"text": f"{whole} ({unit})"}},
        "yaxis": {"title": {"text": "requests (%)"}, "range": [0, 101]},
    }
    note = "How many requests take at most so long: a line further to the left is faster."
    figures = {"": {"data": data, "layout": layout}}
    yield Chart("distribution", f"{whole} of all requests", note, figures, over_time=False, height=340)


def _axis(low: float, high: float) -> dict[str, Any]:
    """Return what an axis has for values from `low` to `high`: if it is logarithmic, its type and ticks."""
    if low <= 0 or high <= _WIDE * low:
        return {}
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    digits = (1, 2, 5) if high < 1000 * low else (1,)
    return {"type": "log", "tickvals": [digit * 10.0**power for power in powers for digit in digits]}


def _in_plotly(text: str) -> str:
    """Return a text in which Plotly finds no marks of HTML."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
