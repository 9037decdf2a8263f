"""Reports compared: figures with their verdict, and the time of each request by its parts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factories import a_record
from report_cases import a_report, report_of
from tracesim.analysis.comparison import ReportComparison, change_of, compare_reports
from tracesim.analysis.saved_report import checked_report, read_report
from tracesim.errors import ReportError


def figures(comparison: ReportComparison) -> dict[str, tuple[float | None, ...]]:
    return {each.figure.name: tuple(each.values) for each in comparison.figures}


def test_a_report_compared_with_itself_is_equal() -> None:
    report = a_report()
    comparison = compare_reports([report, report])
    (requests,) = comparison.requests

    assert comparison.settings == []
    assert all(each.is_equal for each in comparison.figures)
    assert (requests.compared, requests.equal, requests.moved) == (3, 3, [])
    assert requests.before == requests.after


def test_a_request_that_waits_longer_does_so_for_a_cause() -> None:
    """Of three requests that come at once, one at a time runs in B: 6 tokens each, so 120 ms a request.

    r1 waits 120 ms, r2 240 ms, both for `max_num_seqs`; r0 is as fast as in A.
    """
    before, after = a_report(), a_report(max_num_seqs=1)
    comparison = compare_reports([before, after])
    (requests,) = comparison.requests
    moved = [(each.id, *each.reasons()) for each in requests.moved]

    assert [(each.name, each.values) for each in comparison.settings] == [("max_num_seqs", [None, 1])]
    assert (requests.faster, requests.slower, requests.equal) == (0, 2, 1)
    assert moved == [
        ("r2", ("max_num_seqs", pytest.approx(0.24))),
        ("r1", ("max_num_seqs", pytest.approx(0.12))),
    ]
    assert requests.after is not None
    assert requests.after.parts["max_num_seqs"] == pytest.approx(0.12)


def test_without_a_clock_in_all_reports_times_are_in_steps() -> None:
    before, after = a_report(), a_report(clock="steps", max_num_seqs=1)
    comparison = compare_reports([before, after])
    (requests,) = comparison.requests

    assert comparison.unit == "steps"
    assert [(each.id, each.change, each.reasons()) for each in requests.moved] == [
        ("r2", 12, [("max_num_seqs", 12)]),
        ("r1", 6, [("max_num_seqs", 6)]),
    ]
    assert figures(comparison)["ttft.mean"][1] is None


def test_the_time_to_the_first_token_has_no_decode() -> None:
    before, after = a_report(), a_report(clock="linear:base=20ms,decode=5ms")
    by_last, by_first = (compare_reports([before, after], whole=whole) for whole in ("e2e", "ttft"))

    assert by_last.requests[0].slower == 3
    assert (by_first.requests[0].equal, by_first.requests[0].moved) == (3, [])


def test_requests_are_matched_by_id_and_others_counted() -> None:
    comparison = compare_reports([a_report(3), a_report(5), a_report(2, prompt="Hello")])
    counts = [
        (each.matched, each.only_before, each.only_after, each.other_prompts, each.compared)
        for each in comparison.requests
    ]

    assert counts == [(3, 0, 2, 0, 3), (2, 1, 0, 2, 2)]


def test_no_more_requests_are_named_than_wanted() -> None:
    comparison = compare_reports([a_report(9), a_report(9, max_num_seqs=1)], most_moved=4)

    assert [each.id for each in comparison.requests[0].moved] == ["r8", "r7", "r6", "r5"]


@pytest.mark.parametrize(
    ("before", "after", "better", "verdict", "relative"),
    [
        (2.0, 1.0, "lower", "better", -0.5),
        (2.0, 3.0, "lower", "worse", 0.5),
        (2.0, 3.0, "higher", "better", 0.5),
        (2.0, 1.0, "higher", "worse", -0.5),
        (2.0, 1.0, "neutral", "changed", -0.5),
        (0.0, 1.0, "neutral", "changed", None),
        (0.1 + 0.2, 0.3, "lower", "equal", 0),
    ],
)
def test_a_change_is_better_or_worse_by_the_direction_of_its_figure(
    before: float, after: float, better: Any, verdict: str, relative: float | None
) -> None:
    change = change_of(before, after, better)

    assert (change.verdict, change.relative) == (verdict, relative)


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=12),
    st.sampled_from(
        [{"max_num_seqs": 1}, {"num_gpu_blocks": 6, "block_size": 8}, {"max_num_batched_tokens": 16}]
    ),
    st.sampled_from(["steps", "linear:base=5ms,prefill=1ms,decode=300us"]),
)
def test_the_parts_of_a_change_add_up_to_it(lengths: list[int], settings: dict[str, Any], clock: str) -> None:
    records = [a_record(f"r{n}", input_length=length, output_length=4) for n, length in enumerate(lengths)]
    reports = [report_of(records, clock, **changed) for changed in ({}, settings)]
    (requests,) = compare_reports(reports, most_moved=99).requests

    assert requests.compared == len(lengths)
    for each in requests.moved:
        assert sum(change for _, change in each.reasons()) == pytest.approx(each.change, abs=1e-9)


def a_document(**changes: Any) -> dict[str, Any]:
    return {**a_report().document, **changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": "tracesim.report/2"}, "has the schema 'tracesim.report/2'; this version reads"),
        ({"schema": 1}, "is not a report (tracesim.report/1), which tracesim replay --save-report writes"),
        ({"config": []}, "config: has another type than in a report"),
        ({"metrics": None}, "metrics: has another type than in a report"),
        ({"metrics": {"ttft": {"p99": "1"}}}, "ttft.p99: is '1'; must be a number"),
        ({"summary": {"steps": []}}, "steps: is []; must be a number"),
        ({"summary": {"queue_time_by_cause": {"kv_blocks": None}}}, "must be an object of numbers"),
        ({"summary": {"queue_time_by_cause": []}}, "must be an object of numbers"),
        ({"summary": {"queue_time_by_cause": {"kv_blocks": "1"}}}, "is '1'; must be a number"),
        ({"summary": {"steps": -1}}, "steps: is -1; must be a number >= 0 and at most 1e+18"),
        ({"summary": {"steps": 10**30}}, "must be a number >= 0 and at most 1e+18"),
        ({"requests": [1]}, "requests[0]: is not a request with an id"),
        ({"requests": [{"id": 1}]}, "requests[0]: is not a request with an id"),
        ({"requests": [{"id": "a"}, {"id": "a"}]}, "requests[1].id: 'a' is the id of another request, too"),
        ({"requests": [{"id": "a", "e2e": "1"}]}, "requests[0].e2e: is '1'; must be a number"),
        ({"requests": [{"id": "a", "queue_time_by_cause": 1}]}, "requests[0].queue_time_by_cause: must be"),
    ],
)
def test_what_no_report_has_is_refused_with_its_place(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ReportError) as raised:
        checked_report("r.json", a_document(**changes))

    assert str(raised.value).startswith("r.json: ")
    assert message in str(raised.value)


@pytest.mark.parametrize("member", ["config", "summary", "requests"])
def test_a_report_has_all_its_parts(member: str) -> None:
    document = a_document()
    del document[member]

    with pytest.raises(ReportError) as raised:
        checked_report("r.json", document)

    assert str(raised.value) == f"r.json: {member}: is missing"


def test_a_report_without_members_that_came_later_is_read() -> None:
    """An old report has no scheduled steps: nothing can be compared of its requests."""
    rows = [{"id": "r0", "arrival_step": 0, "first_token_step": 1, "last_token_step": 2}]
    old = checked_report("a", {"schema": "tracesim.report/1", "config": {}, "summary": {}, "requests": rows})
    comparison = compare_reports([old, a_report(clock="steps")])
    (requests,) = comparison.requests

    assert (requests.matched, requests.compared, requests.before) == (1, 0, None)


def test_a_file_that_is_no_json_is_no_report(tmp_path: Path) -> None:
    path = tmp_path / "broken.json"
    path.write_text(json.dumps(a_document())[:-1])

    with pytest.raises(ReportError) as raised:
        read_report(path)

    assert "is not JSON" in str(raised.value)
