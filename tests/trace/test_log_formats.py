"""Logs of calls: LiteLLM's payloads and OpenTelemetry's spans, and conversations of WildChat and LMSYS."""

from __future__ import annotations

import json
from typing import Any

import pytest

from paths import FORMATS as SAMPLES
from trace_files import lengths, places, read, read_text, texts


def a_call(**fields: object) -> str:
    """A line of LiteLLM's log; a test names what it varies."""
    usual = {
        "id": "c",
        "call_type": "completion",
        "startTime": 1000.0,
        "endTime": 1001.0,
        "messages": [{"role": "user", "content": "a"}],
        "response": {"choices": [{"message": {"content": "b"}}]},
        "prompt_tokens": 1,
        "completion_tokens": 1,
    }
    return json.dumps(usual | fields) + "\n"


def a_span(start: object = "1000", end: str = "2000", **attributes: object) -> str:
    """A line with one span; attributes are written without `gen_ai.` and with `__` for a point."""
    types: dict[type, str] = {int: "int", str: "string"}
    values = [
        {"key": f"gen_ai.{name.replace('__', '.')}", "value": {f"{types[type(value)]}Value": value}}
        for name, value in attributes.items()
    ]
    span = {"spanId": "s", "startTimeUnixNano": start, "endTimeUnixNano": end, "attributes": values}
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}) + "\n"


USAGE: dict[str, Any] = {"usage__input_tokens": 1, "usage__output_tokens": 1}


def test_calls_of_litellm_are_in_the_order_in_which_they_began() -> None:
    """A call follows the latest one of its session that had ended; redacted texts leave the lengths."""
    records, problems = read(SAMPLES / "litellm.jsonl")

    assert texts(records) == [
        ("call-3", None, None),
        ("call-1", "Name a river.", "The Rhine."),
        ("call-2", "Name a river.\nThe Rhine.\nAnd a lake?", "Lake Garda."),
    ]
    assert lengths(records) == [(250, 31, 0.0), (None, None, 0.5), (None, None, 5.25)]
    assert [(each.session_id, each.after, each.delay) for each in records] == [
        (None, None, None),
        ("talk-1", None, None),
        ("talk-1", ("call-1",), 3.25),
    ]
    assert places(problems) == [
        ("failed-request", 4, "status"),
        ("other-request", 5, "call_type"),
        ("other-request", 6, "cache_hit"),
    ]


def test_a_call_that_began_while_others_ran_follows_what_had_ended() -> None:
    """Of calls that run at once, each follows the latest ended one; none follows the first before its end."""
    times = {"a": (0.0, 4.0), "b": (1.0, 3.0), "c": (5.0, 6.0), "d": (5.5, 7.0), "e": (8.0, 9.0)}
    log = "".join(
        a_call(id=name, startTime=start, endTime=end, session_id="s", messages=name)
        for name, (start, end) in times.items()
    )

    records, problems = read_text(log)

    assert [(each.id, each.session_id, each.after, each.delay) for each in records] == [
        ("a", "s", None, None),
        ("b", None, None, None),
        ("c", "s", ("a",), 1.0),
        ("d", "s", ("a",), 1.5),
        ("e", "s", ("d",), 1.0),
    ]
    assert problems == []


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"messages": "a", "response": "b"}, ("a", "b", None, None)),
        ({"messages": {"prompt": "a"}}, ("a", "b", None, None)),
        ({"messages": None}, (None, None, 1, 1)),
        ({"response": None}, (None, None, 1, 1)),
        ({"response": {"choices": [{"message": {"content": [{"type": "image"}]}}]}}, (None, None, 1, 1)),
        ({"completion_tokens": 500}, (None, None, 1, 500)),
        ({"call_type": "aresponses", "response": {"output": [{"content": "b"}]}}, ("a", "b", None, None)),
    ],
)
def test_texts_of_litellm_are_replayed_where_all_are_recorded_and_else_lengths(
    fields: dict[str, object], expected: tuple[object, ...]
) -> None:
    (record,), problems = read_text(a_call(**fields))

    assert (record.prompt, record.response, record.input_length, record.output_length) == expected
    assert [each.code for each in problems] == (["hidden-tokens"] if expected[3] == 500 else [])


