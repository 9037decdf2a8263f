"""What a replay does not do as the trace or the options have it, in a note for each."""

from typing import Any

import pytest

from factories import a_record
from tracesim.timing.arrival_process import ArrivalProcess, parse_arrivals
from tracesim_cli.commands.replay_notes import RecordCounts, notes_on

TIMED, STEPPED = {"arrival_time": 1.5}, {"arrival_step": 3}
TIMES_IGNORED = "arrival times of 1 record are ignored, as there is no --clock: all requests arrive at step 0"
STEPS_IGNORED = (
    "arrival_step of 1 record is ignored, as there is a --clock: these requests arrive at the start"
)
SPEEDUP_IGNORED = "--speedup is ignored: no request has an arrival that it could change"
ALONE = "session_id, after and delay of 1 record are ignored: each request arrives by itself"
EARLY = f"{ALONE}, and those without an arrival time (1) at the start"
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
    ("turns", "notes"),
    [
        ([{"session_id": "s"}, {"session_id": "t"}], []),
        ([{"session_id": "s"}, {"session_id": "s", "arrival_time": 1.0}], [ALONE]),
        (
            [{"session_id": "s"}, {"session_id": "s"}],
            [EARLY],
        ),
        ([{"session_id": "s", "delay": 1.0, "arrival_time": 1.0}], [ALONE]),
        ([{}, {"after": ("r0",), "arrival_time": 1.0}], [ALONE]),
    ],
)
def test_requests_that_would_wait_for_others_are_counted(
    turns: list[dict[str, Any]], notes: list[str]
) -> None:
    counts = RecordCounts()
    for at, fields in enumerate(turns):
        counts.add(a_record(f"r{at}", **fields), None)

    assert notes == list(notes_on(counts, parse_arrivals("trace"), has_clock=True))
