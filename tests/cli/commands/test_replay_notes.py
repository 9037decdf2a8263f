"""What a replay does not do as the trace or the options have it, in a note for each."""

from typing import Any

import pytest

from factories import a_record
from tracesim.config import SessionMode
from tracesim.timing.arrival_process import ArrivalProcess, parse_arrivals
from tracesim_cli.commands.replay_notes import RecordCounts, notes_on

TIMED, STEPPED = {"arrival_time": 1.5}, {"arrival_step": 3}
TIMES_IGNORED = "arrival times of 1 record are ignored, as there is no --clock: all requests arrive at step 0"
STEPS_IGNORED = (
    "arrival_step of 1 record is ignored, as there is a --clock: these requests arrive at the start"
)
SPEEDUP_IGNORED = "--speedup is ignored: no request has an arrival that it could change"
FOLLOWS = (
    "1 request with an arrival time waits for others to finish; --sessions recorded replays the times of the "
    "trace"
)
DELAY_IN_STEPS = "delay of 1 record counts steps, as there is no --clock"
FOLLOWERS = (
    "arrival times of 1 record are ignored, as there is no --clock: those that wait for no other arrive at "
    "step 0"
)
SEED_IGNORED = "--seed is ignored: no arrivals are random; --arrivals poisson:RATE makes them so"


@pytest.mark.parametrize(
    ("fields", "arrivals", "has_clock", "notes"),
    [
        (TIMED, parse_arrivals("trace"), True, []),
        (TIMED, parse_arrivals("trace"), False, [TIMES_IGNORED]),
        (TIMED, parse_arrivals("asap"), False, []),
        (STEPPED, parse_arrivals("trace"), False, []),
        (STEPPED, parse_arrivals("trace"), True, [STEPS_IGNORED]),
        (STEPPED, parse_arrivals("closed:2"), True, []),
        (TIMED, parse_arrivals("trace", speedup=2), True, []),
        (TIMED, parse_arrivals("trace", speedup=2), False, [TIMES_IGNORED, SPEEDUP_IGNORED]),
        (STEPPED, parse_arrivals("trace", speedup=2), False, []),
        (STEPPED, parse_arrivals("trace", speedup=2), True, [STEPS_IGNORED, SPEEDUP_IGNORED]),
        ({}, parse_arrivals("constant:3", speedup=2), False, []),
        ({}, parse_arrivals("poisson:3", speedup=2, seed=7), True, []),
        (TIMED, parse_arrivals("closed:2", speedup=2), True, [SPEEDUP_IGNORED]),
        (TIMED, parse_arrivals("asap", speedup=2), True, [SPEEDUP_IGNORED]),
        (TIMED, parse_arrivals("trace", seed=7), True, [SEED_IGNORED]),
        ({}, parse_arrivals("constant:3", seed=7), True, [SEED_IGNORED]),
    ],
)
def test_notes_on_arrivals_name_what_is_ignored(
    fields: dict[str, Any], arrivals: ArrivalProcess, has_clock: bool, notes: list[str]
) -> None:
    counts = RecordCounts()
    counts.add(a_record("r1", **fields), None)

    assert notes == list(notes_on(counts, arrivals, has_clock=has_clock))


@pytest.mark.parametrize(
    ("turns", "sessions", "has_clock", "notes"),
    [
        ([{"session_id": "s"}, {"session_id": "t", **TIMED}], "follow", True, []),
        ([{"session_id": "s"}, {"session_id": "s", **TIMED}], "follow", True, [FOLLOWS]),
        ([{"session_id": "s"}, {"session_id": "s", **TIMED}], "recorded", True, []),
        ([{"session_id": "s"}, {"session_id": "s", "delay": 1.0}], "follow", True, []),
        ([{"session_id": "s"}, {"session_id": "s", "delay": 1.0}], "follow", False, [DELAY_IN_STEPS]),
        ([{"session_id": "s"}, {"session_id": "s", "delay": 1.0}], "ignore", False, []),
        ([{}, {"after": ("r0",), **TIMED}], "follow", True, [FOLLOWS]),
        ([{"session_id": "s"}, {"session_id": "s", "after": (), **TIMED}], "follow", True, []),
        (
            [{"session_id": "s"}, {"session_id": "s", **TIMED}],
            "follow",
            False,
            [FOLLOWERS],
        ),
    ],
)
def test_notes_on_turns_name_what_decides_their_arrivals(
    turns: list[dict[str, Any]], sessions: SessionMode, has_clock: bool, notes: list[str]
) -> None:
    counts = RecordCounts()
    for at, fields in enumerate(turns):
        counts.add(a_record(f"r{at}", **fields), None)

    assert notes == list(notes_on(counts, ArrivalProcess(sessions=sessions), has_clock=has_clock))
