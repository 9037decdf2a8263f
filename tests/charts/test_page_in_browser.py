"""The page in a real browser, where there is a Chromium: it draws all, and asks for nothing."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from chart_cases import CLOCK, NASTY, a_crowded_engine, chart_data_of_run
from factories import a_record, an_engine
from report_cases import report_of
from tracesim import LLMEngine
from tracesim.analysis.comparison import compare_reports
from tracesim.charts.comparison_page import comparison_page
from tracesim.charts.html import page_to_html
from tracesim.charts.replay_page import replay_page

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


def shown(page: bytes, folder: Path, anchor: str = "", width: int = 1400) -> tuple[str, list[str]]:
    """Return the document when its scripts are done, and the lines of the browser's console."""
    (folder / "page.html").write_bytes(page)
    profile = folder / "profile"
    profile.mkdir()
    command = [
        str(CHROMIUM),
        *QUIET,
        f"--window-size={width},900",
        f"--user-data-dir={profile}",
        (folder / "page.html").as_uri() + anchor,
    ]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=True, timeout=120)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def page_of(engine: LLMEngine) -> bytes:
    return page_to_html(replay_page(chart_data_of_run(engine)))


def a_nasty_engine() -> LLMEngine:
    return an_engine([a_record(name, prompt="p", response="abc") for name in NASTY])


@pytest.mark.parametrize(
    ("engine", "width"),
    [(a_nasty_engine, 1400), (lambda: a_crowded_engine(100, CLOCK), 400)],
    ids=["nasty", "many"],
)
def test_a_page_draws_every_chart_without_a_word(
    engine: Callable[[], LLMEngine], width: int, tmp_path: Path
) -> None:
    """What the page's security policy forbids, which is every request, would be reported on the console."""
    pytest.importorskip("plotly")
    document, console = shown(page_of(engine()), tmp_path, width=width)
    charts = re.findall(r'<div class="chart[^"]*" id="chart-([a-z0-9-]+)"', document)

    assert console == []
    assert 'data-ready="true"' in document
    assert len(charts) >= 6
    assert document.count('<g class="subplot xy') >= len(charts)
    assert "<script>alert" not in re.sub(r"<script.*?</script>", "", document, flags=re.DOTALL)


def test_a_comparison_draws_every_chart(tmp_path: Path) -> None:
    pytest.importorskip("plotly")
    records = [a_record(name) for name in NASTY if "\ud800" not in name]
    reports = [report_of(records, max_num_seqs=most) for most in (4, 1, 2)]
    document, console = shown(page_to_html(comparison_page(compare_reports(reports))), tmp_path, width=400)

    assert console == []
    assert 'data-ready="true"' in document
    assert document.count('<g class="subplot xy') == 3
    assert "<script>alert" not in re.sub(r"<script.*?</script>", "", document, flags=re.DOTALL)


def test_a_link_to_a_request_shows_what_is_known_of_it(tmp_path: Path) -> None:
    """`r9` waits for KV blocks, above all, and is preempted."""
    pytest.importorskip("plotly")
    document, console = shown(page_of(a_crowded_engine(100)), tmp_path, "#request=r9")
    details = re.sub("<[^>]*>", " ", document.partition('<div id="details"')[2].partition("</figure>")[0])

    assert console == []
    assert re.search("r9 +Close", details)
    assert re.search(r"arrival +step 4 ", details)
    assert re.search("queue time +17 steps +KV blocks 15 steps", details)
    assert re.search(r"preemptions +1: at step \d+, as r\d needed blocks", details)
    assert re.search("end +stop, ", details)


def test_a_search_leads_from_one_request_that_has_the_text_in_its_id_to_the_next(tmp_path: Path) -> None:
    """The ids of `r9` and of `r90` to `r99` begin with the text, in any case."""
    pytest.importorskip("plotly")
    script = b"""<script>
      document.getElementById("search").value = "R9";
      for (let i = 0; i < 3; i++) document.querySelector(".search").requestSubmit();
    </script></body>"""
    page = page_of(a_crowded_engine(100)).replace(b"Content-Security-Policy", b"none", 1)
    document, console = shown(page.replace(b"</body>", script), tmp_path)

    assert console == []
    assert "3 of 11 requests; Enter shows the next" in document
    assert "<h4>r91<button" in document


def test_the_console_has_what_is_forbidden(tmp_path: Path) -> None:
    pytest.importorskip("plotly")
    page = page_of(a_crowded_engine(12)).replace(b"</main>", b'<img src="http://example.org/x.png"></main>')
    _, console = shown(page, tmp_path)

    assert any("Content Security Policy" in line for line in console)
