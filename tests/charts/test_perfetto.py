"""The trace for Perfetto."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from chart_cases import CLOCK, a_crowded_engine, a_stride, chart_data_of_run
from tracesim.charts.chart_data import ChartData
from tracesim.charts.perfetto import ENGINE, SLOTS, perfetto_trace
from tracesim.charts.timeline import Timeline


def events_of(data: ChartData) -> Iterator[dict[str, Any]]:
    document = json.loads(b"".join(perfetto_trace(data)))
    assert {"displayTimeUnit", "otherData", "traceEvents"} == document.keys()
    yield from document["traceEvents"]


@pytest.mark.parametrize("clock", ["steps", CLOCK])
def test_every_event_has_what_its_kind_asks_for(clock: str) -> None:
    wanted = {"M": {"args"}, "X": {"ts", "dur", "tid"}, "C": {"ts", "args"}}
    for event in events_of(chart_data_of_run(a_crowded_engine(12, clock))):
        assert {"name", "pid", *wanted[event["ph"]]} <= event.keys()
        assert event.get("ts", 0) >= 0
        assert event.get("dur", 0) >= 0
        if event["ph"] == "C":
            assert all(isinstance(value, int) for value in event["args"].values())


def test_slices_of_a_track_follow_each_other_or_nest() -> None:
    tracks: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for event in events_of(chart_data_of_run(a_crowded_engine(100, CLOCK))):
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
    timeline.request("a", 0.5)
    timeline.add(a_stride(0, prefill=[("a", 5)], started=["a"], free_blocks=3), 1.0, 1.25)
    timeline.add(a_stride(1, preempted=["a"], num_decodes=1, free_blocks=5), 1.25, 1.251)
    timeline.add(a_stride(2, prefill=[("a", 6)], started=["a"], finished=["a"], free_blocks=5), 2.0, 2.5)
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


def test_a_stride_is_a_slice_with_its_number_of_steps() -> None:
    timeline = Timeline()
    timeline.add(a_stride(0, prefill=[("a", 5)], free_blocks=8), 0, 1)
    timeline.add(a_stride(1, num_decodes=1, steps=4, free_blocks=7), 1, 5)
    events = list(events_of(ChartData("one", timeline, num_blocks=10)))
    args = [(e["ts"], e["dur"], e["args"]) for e in events if e["pid"] == ENGINE and e["ph"] == "X"]
    blocks = [(e["ts"], e["args"]["blocks"]) for e in events if e["name"] == "KV blocks used"]

    assert args == [
        (0, 1000, {"step": 0, "prefill requests": 1, "prefill tokens": 5, "decode requests": 0}),
        (
            1000,
            4000,
            {"step": 1, "steps": 4, "prefill requests": 0, "prefill tokens": 0, "decode requests": 1},
        ),
    ]
    assert blocks == [(0, 2), (5000, 3)]


def test_causes_of_waiting_are_a_track() -> None:
    timeline = Timeline()
    timeline.add(a_stride(0, prefill=[("a", 5)], steps=9), 0, 9)
    timeline.causes = [(0, "token_budget"), (4, None), (6, "kv_blocks")]
    causes = [
        (event["name"], event["ts"], event["dur"])
        for event in events_of(ChartData("one", timeline))
        if event.get("cat") == "cause"
    ]

    assert causes == [("token budget", 0, 4000), ("KV blocks", 6000, 3000)]


def test_no_two_requests_are_in_one_slot_at_a_time_and_slots_are_used_again() -> None:
    stays: dict[int, list[tuple[int, int]]] = {}
    for event in events_of(chart_data_of_run(a_crowded_engine(100))):
        if event.get("cat") == "request":
            stays.setdefault(event["tid"], []).append((event["ts"], event["ts"] + event["dur"]))

    assert sum(map(len, stays.values())) == 100
    assert len(stays) < 20
    for of_slot in stays.values():
        assert all(a[1] <= b[0] for a, b in pairwise(sorted(of_slot)))


def test_without_a_clock_the_trace_has_a_note_on_what_a_step_is_shown_as() -> None:
    document = json.loads(b"".join(perfetto_trace(chart_data_of_run(settings={"engine": "x"}))))

    assert "1 step is shown as 1 ms" in document["otherData"]["time"]
    assert document["otherData"]["setting: engine"] == "x"
