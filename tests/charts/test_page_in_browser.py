"""The page in a real browser, where there is a Chromium: it draws all, and asks for nothing."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from chart_cases import NASTY, a_crowded_engine, chart_data_of_run
from factories import a_record, an_engine
from tracesim import LLMEngine
from tracesim.charts.html import html_page

CHROMIUM = shutil.which("chromium")
QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--virtual-time-budget=20000",
    "--dump-dom",
]

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here")


def shown(page: bytes, folder: Path, width: int = 1400) -> tuple[str, list[str]]:
    """The document as it stands when its scripts are done, and what the browser's console says."""
    (folder / "page.html").write_bytes(page)
    profile = folder / "profile"
    profile.mkdir()
    command = [
        str(CHROMIUM),
        *QUIET,
        f"--window-size={width},900",
        f"--user-data-dir={profile}",
        (folder / "page.html").as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=True, timeout=120)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def a_nasty_engine() -> LLMEngine:
    return an_engine([a_record(name, prompt="p", response="abc") for name in NASTY])


@pytest.mark.parametrize("engine", [a_nasty_engine, lambda: a_crowded_engine(100)], ids=["nasty", "many"])
@pytest.mark.parametrize("width", [1400, 600])
def test_a_page_draws_every_chart_without_a_word(
    engine: Callable[[], LLMEngine], width: int, tmp_path: Path
) -> None:
    """What the page's security policy forbids, which is every request, would be reported on the console."""
    pytest.importorskip("plotly")
    latencies = {"TTFT": {0.1: 1, 0.2: 3, 9.0: 1}, "ITL": {0.01: 9}}
    document, console = shown(
        html_page(chart_data_of_run(engine(), "s", latencies=latencies)), tmp_path, width
    )
    charts = re.findall(r'<div class="chart[^"]*" id="chart-([a-z0-9-]+)"', document)

    assert console == []
    assert 'data-ready="true"' in document
    assert len(charts) >= 6
    assert document.count('<g class="subplot xy') >= len(charts)
    assert "<script>alert" not in re.sub(r"<script.*?</script>", "", document, flags=re.DOTALL)


def test_the_console_tells_what_is_forbidden(tmp_path: Path) -> None:
    pytest.importorskip("plotly")
    page = html_page(chart_data_of_run()).replace(b"</main>", b'<img src="http://example.org/x.png"></main>')
    _, console = shown(page, tmp_path)

    assert any("Content Security Policy" in line for line in console)
