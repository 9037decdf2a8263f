"""The page of a sweep: complete, offline, and with a profile for each point."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest

from sweep_cases import a_shared_trace, some_points
from tracesim.analysis.metrics import parse_slo
from tracesim.charts.sweep_page import sweep_page
from tracesim.profiles.profile import load_profile
from tracesim.sweep.figures import parse_objective
from tracesim.sweep.run import run_sweep
from tracesim.sweep.workers import ThisProcess

pytest.importorskip("plotly")

TRACE = a_shared_trace(20)


def data_of(page: bytes) -> Any:
    found = re.search(rb'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    return orjson.loads(found[1])


def test_the_page_has_the_points_with_their_figures_and_profiles(tmp_path: Any) -> None:
    points = some_points(max_num_seqs=[2, 8], rate=[5, 20], num_gpu_blocks=[1, 400])
    results = run_sweep(TRACE, points, slo=parse_slo("ttft=200ms"), workers=ThisProcess(TRACE))
    page = sweep_page(results, parse_objective("goodput"))
    data = data_of(page)
    profile = tmp_path / "profile.toml"
    profile.write_text(data["points"][0]["profile"])
    settings = load_profile(profile).settings

    assert b"4 points, sorted by goodput; 4 cannot be replayed" in page
    assert data["names"] == ["max_num_seqs", "rate", "num_gpu_blocks"]
    assert data["figures"][:2] == ["goodput", "interactivity"]
    assert len(data["points"]) == 4
    assert any(point["front"] for point in data["points"])
    assert data["points"][0]["values"][0] == str(settings["max_num_seqs"])
    assert settings["clock"] == "linear:base=10ms,prefill=100us,decode=1ms"
    assert f"poisson:{data['points'][0]['values'][1]}" == settings["arrivals"]


def test_the_page_loads_nothing() -> None:
    results = run_sweep(TRACE, some_points(rate=[5]), workers=ThisProcess(TRACE))
    page = sweep_page(results, parse_objective("throughput")).decode()
    own = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)

    assert "default-src 'none'" in own
    assert re.findall(r"(?:src|href)=\"(?!#|data:)[^\"]*\"", own) == []
