"""The page: its cards, charts, lanes and tables, and its markup."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from chart_cases import CLOCK, NASTY, a_crowded_engine, a_stride, a_timeline, chart_data_of_run
from factories import a_record, an_engine
from tracesim.analysis.metrics import parse_slo
from tracesim.analysis.queueing import all_queue_times, total_queue_time_by_cause
from tracesim.analysis.report import measure_run
from tracesim.charts.cards import cards_of
from tracesim.charts.causes import mean_waiting, waiting_by_cause
from tracesim.charts.chart_data import ChartData
from tracesim.charts.html import page_to_html
from tracesim.charts.lanes import request_lanes
from tracesim.charts.page import Card, Chart, Share
from tracesim.charts.replay_page import replay_page
from tracesim.charts.tables import tables
from tracesim.charts.time_charts import charts_over_time
from tracesim.charts.timeline import Timeline


def charts_of(data: ChartData) -> list[Chart]:
    content = [each for section in replay_page(data).sections for each in section.content]
    return [each for each in content if isinstance(each, Chart)]


@pytest.mark.parametrize("clock", ["steps", CLOCK])
@pytest.mark.parametrize("requests", [1, 100])
def test_plotly_knows_every_field_of_every_figure(requests: int, clock: str) -> None:
    figures = pytest.importorskip("plotly.graph_objects")
    charts = charts_of(chart_data_of_run(a_crowded_engine(requests, clock)))

    assert [chart.key for chart in charts if not chart.key.startswith("latency")] == [
        *(["queue"] if requests > 1 else []),
        *("phases", "batch", "tokens", "running", "kv"),
    ]
    for chart in charts:
        for figure in chart.figures.values():
            figures.Figure(figure)


def test_many_steps_are_drawn_as_bins_with_a_note_about_them() -> None:
    strides = [a_stride(number, prefill=[("a", number % 7)], free_blocks=1) for number in range(5000)]
    batch, *_ = charts_over_time(ChartData("many", a_timeline(*strides)))

    assert "5,000 steps in 800 bins of 6.2 steps each" in batch.note
    assert [trace["name"] for trace in batch.figures[""]["data"]] == ["decode", "prefill", "largest"]
    assert all(len(trace["x"]) == 801 for trace in batch.figures[""]["data"])


@pytest.mark.parametrize("clock", ["steps", CLOCK])
def test_the_area_of_a_cause_is_the_queue_time_that_it_makes_up(clock: str) -> None:
    engine = a_crowded_engine(100, clock)
    timeline = chart_data_of_run(engine).timeline
    parts = list(waiting_by_cause(timeline, timeline.spans_by_request()))
    width = (timeline.end - timeline.start) / 7
    means = mean_waiting(parts, [timeline.start + width * each for each in range(8)])
    expected = total_queue_time_by_cause([engine], [all_queue_times(engine)])

    assert len(expected) >= 2
    assert expected == pytest.approx({cause: sum(values) * width for cause, values in means.items()})


def test_cards_have_latencies_attainment_and_causes() -> None:
    """With a TTFT of at most 100 ms, most requests of a crowded engine miss the limit."""
    engine, slo = a_crowded_engine(100, CLOCK), parse_slo("ttft=100ms,tpot=1s")
    data = chart_data_of_run(engine)
    metrics = measure_run(engine, slo)
    assert metrics is not None
    assert metrics.ttft is not None
    assert metrics.slo_attainment is not None
    data = chart_data_of_run(
        a_crowded_engine(100, CLOCK),
        metrics=metrics,
        slo=slo,
        queue_time_by_cause={"kv_blocks": 3.0, "max_num_seqs": 1.0},
    )
    ttft, tpot, e2e, attainment, queue = cards_of(data)

    assert [card.title for card in (ttft, tpot, e2e)] == ["TTFT", "TPOT", "E2E"]
    assert ttft.value == f"{metrics.ttft.p50:.2f} s"
    assert [name for name, _ in ttft.more] == ["p95", "p99"]
    assert attainment == Card(
        "SLO attainment",
        f"{metrics.slo_attainment:.1%}",
        [("TTFT missed", f"{(metrics.slo_missed or {})['ttft']:,}")],
        "Requests with TTFT ≤ 100.0 ms and TPOT ≤ 1.00 s.",
        [Share("", "met", metrics.slo_attainment), Share("", "missed", 1 - metrics.slo_attainment)],
    )
    assert (queue.value, queue.shares) == (
        "40.0 ms",
        [Share("75 % KV blocks", "kv_blocks", 0.75), Share("25 % max_num_seqs", "max_num_seqs", 0.25)],
    )


def test_a_card_reports_that_no_request_waited() -> None:
    *_, queue = cards_of(chart_data_of_run(a_crowded_engine(1)))

    assert (queue.value, queue.note) == ("0 steps", "No request waited.")


def test_lanes_have_what_is_known_of_each_request_in_the_order_of_arrival() -> None:
    timeline = a_timeline(
        a_stride(0, prefill=[("a", 4)], steps=2),
        a_stride(2, prefill=[("a", 1)], started=["a"]),
        a_stride(3, num_decodes=1, waiting=1),
        a_stride(4, prefill=[("b", 7)], started=["b"], finished=["b"], preempted=["a"], discarded=["c"]),
        a_stride(5, prefill=[("a", 9)], started=["a"], finished=["a"]),
        a=0,
        c=3,
        b=1,
    )
    timeline.causes = [(1, "kv_blocks"), (4, None)]
    timeline.requests["a"].first_token = 3
    timeline.requests["b"].finish_reason = "stop"
    data = request_lanes(timeline, timeline.spans_by_request()).data

    assert {name: values for name, values in data.items() if name != "cause_names"} == {
        "unit": "steps",
        "start": 0.0,
        "end": 6.0,
        "ids": ["a", "b", "c"],
        "arrivals": [0, 1, 3],
        "phases": ["pdxp", "qp", "qv"],
        "times": [[0, 3, 0, 1, 0, 1, 0, 1], [0, 3, 0, 1], [0, 3, -2, 1]],
        "tokens": [(0, 0, 0)] * 3,
        "first_tokens": [3, None, None],
        "chunks": [[2, 4, 1, 1, 1, 9], [1, 7], []],
        "preemptions": [[(4, 0)], [], []],
        "ends": [0, 1, 0],
        "reasons": ["unfinished", "stop"],
        "causes": [(1, 2), (4, -1)],
    }
    assert data["cause_names"][2] == ("kv_blocks", "KV blocks")


def test_tables_have_times_by_phase_and_the_slowest_first() -> None:
    timeline = a_timeline(
        a_stride(0, prefill=[("a", 5)], started=["a"]),
        a_stride(1, prefill=[("b", 7)], num_decodes=1, started=["b"], finished=["b"]),
        a_stride(2, num_decodes=1, finished=["a"]),
        a=0,
        b=0,
    )
    for request_id, tokens in (("a", 3), ("b", 1)):
        timeline.requests[request_id].output_tokens = tokens
        timeline.requests[request_id].finish_reason = "stop"
    data = ChartData("two", timeline, settings={"engine": "simple", "stop": None})
    percentiles, slowest, settings = tables(data, timeline.spans_by_request())

    assert percentiles.rows[-1] == ("arrival to end", "2", "2.5", "2.5", "2.9", "3.0", "3.0", "3")
    assert slowest.rows == [
        ("a", "0", "3", "–", "1", "2", "–", "0", "3", "0", "stop"),
        ("b", "0", "2", "1", "1", "–", "–", "0", "1", "0", "stop"),
    ]
    assert settings.rows == [("engine", "simple"), ("stop", "–")]


class Markup(HTMLParser):
    """The elements of a page with their attributes, and the text outside scripts."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if not self.elements or self.elements[-1][0] not in ("script", "style"):
            self.text += data


