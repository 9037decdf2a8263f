"""An HTML page of a sweep that works offline: which points are worth a look, and the settings of each."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Any, Final

import orjson

from tracesim.analysis.figures import Figure
from tracesim.charts.html import plotly_javascript
from tracesim.charts.labels import visible
from tracesim.profiles.profile import profile_text
from tracesim.sweep.points import describe, varying, written
from tracesim.sweep.ranking import Row, pareto_front, rank
from tracesim.sweep.results_file import Result

MOST_POINTS: Final = 5000
"""The points that a page has at most; of more, the best ones."""

_AXES: Final = ("interactivity", "throughput_per_gpu")
_COLUMNS: Final = (*_AXES, "goodput_per_gpu", "slo_attainment", "ttft.p99", "tpot.p99")


def sweep_page(results: Sequence[Result], objective: Figure) -> bytes:
    """Return the page in UTF-8. Raises ConfigError if Plotly is not installed.

    It shows throughput per GPU against interactivity with the points that no other exceeds in both, all
    settings and figures as parallel coordinates, and a table; a point that is chosen shows its profile.
    """
    rows = [row for row in rank(results, objective) if not row.error]
    names = [name for name in varying(result.replay.point for result in results) if name != "seed"]
    shown = rows[:MOST_POINTS]
    figures = [objective.name, *(name for name in _COLUMNS if name != objective.name)]
    figures = [name for name in figures if any(name in row.figures for row in shown)]
    front = {id(row) for row in pareto_front(rows, *_AXES)}
    data = {
        "names": names,
        "figures": figures,
        "points": [_point(row, names, figures, is_on_front=id(row) in front) for row in shown],
    }
    failed = sum(bool(result.outcome.error) for result in results)
    scripts = [_in_script(plotly_javascript()), _in_script(_asset("sweep_page.js"))]
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    note = f"{len(rows):,} points, sorted by {objective.name.replace('_', ' ')}"
    note += f"; the best {MOST_POINTS:,} are shown" if len(shown) < len(rows) else ""
    note += f"; {failed:,} cannot be replayed" if failed else ""
    page = Template(_asset("sweep_page.html")).substitute(
        policy=" ".join(f"'sha256-{each}'" for each in hashes),
        style=_asset("page.css"),
        note=note,
        plotly=scripts[0],
        # A script element ends at `</script`, so that its JSON may not contain any `<`.
        data=orjson.dumps(data).decode().replace("<", r"\u003c"),
        script=scripts[1],
    )
    return page.encode()


def _point(row: Row, names: Sequence[str], figures: Sequence[str], *, is_on_front: bool) -> dict[str, Any]:
    """Return what the page has of a configuration."""
    point = row.results[0].replay.point
    return {
        "label": visible(describe(row.varied)) or "the only point",
        "values": [visible(written(row.varied[name])) if name in row.varied else "" for name in names],
        "figures": [row.figures.get(name) for name in figures],
        "front": is_on_front,
        "overloaded": bool(row.figures.get("overloaded")),
        "profile": profile_text(point.args, f"A point of a sweep: {visible(describe(row.varied))}."),
    }


def _in_script(javascript: str) -> str:
    """Return JavaScript as a browser hashes it, without carriage returns; nothing in it ends the element."""
    return javascript.replace("\r\n", "\n").replace("</script", r"<\/script").replace("<!--", r"<\!--")


def _asset(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
