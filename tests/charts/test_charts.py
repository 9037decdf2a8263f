"""What pictures are made of: bins, charts, tables, the page's markup and the trace for Perfetto."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chart_cases import NASTY, a_crowded_engine, a_step, chart_data_of_run
from factories import a_record, an_engine
from tracesim.charts.bins import bin_edges, span_counts, step_series, step_times
from tracesim.charts.chart_data import ChartData
from tracesim.charts.distribution import Distribution
from tracesim.charts.html import html_page
from tracesim.charts.labels import format_duration, visible
from tracesim.charts.latency_charts import latency_charts
from tracesim.charts.perfetto import ENGINE, SLOTS, perfetto_trace
from tracesim.charts.request_chart import request_charts
from tracesim.charts.tables import tables
from tracesim.charts.time_charts import Chart, charts_over_time, phases_chart
from tracesim.charts.timeline import Phase, Span, StepColumns, Timeline, Unit


def columns(*steps: tuple[float, float]) -> StepColumns:
    made = StepColumns()
    for number, (start, duration) in enumerate(steps):
        made.add(a_step(number), start, duration)
    return made


def test_few_steps_are_bins_of_their_own() -> None:
    steps = columns((0, 1), (1, 1), (5, 1))
    edges = bin_edges(step_times(steps))
    series = step_series(steps, [4, 2, 3], edges)

    assert edges == [0, 1, 2, 5, 6]
    assert series.low == series.high == series.mean == [4, 2, 0, 3]
    assert step_series(steps, [4, 2, 3], edges, lasting=True).mean == [4, 2, 2, 3]


def test_a_bin_has_the_mean_by_time_and_the_extremes() -> None:
    steps = columns((0, 1), (1, 3), (4, 4))
    series = step_series(steps, [8, 4, 2], bin_edges(step_times(steps), most=2))

    assert (series.mean, series.low, series.high) == ([5, 2], [4, 2], [8, 2])


def test_the_rounding_of_a_sum_is_no_pause() -> None:
    steps = columns((0.1, 0.2), (0.3, 0.1))

    assert 0.1 + 0.2 != 0.3
    assert 0 not in step_series(steps, [4, 2], bin_edges(step_times(steps))).low


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1), st.integers(1, 60))
def test_bins_hold_all_the_time_of_all_spans(pairs: list[tuple[int, int]], most: int) -> None:
    spans = [Span(0, Phase.DECODE, min(pair), max(pair)) for pair in pairs]
    edges = bin_edges([time for pair in pairs for time in pair], most)
    counts = span_counts(spans, edges)
    widths = [after - before for before, after in pairwise(edges)]

    total = sum(count * width for count, width in zip(counts, widths, strict=True))
    assert sum(span.end - span.start for span in spans) == pytest.approx(total)
    assert all(-1e-9 <= count <= len(spans) + 1e-9 for count in counts)


def test_percentiles_are_those_of_numpy() -> None:
    values = Distribution({1: 2, 5: 1, 3: 1})

    assert [values.percentile(percent) for percent in (0, 50, 90, 100)] == [1, 2, pytest.approx(4.4), 5]
    assert (values.count, values.mean, values.low, values.high) == (4, 2.5, 1, 5)
    assert [values.below(border) for border in (1, 2, 5, 9)] == [0, 2, 3, 4]


def test_durations_have_the_unit_that_fits() -> None:
    assert [format_duration(value, "steps") for value in (1, 2.5, 1200)] == [
        "1 step",
        "2.5 steps",
        "1,200 steps",
    ]
    assert [format_duration(value, "s") for value in (0.0123, 1.5)] == ["12.3 ms", "1.50 s"]


def test_what_does_not_show_is_escaped_and_what_is_long_is_cut() -> None:
    assert visible(NASTY[2]) == r"a\u202eb\x1b[31m\ud800"
    assert visible("abcdef", 4) == "abc…"


def every_chart(data: ChartData) -> list[Chart]:
    rows = request_charts(data.timeline, data.timeline.spans_by_request())
    return [*charts_over_time(data), *latency_charts(data), phases_chart(data.timeline), *rows]


@pytest.mark.parametrize("unit", ["steps", "s"])
@pytest.mark.parametrize("requests", [1, 100])
def test_plotly_knows_every_field_of_every_figure(requests: int, unit: Unit) -> None:
    figures = pytest.importorskip("plotly.graph_objects")
    latencies = {
        "TTFT": {0.01: 1, 0.02: 1, 4.0: 1},
        "TPOT": {0.0: 1},
        "ITL": {},
        "E2E": {3.0: 2},
        "x": {1: 1, 7: 2},
    }
    data = chart_data_of_run(a_crowded_engine(requests), unit, latencies=latencies)
    charts = every_chart(data)

    assert [
        "batch",
        "tokens",
        "running",
        "kv",
        *(f"latency-{n}" for n in (0, 1, 3, 4)),
        "phases",
        "requests",
        *(["samples"] if requests > 60 else []),
    ] == [chart.key for chart in charts]
    for chart in charts:
        for figure in chart.figures.values():
            figures.Figure(figure)


def test_many_steps_are_drawn_as_bins_that_say_so() -> None:
    timeline = Timeline()
    for number in range(5000):
        timeline.add(a_step(number, prefill=[("a", number % 7)], free_blocks=1), number, 1.0)
    batch, *_ = charts_over_time(ChartData("many", timeline))

    assert "5,000 steps in 800 bins of 6.2 steps each" in batch.note
    assert [trace["name"] for trace in batch.figures[""]["data"]] == ["decode", "prefill", "largest"]
    assert all(len(trace["x"]) == 801 for trace in batch.figures[""]["data"])


def test_many_requests_are_shown_as_samples_that_say_so() -> None:
    data = chart_data_of_run(a_crowded_engine(100))
    neighbours, samples = request_charts(data.timeline, data.timeline.spans_by_request())

    assert "60 of 100 requests" in neighbours.note
    assert "60 of 100 requests" in samples.note
    assert {"evenly spread", "longest", "longest queued", "most preempted"} < set(samples.figures)
    labels = samples.figures["evenly spread"]["layout"]["yaxis"]["ticktext"]
    assert (len(labels), labels[0], labels[-1]) == (60, "r0", "r99")
    labels = neighbours.figures["the last"]["layout"]["yaxis"]["ticktext"]
    assert labels == [f"r{n}" for n in range(40, 100)]


def test_samples_of_requests_begin_at_their_arrival() -> None:
    data = chart_data_of_run(a_crowded_engine(100))
    _, samples = request_charts(data.timeline, data.timeline.spans_by_request())
    figure = samples.figures["evenly spread"]
    firsts = {
        row: start
        for trace in reversed(figure["data"])
        for row, start in zip(trace["y"], trace["base"], strict=True)
    }

    assert set(firsts) == set(range(60))
    assert set(firsts.values()) == {0}
    assert figure["layout"]["xaxis"]["title"]["text"] == "steps since arrival"


def test_tables_tell_times_by_phase_and_the_slowest_first() -> None:
    timeline = Timeline()
    timeline.arrived("a", 0)
    timeline.arrived("b", 0)
    timeline.add(a_step(0, prefill=[("a", 5)], emitted=["a"]), 0, 1)
    timeline.add(a_step(1, prefill=[("b", 7)], decode=["a"], emitted=["a", "b"], finished=["b"]), 1, 1)
    timeline.add(a_step(2, decode=["a"], emitted=["a"], finished=["a"]), 2, 1)
    data = ChartData("two", timeline, settings={"engine": "simple", "stop": None})
    percentiles, slowest, settings = tables(data, timeline.spans_by_request())

    assert percentiles.rows[-1] == ("arrival to end", "2", "2.5", "2.5", "2.9", "3.0", "3.0", "3")
    assert slowest.rows == [
        ("a", "0", "3", "–", "1", "2", "–", "5", "3", "0", "stop"),
        ("b", "0", "2", "1", "1", "–", "–", "7", "1", "0", "stop"),
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
    records = [a_record(name, prompt="p", response="abc") for name in NASTY]
    settings = {"stop": ["</table><script>"]}
    summary, run = [("requests", "<b>4</b>: of 4")], [("trace", "<b>t</b>.jsonl")]
    return html_page(chart_data_of_run(an_engine(records), summary=summary, settings=settings, run=run))


def test_nothing_of_a_trace_is_markup_and_nothing_is_loaded() -> None:
    pytest.importorskip("plotly")
    page = Markup(a_nasty_page())
    tags = [tag for tag, _ in page.elements]

    assert (tags.count("script"), tags.count("img"), tags.count("b")) == (3, 0, 0)
    assert all(
        text in page.text for text in (NASTY[0], NASTY[1], NASTY[3], "<b>4</b>", r"a\u202eb\x1b[31m\ud800")
    )
    for _, attributes in page.elements:
        assert not any(name.startswith("on") for name in attributes)
        assert not {"src", "srcset", "action"} & attributes.keys()
        assert (attributes.get("href") or "#").startswith(("#", "data:,"))


def test_ids_are_no_markup_in_charts_either() -> None:
    pytest.importorskip("plotly")
    data = re.findall(rb'<script type="application/json" id="charts">(.*?)</script>', a_nasty_page())
    (chart,) = [chart for chart in json.loads(data[0]) if chart["key"] == "requests"]

    assert b"<" not in data[0]
    assert "&lt;script&gt;a…" in chart["figures"][""]["layout"]["yaxis"]["ticktext"][0].replace(
        "lert(1…", "…"
    )
    assert "$" not in "".join(chart["figures"][""]["layout"]["yaxis"]["ticktext"])


def test_a_page_of_nothing_has_no_charts() -> None:
    pytest.importorskip("plotly")
    page = Markup(html_page(ChartData("empty", Timeline())))

    assert "figure" not in [tag for tag, _ in page.elements]


def events_of(data: ChartData) -> Iterator[dict[str, Any]]:
    document = json.loads(b"".join(perfetto_trace(data)))
    assert {"displayTimeUnit", "otherData", "traceEvents"} == document.keys()
    yield from document["traceEvents"]


@pytest.mark.parametrize("unit", ["steps", "s"])
def test_every_event_has_what_its_kind_asks_for(unit: Unit) -> None:
    wanted = {"M": {"args"}, "X": {"ts", "dur", "tid"}, "C": {"ts", "args"}}
    for event in events_of(chart_data_of_run(unit=unit)):
        assert {"name", "pid", *wanted[event["ph"]]} <= event.keys()
        assert event.get("ts", 0) >= 0
        assert event.get("dur", 0) >= 0
        if event["ph"] == "C":
            assert all(isinstance(value, int) for value in event["args"].values())


def test_slices_of_a_track_follow_each_other_or_nest() -> None:
    tracks: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for event in events_of(chart_data_of_run(a_crowded_engine(100), "s")):
        if event["ph"] == "X":
            track = tracks.setdefault((event["pid"], event["tid"]), [])
            track.append((event["ts"], event["ts"] + event["dur"]))

    assert len(tracks) > 3
    for slices in tracks.values():
        outer: list[tuple[float, float]] = []
        for start, end in sorted(slices, key=lambda each: (each[0], -each[1])):
            while outer and outer[-1][1] <= start + 1e-6:
                outer.pop()
            assert not outer or end <= outer[-1][1] + 1e-6
            outer.append((start, end))


def test_a_slot_shows_a_request_and_its_phases_from_admission_to_end() -> None:
    timeline = Timeline("s")
    timeline.arrived("a", 0.5)
    timeline.add(a_step(0, prefill=[("a", 5)], emitted=["a"], running=1, free_blocks=3), 1.0, 0.25)
    timeline.add(a_step(1, preempted=["a"], decode=["b"], free_blocks=5), 1.25, 0.001)
    timeline.add(a_step(2, prefill=[("a", 6)], emitted=["a"], finished=["a"], free_blocks=5), 2.0, 0.5)
    events = list(events_of(ChartData("one", timeline, num_blocks=5)))
    slot = [(e["name"], e["ts"], e["dur"]) for e in events if e["pid"] == SLOTS and e["ph"] == "X"]
    blocks = [(e["ts"], e["args"]) for e in events if e["name"] == "KV blocks used"]
    tokens = [(e["ts"], e["args"]["tokens"]) for e in events if e["name"] == "batch tokens"]
    steps = [(e["name"], e["ts"], e["dur"]) for e in events if e["pid"] == ENGINE and e["ph"] == "X"]

    assert slot == [
        ("a", 1_000_000, 1_500_000),
        ("prefill", 1_000_000, 250_000),
        ("preempted", 1_250_000, 750_000),
        ("prefill", 2_000_000, 500_000),
    ]
    assert blocks == [(1_000_000, {"blocks": 2}), (1_250_000, {"blocks": 0})]
    assert tokens == [(1_000_000, 5), (1_250_000, 1), (1_251_000, 0), (2_000_000, 6), (2_500_000, 0)]
    assert steps == [("prefill", 1e6, 250_000), ("decode", 1_250_000, 1000), ("prefill", 2e6, 500_000)]


def test_no_two_requests_are_in_one_slot_at_a_time_and_slots_are_used_again() -> None:
    data = chart_data_of_run(a_crowded_engine(100))
    stays: dict[int, list[tuple[int, int]]] = {}
    for event in events_of(data):
        if event.get("cat") == "request":
            stays.setdefault(event["tid"], []).append((event["ts"], event["ts"] + event["dur"]))

    assert sum(map(len, stays.values())) == 100
    assert len(stays) < 20
    for of_slot in stays.values():
        assert all(a[1] <= b[0] for a, b in pairwise(sorted(of_slot)))


def test_without_a_clock_the_trace_says_what_a_step_is_shown_as() -> None:
    document = json.loads(b"".join(perfetto_trace(chart_data_of_run(settings={"engine": "x"}))))

    assert "1 step is shown as 1 ms" in document["otherData"]["time"]
    assert document["otherData"]["setting: engine"] == "x"
