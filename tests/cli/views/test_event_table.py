"""The folded table: a line for each row, within the width, that has its events or counts them."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tracesim.engine.step_records import CachedTokens, FinishedRequest, ScheduledTokens, WaitingFor
from tracesim.scheduler import CAUSES
from tracesim_cli.terminal.lines import plain_text
from tracesim_cli.views.event_table import EventTable
from tracesim_cli.views.folding import FoldedRow


def a_row(**varied: Any) -> FoldedRow:
    """Return a row of 13 steps in which 200 requests decode, except for what is given."""
    usual: dict[str, Any] = {
        "first": 10_762,
        "last": 10_774,
        "num_decodes": 200,
        "num_emitted": 2600,
        "waiting": 0,
        "waiting_for": None,
        "prefill": [],
        "start": 61.5,
        "duration": 0.13,
    }
    return FoldedRow(**(usual | varied))


def shown(width: int, row: FoldedRow, **settings: bool) -> str:
    return plain_text(EventTable(width, **settings).row_fragments(row))


EVENTS = a_row(
    prefill=[ScheduledTokens("r7", 0, 512), ScheduledTokens("r8", 64, 100)],
    cached=[CachedTokens("r8", 64)],
    started=["r7"],
    finished=[FinishedRequest("r1", "stop", None)],
    preempted=["r5"],
    preempted_for=["r2"],
    waiting=4,
    waiting_for=WaitingFor("r5", "preemption", None, None),
)


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (60, "10,762-10,774  61.500s      200  r5 preempted  r1 stop +3"),
        (80, "  10,762-10,774      13    61.500s    130ms      200  r5 preempted  r1 stop +3"),
        (
            120,
            "  10,762-10,774      13    61.500s    130ms      200    2,600"
            "  r7:512 +2        r5 preempted  r1 stop  r5 preemption +3",
        ),
        (
            200,
            "  10,762-10,774     13 steps    61.500s    130ms      200    2,600"
            "  r7:512 r8:100~64 >r7                     r1 stop"
            "                            r5 for r2             r5 preemption +3",
        ),
    ],
)
def test_a_row_at_different_widths(width: int, expected: str) -> None:
    assert shown(width, EVENTS, finite_blocks=True, has_clock=True) == expected


def test_steps_that_are_folded_are_a_range_with_their_number() -> None:
    assert shown(160, a_row()).split("  ")[1:4] == ["10,762-10,774", "", " 13 steps"]


ids = st.text(max_size=30) | st.sampled_from(["r1", "x" * 9_000, "[red]", "\x1b[31m", "漢字" * 20, "+9"])
reasons = st.builds(FinishedRequest, ids, st.sampled_from(["stop", "length"]), st.none() | ids)
causes = st.builds(WaitingFor, ids, st.sampled_from(CAUSES), st.none(), st.none())
rows = st.builds(
    a_row,
    first=st.integers(0, 10**12),
    last=st.integers(10**12, 10**13),
    num_decodes=st.integers(0, 10**9),
    num_emitted=st.integers(0, 10**12),
    prefill=st.lists(
        st.builds(ScheduledTokens, ids, st.integers(0, 10**9), st.integers(1, 10**9)), max_size=5
    ),
    started=st.lists(ids, max_size=5),
    finished=st.lists(reasons, max_size=5),
    preempted=st.lists(ids, max_size=5),
    waiting=st.integers(1, 10**6),
    waiting_for=st.none() | causes,
    start=st.none() | st.floats(0, 10**9),
    duration=st.none() | st.floats(0, 10**6),
)


@given(rows, st.integers(40, 250), st.booleans(), st.booleans())
def test_a_row_is_one_printable_line_within_the_width(
    row: FoldedRow, width: int, finite_blocks: bool, has_clock: bool
) -> None:
    line = shown(width, row, finite_blocks=finite_blocks, has_clock=has_clock)

    assert cell_len(line) <= width
    assert [char for char in line if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")] == []


@given(st.integers(0, 9), st.integers(0, 9), st.integers(40, 250), st.booleans())
def test_no_event_is_lost_without_a_count(finished: int, preempted: int, width: int, has_clock: bool) -> None:
    """The ids in the columns of events and the counts after them add up."""
    row = a_row(
        finished=[FinishedRequest(f"f{n}", "stop", None) for n in range(finished)],
        preempted=[f"p{n}" for n in range(preempted)],
    )
    line = shown(width, row, finite_blocks=True, has_clock=has_clock)
    counted = sum(int(number) for number in re.findall(r" \+(\d+)", line))

    assert len(re.findall(r"\b[fp]\d\b", line)) + counted == finished + preempted
