"""The page of a comparison: its cards, its charts and its tables."""

from __future__ import annotations

import pytest

from chart_cases import NASTY
from factories import a_record
from report_cases import a_report, report_of
from tracesim.analysis.comparison import compare_reports
from tracesim.charts import comparison_charts
from tracesim.charts.comparison_page import comparison_page
from tracesim.charts.page import Chart, Page, Table, Toned

SLOWER = compare_reports([a_report(), a_report(max_num_seqs=1)])


def charts(page: Page) -> dict[str, Chart]:
    return {
        each.key: each for section in page.sections for each in section.content if isinstance(each, Chart)
    }


def tables(page: Page) -> dict[str, Table]:
    return {
        each.title: each for section in page.sections for each in section.content if isinstance(each, Table)
    }


def test_a_card_of_two_reports_leads_with_the_change() -> None:
    """r1, the second of three, emits its first token after 20 ms in A, and after r0 and one step in B."""
    (card,) = [each for each in comparison_page(SLOWER).cards if each.title == "TTFT p50"]

    assert card.value == Toned("+600.0%", "worse")
    assert card.more == [("A", "20.0 ms"), ("B", "140 ms")]
    assert card.note == "Worse: median time to the first token."


def test_a_card_of_three_reports_has_every_value() -> None:
    comparison = compare_reports([a_report(), a_report(max_num_seqs=1), a_report()])
    (card,) = [each for each in comparison_page(comparison).cards if each.title == "TTFT p50"]

    assert card.value == "20.0 ms"
    assert card.more == [("B", "140 ms (+600.0% worse)"), ("C", "20.0 ms (equal)")]


def test_the_bars_are_the_parts_of_the_mean_time() -> None:
    """Waiting for r0, and for r0 and r1, is 120 and 240 ms, so 120 ms in the mean over three requests."""
    parts = charts(comparison_page(SLOWER))["parts"].figures[""]["data"]
    shown = {bar["name"]: bar["x"] for bar in parts}

    assert shown.keys() == {"waiting: max_num_seqs", "prefill", "decode"}
    assert shown["waiting: max_num_seqs"] == pytest.approx([0, 120])
    assert shown["prefill"] == pytest.approx([20, 20])
    assert shown["decode"] == pytest.approx([100, 100])


def test_a_point_for_each_request_is_faster_equal_or_slower() -> None:
    (figure,) = charts(comparison_page(SLOWER))["before-and-after"].figures.values()
    points = {trace.get("name"): trace.get("text") for trace in figure["data"]}

    assert points == {None: None, "as in A": ["r0"], "slower than in A": ["r1", "r2"]}


def test_of_many_requests_those_that_moved_most_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 9 requests in a row, two of 4 points are r8 and r7, the others every fourth of the rest."""
    monkeypatch.setattr(comparison_charts, "_MOST_POINTS", 4)
    comparison = compare_reports([a_report(9), a_report(9, max_num_seqs=1)])
    chart = charts(comparison_page(comparison))["before-and-after"]
    (figure,) = chart.figures.values()
    shown = [name for trace in figure["data"] for name in trace.get("text", [])]

    assert sorted(shown) == ["r2", "r6", "r7", "r8"]
    assert "4 requests are shown" in chart.note


def test_reports_without_a_clock_are_drawn_in_steps() -> None:
    comparison = compare_reports([a_report(clock="steps"), a_report(clock="steps", max_num_seqs=1)])
    parts = charts(comparison_page(comparison))["parts"].figures[""]

    assert parts["layout"]["xaxis"]["title"]["text"] == "mean time of a request (steps)"


def test_reports_without_a_common_request_have_tables_alone() -> None:
    page = comparison_page(compare_reports([a_report(), report_of([a_record("other")])]))

    assert charts(page) == {}
    assert list(tables(page)) == ["All figures"]


def test_the_tables_have_all_figures_what_moved_and_the_settings_that_differ() -> None:
    shown = tables(comparison_page(SLOWER))

    assert list(shown) == ["Settings that differ", "A and B", "All figures"]
    assert len(shown["All figures"].rows) == len(SLOWER.figures)
    assert [row[0] for row in shown["A and B"].rows] == ["r2", "r1"]
    assert shown["Settings that differ"].rows == [["max_num_seqs", "none", "1"]]


def test_marks_of_html_in_an_id_are_none_of_a_chart() -> None:
    """Plotly reads some HTML in what it shows; the page escapes everything else."""
    records = [a_record(name) for name in NASTY if name.isprintable()]
    comparison = compare_reports([report_of(records), report_of(records, max_num_seqs=1)])
    (figure,) = charts(comparison_page(comparison))["before-and-after"].figures.values()
    texts = "".join(text for trace in figure["data"] for text in trace.get("text", []))

    assert "&lt;script&gt;" in texts
    assert "<" not in texts
