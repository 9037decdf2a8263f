"""The page of a calibration: measured against predicted, for what was scored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from tracesim.calibration.calibrate import Calibration
from tracesim.charts.html import page_to_html
from tracesim.charts.page import Card, Chart, Page, Section, Table
from tracesim.timing.calibration import costs_of
from tracesim.timing.clock import written_duration

_TITLES: Final = {"e2e": "E2E", "ttft": "TTFT", "tpot": "TPOT", "step": "Duration of a step"}
_MOST_POINTS: Final = 4000


def calibration_page(calibration: Calibration, measured: Sequence[str]) -> bytes:
    """Return the page in UTF-8. Raises ConfigError if Plotly is not installed."""
    unit = calibration.unit
    costs = {name: cost for name, cost in costs_of(calibration.clock).items() if cost}
    run = [
        ("measured", f"{', '.join(measured)} ({calibration.kind})"),
        ("clock", ",".join(f"{name}={written_duration(cost)}" for name, cost in costs.items())),
        ("fitted", f"{calibration.num_fitted:,} {unit}"),
        ("scored", f"{calibration.num_scored:,} {unit}, which came after them"),
    ]
    cards = [
        Card(_TITLES[name], f"{errors.mean:+.1%}", [("each", f"{errors.each:.1%}")], "Error of the mean.")
        for name, errors in calibration.errors.items()
    ]
    return page_to_html(Page("tracesim calibrate", run, cards, [], list(_sections(calibration))))


def _sections(calibration: Calibration) -> Iterator[Section]:
    charts = [
        _against(number, name, pairs)
        for number, (name, pairs) in enumerate(calibration.pairs.items())
        if pairs
    ]
    if charts:
        yield Section("against", "Measured against predicted", charts)
    rows = [
        (
            _TITLES[name],
            f"{errors.count:,}",
            *(f"{value:+.2%}" for value in (errors.mean, errors.p50, errors.p99)),
            f"{errors.each:.2%}",
        )
        for name, errors in calibration.errors.items()
    ]
    note = "Of what was scored; + is too long. The last column is the mean error of each, without its sign."
    tables = [Table("Errors", note, ("", "values", "mean", "p50", "p99", "each"), rows)]
    if calibration.warnings:
        warnings = [(str(number), each) for number, each in enumerate(calibration.warnings, 1)]
        tables.append(Table("Warnings", "", ("", "warning"), warnings))
    yield Section("tables", "Tables", tables)


def _against(number: int, name: str, pairs: Sequence[tuple[float, float]]) -> Chart:
    """Return a chart with a point for each value; on the line both are equal."""
    shown, scale = ("s", 1.0) if max(max(pair) for pair in pairs) >= 1 else ("ms", 1e3)
    every = -(-len(pairs) // _MOST_POINTS)
    points = pairs[::every]
    most = max(max(pair) for pair in points) * scale
    layout: dict[str, Any] = {
        "xaxis": {"title": {"text": f"measured ({shown})"}, "rangemode": "tozero"},
        "yaxis": {"title": {"text": f"predicted ({shown})"}, "rangemode": "tozero"},
        "shapes": [
            {"type": "line", "x0": 0, "y0": 0, "x1": most, "y1": most, "line": {"width": 1, "dash": "dot"}}
        ],
        "hovermode": "closest",
        "showlegend": False,
    }
    trace = {
        "type": "scatter",
        "mode": "markers",
        "x": [measured * scale for _, measured in points],
        "y": [predicted * scale for predicted, _ in points],
        "marker": {"size": 5},
        "meta": {"role": "latency"},
        "hovertemplate": "measured %{x:.4g}, predicted %{y:.4g}<extra></extra>",
    }
    note = f"{len(points):,} values: on the line predicted equals measured."
    return Chart(
        f"against-{number}",
        _TITLES[name],
        note,
        {"": {"data": [trace], "layout": layout}},
        over_time=False,
        height=320,
        small=True,
    )
