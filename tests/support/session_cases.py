"""Sessions for tests: one worked out by hand, and random ones."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any

from hypothesis import strategies as st

from factories import a_record
from tracesim import TraceRecord

BY_HAND: Sequence[TraceRecord] = [
    a_record(name, session_id=name[0], hash_block_size=4, **fields)
    for name, fields in {
        "a1": {"input_length": 8, "output_length": 5, "hash_ids": (1, 2), "arrival_time": 0.0},
        "b1": {"input_length": 6, "output_length": 3, "hash_ids": (1, 21), "arrival_time": 1.0},
        "b2": {"input_length": 10, "output_length": 1, "hash_ids": (1, 22, 23), "delay": 1.0},
        "a2": {"input_length": 16, "output_length": 3, "hash_ids": (1, 2, 3, 4), "delay": 2.0},
        "b3": {"input_length": 12, "output_length": 1, "hash_ids": (1, 22, 24), "delay": 2.5},
        "a3": {"input_length": 22, "output_length": 1, "hash_ids": (1, 2, 3, 4, 5, 6), "delay": 0.5},
    }.items()
]
"""Two sessions of three turns, which share the first four tokens of their prompts."""

BY_HAND_SETTINGS: dict[str, Any] = {"engine": "vllm-v1", "enable_prefix_caching": True, "block_size": 4}


@st.composite
def random_sessions(draw: st.DrawFn) -> list[TraceRecord]:
    """Return records of up to five sessions whose turns are mixed, some of which wait for other sessions.

    The hash ids of a turn begin with those of the turn before it.
    """
    new_id = count(100).__next__
    records: list[TraceRecord] = []
    ids: dict[str, list[int]] = {}
    for number in range(draw(st.integers(1, 12))):
        session = draw(st.sampled_from([None, "p", "q", "r", "s"]))
        hash_ids = ids.get(session or "", [1])
        hash_ids = hash_ids + [new_id() for _ in range(draw(st.integers(0, 3)))]
        after = None
        if records and draw(st.integers(0, 3)) == 0:
            after = tuple({draw(st.sampled_from(records)).id for _ in range(2)})
        if session is not None:
            ids[session] = hash_ids
        records.append(
            a_record(
                f"r{number}",
                input_length=4 * len(hash_ids) - draw(st.integers(0, 3)),
                output_length=draw(st.integers(1, 9)),
                hash_ids=tuple(hash_ids),
                hash_block_size=4,
                session_id=session,
                after=after,
                delay=None
                if session is None and after is None
                else draw(st.sampled_from([None, 0.0, 0.3, 2.0])),
                arrival_time=draw(st.sampled_from([None, 0.0, 0.5, 1.0, 3.7])),
            )
        )
    return records


def predecessors(records: Sequence[TraceRecord]) -> dict[str, Sequence[str]]:
    """Return for each record the ids of the requests that it waits for."""
    last: dict[str, str] = {}
    found: dict[str, Sequence[str]] = {}
    for record in records:
        before = last.get(record.session_id) if record.session_id is not None else None
        found[record.id] = record.after if record.after is not None else [before] if before else []
        if record.session_id is not None:
            last[record.session_id] = record.id
    return found