def test_times_of_litellm_may_be_text() -> None:
    later = a_call(startTime="2026-06-01T00:00:02Z")
    records, _ = read_text(later + a_call(id="d", startTime="2026-06-01 00:00:00.5", messages="c"))

    assert [each.arrival_time for each in records] == [0.0, 1.5]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"startTime": "soon"}, [("bad-value", 1, "startTime")]),
        ({"messages": None, "prompt_tokens": None}, [("missing-field", 1, "prompt_tokens")]),
        ({"messages": None, "prompt_tokens": 0}, [("bad-value", 1, "prompt_tokens")]),
    ],
)
def test_what_is_wrong_with_a_call_of_litellm_is_reported(fields: dict[str, object], expected: Any) -> None:
    records, problems = read_text(a_call(**fields), trace_format="litellm")

    assert records == []
    assert places(problems)[: len(expected)] == expected


def test_spans_of_opentelemetry_have_texts_or_lengths() -> None:
    """Tools and agents are no requests; what failed and what generates no text is skipped with a warning."""
    question = "Use tools.\nIs it raining in Bergen?"
    call = '{"name": "weather", "arguments": {"city": "Bergen"}}'

    records, problems = read(SAMPLES / "opentelemetry.jsonl")

    assert texts(records) == [
        ("00000000000000b1", None, None),
        ("00000000000000a1", question, call),
        ("00000000000000a3", f"{question}\n{call}\nrain", "Yes."),
    ]
    assert lengths(records) == [(120, 30, 0.0), (None, None, 0.25), (None, None, 2.0)]
    assert [(each.session_id, each.after, each.delay) for each in records] == [
        (None, None, None),
        ("talk-1", None, None),
        ("talk-1", ("00000000000000a1",), 0.75),
    ]
    assert [each.line for each in records] == [2, 1, 1]
    assert places(problems) == [
        ("failed-request", 2, "status"),
        ("other-request", 2, "gen_ai.operation.name"),
    ]


def test_indexed_attributes_are_messages_too() -> None:
    (record,), problems = read_text(
        a_span(
            prompt__0__role="user",
            prompt__0__content="a",
            prompt__1__tool_calls__0__name="find",
            prompt__1__tool_calls__0__arguments='{"n": 1}',
            prompt__2__content="c",
            completion__0__content="d",
            usage__prompt_tokens=9,
            usage__completion_tokens=1,
        )
    )

    assert (record.prompt, record.response) == ('a\n{"name": "find", "arguments": {"n": 1}}\nc', "d")
    assert problems == []


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        (a_span(operation__name="chat"), ("missing-field", 1, "gen_ai.usage.input_tokens")),
        (a_span(**USAGE | {"usage__input_tokens": 0}), ("bad-value", 1, "gen_ai.usage.input_tokens")),
        (a_span("x", **USAGE), ("bad-value", 1, "startTimeUnixNano")),
        (a_span(operation__name="execute_tool"), ("empty-file", None, None)),
        ('{"resourceSpans": 5}\n', ("empty-file", None, None)),
    ],
)
def test_what_is_wrong_with_a_span_is_reported(
    span: str, expected: tuple[str, int | None, str | None]
) -> None:
    records, problems = read_text(span)

    assert records == []
    assert places(problems)[0] == expected


def test_a_span_with_several_answers_replays_the_first() -> None:
    answers = json.dumps([{"parts": [{"type": "text", "content": text}]} for text in "bc"])
    sent = json.dumps([{"role": "user", "content": "a"}])

    (record,), problems = read_text(a_span(input__messages=sent, output__messages=answers))

    assert (record.prompt, record.response) == ("a", "b")
    assert places(problems) == [("other-choices", 1, "gen_ai.output.messages")]


def test_conversations_of_wildchat_and_lmsys_are_sessions() -> None:
    records, problems = read(SAMPLES / "wildchat.jsonl")

    assert texts(records) == [
        ("r1", "Name a tree.", "An oak."),
        ("r2", "Name a tree.\nAn oak.\nAnd a bird?", "A wren."),
        ("r3", "Count to three.", "One, two, three."),
        ("r4", "Name a fish.", "Carp."),
        ("r5", "Name a fish.", "Cod."),
    ]
    assert [(each.session_id, each.line) for each in records] == [
        ("conversation-1", 1),
        ("conversation-1", 1),
        ("conversation-2", 2),
        ("conversation-3", 3),
        ("conversation-4", 3),
    ]
    assert problems == []


def test_what_is_wrong_with_a_conversation_is_reported() -> None:
    unanswered = '{"conversation": [{"role": "user", "content": "a"}]}\n'
    records, problems = read_text('{"conversation": 5}\n' + unanswered + "[]\n")

    assert records == []
    assert places(problems)[:3] == [
        ("wrong-type", 1, "conversation"),
        ("no-request", 2, "conversation"),
        ("not-an-object", 3, None),
    ]