def a_nasty_page() -> bytes:
    records = [a_record(name, prompt="p", response="abc<script>", stop=("<script>",)) for name in NASTY]
    more: dict[str, Any] = {
        "settings": {"stop": ["</table><script>"]},
        "summary": [("requests", "<b>4</b>: of 4")],
        "run": [("trace", "<b>t</b>.jsonl")],
    }
    return page_to_html(replay_page(chart_data_of_run(an_engine(records), **more)))


def json_of(page: bytes, name: str) -> Any:
    (found,) = re.findall(rb'<script type="application/json" id="%s">(.*?)</script>' % name.encode(), page)
    assert b"<" not in found
    return json.loads(found)


def test_nothing_of_a_trace_is_markup_and_nothing_is_loaded() -> None:
    pytest.importorskip("plotly")
    page = Markup(a_nasty_page())
    tags = [tag for tag, _ in page.elements]

    assert (tags.count("script"), tags.count("img"), tags.count("i")) == (6, 0, 0)
    assert all(
        text in page.text for text in (NASTY[0], NASTY[1], NASTY[3], "<b>4</b>", r"a\u202eb\x1b[31m\ud800")
    )
    for _, attributes in page.elements:
        assert not any(name.startswith("on") for name in attributes)
        assert not {"src", "srcset", "action"} & attributes.keys()
        assert (attributes.get("href") or "#").startswith(("#", "data:,"))


def test_texts_of_a_trace_are_plain_in_the_data_of_lanes_and_not_in_charts() -> None:
    pytest.importorskip("plotly")
    page = a_nasty_page()
    (lanes,) = json_of(page, "lanes-data")

    assert lanes["ids"] == [NASTY[0], NASTY[1], r"a\u202eb\x1b[31m\ud800", NASTY[3]]
    assert lanes["reasons"] == ["stop, by the stop string '<script>'"]
    assert "alert" not in json.dumps(json_of(page, "charts"))


def test_a_page_of_nothing_has_no_charts() -> None:
    pytest.importorskip("plotly")
    page = Markup(page_to_html(replay_page(ChartData("empty", Timeline()))))

    assert "figure" not in [tag for tag, _ in page.elements]
