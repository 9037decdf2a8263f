"""The panel of the live view: its lines at fixed widths, and what holds at every width."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from factories import a_record, an_engine
from tracesim import LLMEngine
from tracesim.engine.step_records import WaitingFor
from tracesim.engine.stride_records import StrideRecord
from tracesim_cli.terminal.lines import Fragment, plain_text
from tracesim_cli.views.panel import lane_line, lanes_that_fit, panel_lines
from tracesim_cli.views.snapshot import Lane, Meter, Phase, RunMonitor, Snapshot

LANES = (
    Lane("r1", "decode", 12, 12, 30, 60),
    Lane("r2", "prefill", 512, 1024, 0, 40),
    Lane("r3", "preempted", 0, 8, 6, 12),
    Lane("r4", "queued", 0, 8, 0, 12),
    Lane("r5", "finished", 8, 8, 12, 12, "length"),
)

REJECTED = Lane("r6", "rejected", 0, 8, 0, 12, "rejected")


def a_snapshot(**varied: Any) -> Snapshot:
    """Return a moment of a run with five requests, except for what is given."""
    usual: dict[str, Any] = {
        "step": 1234,
        "finished": 1,
        "requests": 5,
        "running": 2,
        "waiting": 2,
        "lanes": LANES,
        "hidden": 0,
        "waiting_for": WaitingFor("r3", "kv_blocks", 12, 3),
        "meters": [
            Meter("KV blocks", "KV", 117, 120),
            Meter("token budget", "budget", 513, 2048),
            Meter("running", "run", 2, 256),
        ],
        "max_num_seqs": 256,
        "time": 61.5,
        "steps_per_second": 94_214.0,
        "tokens_per_second": 793_442.0,
    }
    return Snapshot(**(usual | varied))


def shown(lines: Iterable[Iterable[Fragment]]) -> list[str]:
    return [plain_text(line).rstrip() for line in lines]


def test_the_panel_at_60_cells() -> None:
    lines = shown(panel_lines(a_snapshot(), 57, (1, 3), has_keys=True))

    assert lines == [
        "━━━━━━━━──────────────────────────────────── 1/5 requests",
        "● r1 ╍╍╍╍╍╍╍╍╍╍━━━━━━━━━━────────── decode          30/60",
        "◐ r2 ╍╍╍╍╍───────────────────────── prefill     512/1,024",
        "↺ r3 ──────────━━━━━━━━━━────────── preempted        6/12",
        "queue  r3 waits for 12 KV blocks, 3 are free; 1 behind it",
        "KV ━━━━━━ 117/120  budget ━──── 25%   run ───── 2/256",
        "step 1,234  time 61.500 s  94.2k steps/s  793k tokens/s",
        "space pause  → step  n next event  q end",
    ]


def test_the_panel_at_120_cells() -> None:
    lines = shown(panel_lines(a_snapshot(), 117, (2, 3), has_keys=True, is_paused=True))

    assert lines == [
        "━━━━━━━━━━━━━━━━━━━━──────────────────────────────────────────────────────────────────────────────────── 1/5 requests",  # noqa: E501
        "● r1 ╍╍╍╍╍╍╍╍╍╍━━━━━━━━━━────────── decode          30/60   ○ r4 ────────────────────────────── queued            0/8",  # noqa: E501
        "◐ r2 ╍╍╍╍╍───────────────────────── prefill     512/1,024   ✓ r5                                length          12/12",  # noqa: E501
        "↺ r3 ──────────━━━━━━━━━━────────── preempted        6/12",
        "queue  r3 waits for 12 KV blocks, 3 are free; 1 behind it",
        "KV blocks ━━━━━━━━━━━━━━━━━━━ 117/120  token budget ━━━───────── 513/2,048    running ───────────────────── 2/256",  # noqa: E501
        "step 1,234  time 61.500 s  94.2k steps/s  793k tokens/s              paused  space go on  → step  n next event  q end",  # noqa: E501
    ]


@pytest.mark.parametrize(
    ("waiting_for", "expected"),
    [
        (WaitingFor("r7", "kv_blocks", 12, 3), "r7 waits for 12 KV blocks, 3 are free; 1 behind it"),
        (WaitingFor("r7", "kv_blocks", 1, 0), "r7 waits for 1 KV block, 0 are free; 1 behind it"),
        (
            WaitingFor("r7", "watermark", 12, 11),
            "r7 waits for 12 KV blocks with those of the watermark, 11 are free; 1 behind it",
        ),
        (
            WaitingFor("r7", "max_num_seqs", None, None),
            "r7 waits, as max_num_seqs lets 256 requests run; 1 behind it",
        ),
        (
            WaitingFor("r7", "token_budget", None, None),
            "r7 waits, as the token budget of the step is used up; 1 behind it",
        ),
        (
            WaitingFor("r7", "chunked_prefill_off", 900, 1),
            "r7 waits for 900 tokens of the token budget, 1 is free; 1 behind it",
        ),
        (
            WaitingFor("r7", "preemption", None, None),
            "r7 waits, as a step that preempts admits none; 1 behind it",
        ),
        (None, "2 requests for the next step"),
    ],
)
def test_the_queue_says_why_its_first_request_waits(waiting_for: WaitingFor | None, expected: str) -> None:
    lines = shown(panel_lines(a_snapshot(waiting_for=waiting_for), 117, (2, 0), has_keys=False))

    assert lines[1] == f"queue  {expected}"


@pytest.mark.parametrize(
    ("lane", "expected"),
    [
        (LANES[0], "● r1 ╍╍╍╍╍╍╍━━━━━━━──────── decode          30/60"),
        (LANES[1], "◐ r2 ╍╍╍─────────────────── prefill     512/1,024"),
        (LANES[2], "↺ r3 ───────━━━━━━━──────── preempted        6/12"),
        (LANES[3], "○ r4 ────────────────────── queued            0/8"),
        (LANES[4], "✓ r5                        length          12/12"),
        (
            Lane("r6", "rejected", 0, 8, 0, 12, "rejected"),
            "✗ r6                        rejected          0/8",
        ),
    ],
)
def test_a_lane_shows_its_phase_by_signs_and_words(lane: Lane, expected: str) -> None:
    """So a phase can be seen without colours."""
    assert shown([lane_line(lane, 49, 2)]) == [expected]


def a_lane(name: str, phase: Phase, prompt: tuple[int, int], output: tuple[int, int]) -> Lane:
    return Lane(name, phase, min(prompt), max(prompt), min(output), max(output))


counts = st.integers(0, 10**9)
lanes = st.builds(
    a_lane,
    st.text(max_size=30) | st.sampled_from(["r1", "\x1b[31m", "漢字" * 9, "[red]"]),
    st.sampled_from(get_args(Phase)),
    st.tuples(counts, counts),
    st.tuples(counts, counts),
)
meters = st.builds(Meter, st.just("KV blocks"), st.just("KV"), counts, st.none() | counts)
snapshots = st.builds(
    a_snapshot,
    step=st.none() | counts,
    requests=st.just(10**6),
    finished=st.integers(0, 10**6),
    waiting=counts,
    hidden=counts,
    lanes=st.lists(st.none() | lanes, max_size=12),
    meters=st.lists(
        st.builds(Meter, st.just("KV blocks"), st.just("KV"), counts, st.none() | counts), min_size=1
    ),
    time=st.none() | st.floats(0, 1e9),
    steps_per_second=st.none() | st.floats(0, 1e9),
)


@given(snapshots, st.integers(37, 250), st.integers(1, 100), st.booleans(), st.booleans())
def test_a_panel_has_a_fixed_height_and_lines_within_the_width(
    snapshot: Snapshot, width: int, height: int, has_keys: bool, is_paused: bool
) -> None:
    places = lanes_that_fit(width, height, snapshot.requests)
    lines = shown(panel_lines(snapshot, width, places, has_keys=has_keys, is_paused=is_paused))

    assert max(map(cell_len, lines)) <= width
    assert len(lines) == 4 + places[1] + (has_keys and width < 110)
    assert [c for line in lines for c in line if unicodedata.category(c) in ("Cc", "Cf", "Cs")] == []


def test_lanes_and_the_count_of_others_make_all_active_requests() -> None:
    engine = an_engine(
        [a_record(f"r{n}", output_length=9, input_length=2) for n in range(30)], max_num_seqs=20
    )
    monitor = RunMonitor(engine, lambda: 0.0)

    def check(record: StrideRecord) -> None:
        monitor.count(record)
        snapshot = monitor.snapshot(6)
        line = shown(panel_lines(snapshot, 117, (2, 3), has_keys=False))[3]
        active = [lane for lane in snapshot.lanes if lane and lane.finish_reason is None]
        if snapshot.hidden:
            assert f"+{snapshot.running + snapshot.waiting - len(active) + 1} more" in line

        assert len(active) + snapshot.hidden == snapshot.running + snapshot.waiting

    engine.run(on_stride=check)


def lanes_over_a_run(engine: LLMEngine, number: int) -> list[list[str | None]]:
    monitor = RunMonitor(engine, lambda: 0.0)
    found: list[list[str | None]] = []

    def note(record: StrideRecord) -> None:
        monitor.count(record)
        found.append([lane.id if lane else None for lane in monitor.snapshot(number).lanes])

    engine.run(on_stride=note)
    return found


def test_an_active_request_keeps_its_lane() -> None:
    records = [a_record(f"r{n}", input_length=2, output_length=2 + n % 5) for n in range(40)]
    found = lanes_over_a_run(an_engine(records, max_num_seqs=4), 4)
    places: dict[str, set[int]] = {}
    for shown_lanes in found:
        for place, request_id in enumerate(shown_lanes):
            if request_id is not None:
                places.setdefault(request_id, set()).add(place)

    assert all(len(each) == 1 for each in places.values())
    assert set(places) == {f"r{n}" for n in range(40)}
