"""Sessions of agents: who waits for whom and for how long, and which prompt tokens are shared."""

from __future__ import annotations

import json
from itertools import chain
from typing import Any

import pytest

from paths import FORMATS as SAMPLES
from trace_files import lengths, places, read, read_files, read_text


def test_weka_has_sessions_with_sub_agents() -> None:
    """A request waits for the one before it and for sub-agents that have ended; `t` of one is its end."""
    records, problems = read(SAMPLES / "weka.json")

    assert [(each.id, each.session_id, each.after, each.delay) for each in records] == [
        ("session_a/1", "session_a", None, None),
        ("session_a/agent_001/1", "session_a/agent_001", ("session_a/1",), 0.5),
        ("session_a/agent_001/2", "session_a/agent_001", ("session_a/agent_001/1",), 3.0),
        ("session_a/2", "session_a", ("session_a/1", "session_a/agent_001/2"), 4.0),
        ("session_a/3", "session_a", ("session_a/2",), 6.75),
    ]
    assert lengths(records) == [(40, 6, 0.0), (32, 4, 2.0), (50, 8, 6.0), (64, 5, 12.0), (70, 3, 20.0)]
    assert [each.line for each in records] == [1, 2, 3, 4, 5]
    assert problems == []


def test_hash_ids_of_weka_are_shared_in_a_session_and_whole_prompts_have_them() -> None:
    """Prompt tokens after the last whole block get an id of their own."""
    text = (SAMPLES / "weka.json").read_text()
    records, _ = read_files(text, text.replace("session_a", "session_b"))

    assert [each.hash_block_size for each in records] == [16] * 10
    first, agent, agent_later, second, third = [each.hash_ids or () for each in records[:5]]
    assert (first[:1], first[:2], second[:4]) == (agent[:1], second[:2], third[:4])
    assert agent[:2] == agent_later[:2]
    assert [len(each) for each in (first, agent, agent_later, second, third)] == [3, 2, 4, 4, 5]
    assert {first[2], agent_later[3], third[4]} & {*agent, *second} == set()
    in_a, in_b = ({*chain(*[each.hash_ids or () for each in part])} for part in (records[:5], records[5:]))
    assert in_a & in_b == set()


@pytest.mark.parametrize(
    ("marker", "first", "expected"),
    [
        ({"t": 9.5, "duration_ms": 7500}, 0.0, 2.0),  # `t` is its end, its requests count from its start
        ({"t": 9.5, "duration_ms": 7500}, 2.0, 2.0),  # its requests count from the start of the session
        ({"t": 2.0, "duration_ms": 7500}, 0.0, 2.0),  # `t` is its start
        ({"t": 2.0}, 0.0, 2.0),
        ({"t": 2.0}, 2.5, 2.5),
    ],
)
def test_times_of_a_sub_agent_count_from_its_start_or_from_that_of_the_session(
    marker: dict[str, float], first: float, expected: float
) -> None:
    session = json.loads((SAMPLES / "weka.json").read_bytes())
    session["requests"][0]["t"] = 1.0
    agent = session["requests"][1]
    del agent["duration_ms"]
    agent.update(marker)
    for number, request in enumerate(agent["requests"]):
        request["t"] = first + number

    records, _ = read_text(json.dumps(session))

    assert [each.arrival_time for each in records[1:3]] == [expected, expected + 1]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"requests": 5}, [("wrong-type", 1, "requests")]),
        ({"block_size": 0}, [("wrong-type", 1, "block_size")]),
        ({"requests": [5]}, [("wrong-type", 1, "requests")]),
        ({"requests": [{"t": -1, "in": 5, "out": 1}]}, [("bad-value", 1, "t")]),
        ({"requests": [{"t": 0, "in": 5, "out": 1, "hash_ids": [1, 2]}]}, [("hash-count", 1, "hash_ids")]),
        ({"requests": [{"t": 0, "in": "x", "out": 1}]}, [("wrong-type", 1, "in")]),
    ],
)
def test_what_is_wrong_with_a_session_of_weka_is_reported(change: Any, expected: Any) -> None:
    session = {"block_size": 16, "requests": [{"t": 0, "in": 5, "out": 1}], **change}

    records, problems = read_text(json.dumps(session), trace_format="weka")

    assert records == []
    assert places(problems) == expected


def test_rounds_of_tracelab_follow_each_other_in_the_order_of_their_times() -> None:
    """A round is sent at its last input event; the time since the end of the round before is its delay."""
    records, problems = read(SAMPLES / "tracelab.jsonl")

    assert [(each.id, each.session_id, each.arrival_time, each.delay) for each in records] == [
        ("codex:s2/0", "codex:s2", 0.0, None),
        ("claude:s1/0", "claude:s1", 0.5, None),
        ("claude:s1/1", "claude:s1", 4.9, 0.9),
    ]
    assert [(each.input_length, each.output_length) for each in records] == [(64, 7), (300, 40), (400, 25)]
    assert problems == []


def test_cached_tokens_of_tracelab_are_shared_with_the_round_before() -> None:
    records, _ = read(SAMPLES / "tracelab.jsonl")

    other, first, second = [each.hash_ids or () for each in records]
    assert [each.hash_block_size for each in records] == [64] * 3
    assert (len(other), len(first), len(second)) == (1, 5, 7)
    assert first[:4] == second[:4]
    assert {*other, *first} & {*second[4:]} == set()


def test_what_is_wrong_with_a_round_of_tracelab_is_reported() -> None:
    records, problems = read_text(
        '{"session_id": "a", "round_index": 0, "input_tokens_total": 0, "output_tokens": 1}\n'
        '{"session_id": 5, "round_index": 0, "input_tokens_total": 1, "output_tokens": 1}\n'
        '{"session_id": "a", "round_index": 1, "input_tokens_total": 1, "output_tokens": null}\n'
        '{"round_index": 1, "input_tokens_total": 1, "output_tokens": 1, '
        '"timing_events": [{"timestamp": "x"}]}\n'
        "[]\n",
    )

    assert records == []
    assert places(problems) == [
        ("bad-value", 1, "input_tokens_total"),
        ("wrong-type", 2, "session_id"),
        ("missing-field", 3, "output_tokens"),
        ("bad-value", 4, "timing_events"),
        ("not-an-object", 5, None),
    ]
