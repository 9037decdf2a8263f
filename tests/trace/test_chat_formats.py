"""Chats: batches of OpenAI's API and fine-tuning messages, with everything that the model wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from paths import FORMATS as SAMPLES
from trace_files import lengths, places, read, read_files, read_text, texts

BATCH = ["openai_batch.requests.jsonl", "openai_batch.responses.jsonl"]


@pytest.mark.parametrize("names", [BATCH, BATCH[::-1]])
def test_a_batch_is_joined_in_the_order_of_its_requests(names: list[str]) -> None:
    records, problems = read(*[SAMPLES / name for name in names])

    assert texts(records) == [
        ("ask-1", "Be brief.\nName a prime.", "Seven."),
        ("ask-2", "One, two,", " three."),
        ("ask-3", "Say nothing.", ""),
    ]
    assert [Path(record.file).name for record in records] == [BATCH[0]] * 3
    assert places(problems) == [("failed-request", 3, "error")]
    assert Path(problems[0].file).name == BATCH[1]


def a_request(custom_id: object, **body: object) -> str:
    return json.dumps({"custom_id": custom_id, "body": body or {"prompt": "a"}}) + "\n"


def a_response(custom_id: object, *contents: object, **more: object) -> str:
    body = {"choices": [{"message": {"content": content}} for content in contents]}
    return json.dumps({"custom_id": custom_id, "response": {"status_code": 200, "body": body}, **more}) + "\n"


@pytest.mark.parametrize(
    ("requests", "responses", "expected"),
    [
        (
            a_request("x"),
            a_response("x", "b") + a_response("y", "b"),
            [("unmatched", "2", 2, "custom_id", '"y" is the custom_id of no request')],
        ),
        (
            a_request("x") + a_request("y"),
            a_response("x", "b"),
            [("no-response", "1", 2, "custom_id", '"y" has no response, and is skipped')],
        ),
        (
            a_request(5) + a_request("x"),
            a_response("x", "b"),
            [("wrong-type", "1", 1, "custom_id", "is 5; must be a string")],
        ),
        (
            a_request("x") * 2,
            a_response("x", "b"),
            [("duplicate-id", "1", 2, "custom_id", "already the custom_id of the request in line 1")],
        ),
        (
            a_request("x"),
            a_response("x", "b") * 2,
            [("duplicate-id", "2", 2, "custom_id", "already the custom_id of the response in line 1")],
        ),
        (
            a_request("x", prompt=""),
            a_response("x", "b"),
            [("empty-prompt", "1", 1, "body", "is empty; must have at least one character")],
        ),
        (
            a_request("x", prompt=["a", "b"]),
            a_response("x", "b"),
            [("wrong-type", "1", 1, "body.prompt", "has 2 items; must be a string or a list of token ids")],
        ),
        (
            a_request("x", model="m"),
            a_response("x", "b"),
            [("missing-field", "1", 1, "body.prompt", "is missing; give messages, prompt or input")],
        ),
        (
            a_request("x", messages=[5]),
            a_response("x", "b"),
            [("wrong-type", "1", 1, "body.messages", "item 1 is 5; must be an object")],
        ),
        (
            a_request("x", messages=[{"role": "user", "content": [{"type": "image_url"}]}]),
            a_response("x", "b"),
            [("not-text", "1", 1, "body.messages", 'item 1 has a part of type "image_url"; only text can')],
        ),
        (
            a_request("x", messages=[{"role": "user"}]),
            a_response("x", "b"),
            [("missing-field", "1", 1, "body.messages", "item 1 has no content; only text can be")],
        ),
        (
            a_request("x"),
            a_response("x", 5),
            [("wrong-type", "2", 1, "response.body.choices", "has content that is 5; must be a string")],
        ),
        (
            a_request("x"),
            a_response("x"),
            [("missing-field", "2", 1, "response.body", "has no choices and no output")],
        ),
        (
            a_request("x"),
            a_response("x", "b", error={"code": "gone"}),
            [("failed-request", "2", 1, "error", 'is "gone": the request failed, and is skipped')],
        ),
        (
            json.dumps({"custom_id": "x", "url": "/v1/embeddings", "body": {"input": ["a"]}}),
            a_response("x", "b"),
            [("unsupported-request", "1", 1, "url", 'is "/v1/embeddings"; only requests to /v1/chat/comp')],
        ),
    ],
)
def test_a_batch_reports_what_is_wrong_with_a_request_or_its_response(
    requests: str, responses: str, expected: list[tuple[str, str, int, str, str]]
) -> None:
    """A problem of a response is at its place, not at that of the request."""
    _, problems = read_files(requests, responses)

    found = [each for each in problems if each.code not in ("no-final-newline", "duplicate-prompt")]
    assert [(each.code, Path(each.file).name, each.line, each.field) for each in found] == [
        each[:-1] for each in expected
    ]
    assert [each.message for each in found if expected[0][-1] in each.message] != []


CALL = {"id": "c", "type": "function", "function": {"name": "find", "arguments": '{"n": 1}'}}
ASKED = {"role": "user", "content": "a"}
USED = {"type": "tool_use", "name": "find", "input": {"n": 1}}
CALL_TEXT = '{"name": "find", "arguments": {"n": 1}}'


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"content": None, "tool_calls": [CALL]}, CALL_TEXT),
        ({"content": "", "tool_calls": [CALL, CALL]}, f"{CALL_TEXT}\n{CALL_TEXT}"),
        ({"content": "Look.", "function_call": CALL["function"]}, f"Look.\n{CALL_TEXT}"),
        (
            {"content": None, "tool_calls": [{"custom": {"name": "f", "input": {"n": 1}}}]},
            CALL_TEXT.replace("find", "f"),
        ),
        ({"content": None, "refusal": "No."}, "No."),
        ({"content": [{"type": "refusal", "refusal": "No."}]}, "No."),
        ({"content": "7", "reasoning_content": "2 and 5."}, "2 and 5.\n7"),
        ({"content": "7", "reasoning": "2 and 5."}, "2 and 5.\n7"),
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "ab"),
        ({"content": None}, ""),
    ],
)
def test_everything_that_a_model_wrote_is_in_its_answer_and_in_later_prompts(
    message: dict[str, Any], expected: str
) -> None:
    body = {"choices": [{"message": message}]}
    later = [
        {"role": "user", "content": "a"},
        {"role": "assistant", **message},
        {"role": "tool", "content": "c"},
    ]
    requests = a_request("x") + a_request("y", messages=later)
    answered = json.dumps({"custom_id": "x", "response": {"status_code": 200, "body": body}}) + "\n"

    (record, later_record), problems = read_files(requests, answered + a_response("y", "d"))

    assert record.response == expected
    assert later_record.prompt == f"a\n{expected}\nc"
    assert problems == []


def test_the_choice_with_the_lowest_index_is_replayed() -> None:
    choices = [{"index": index, "message": {"content": f"{index}"}} for index in (2, 0, 1)]
    response = {"custom_id": "x", "response": {"status_code": 200, "body": {"choices": choices}}}

    (record,), (problem,) = read_files(a_request("x"), json.dumps(response) + "\n")

    assert record.response == "0"
    assert (problem.code, problem.field) == ("other-choices", "response.body.choices")
    assert "has 3 items; the first is replayed" in problem.message


@pytest.mark.parametrize(
    ("usage", "message"),
    [
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 66,
                "completion_tokens_details": {"reasoning_tokens": 64},
            },
            "counts 64 of 66 output tokens as reasoning, whose text is not recorded; the numbers of",
        ),
        (
            {"prompt_tokens": 9, "completion_tokens": 66},
            "counts 66 output tokens, more than the recorded text",
        ),
    ],
)
def test_numbers_of_tokens_are_replayed_where_usage_counts_hidden_ones(
    usage: dict[str, object], message: str
) -> None:
    body = {"choices": [{"message": {"content": "Oak"}}], "usage": usage}
    response = {"custom_id": "x", "response": {"status_code": 200, "body": body}}

    (record,), (problem,) = read_files(a_request("x"), json.dumps(response) + "\n")

    assert (record.input_length, record.output_length, record.response) == (9, 66, None)
    assert (problem.code, Path(problem.file).name, problem.line) == ("hidden-tokens", "2", 1)
    assert message in problem.message


TALK = "The quick brown fox jumps over the lazy dog. " * 9


@pytest.mark.parametrize(
    ("prompt", "answer", "prompt_tokens", "completion_tokens", "expected"),
    [
        ("Hi", TALK, 8, 380, ["counts 380 output tokens, more than the recorded text can have"]),
        ("Hi", TALK, 8, 150, []),
        ("Hi", "3.1415926, " * 40, 8, 440, []),
        ("Hi", "\u6211\u559c\u6b22\u8fd9\u68f5\u6811" * 40, 8, 480, []),
        (TALK, "Oak", 900, 2, ["counts 900 prompt tokens, more than the recorded text can have"]),
        (TALK, "Oak", 190, 2, []),
        ("\n".join(["Hi"] * 50), "Oak", 400, 2, []),
    ],
)
def test_more_tokens_than_a_text_of_any_language_can_have_are_a_warning(
    prompt: str, answer: str, prompt_tokens: int, completion_tokens: int, expected: list[str]
) -> None:
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}
    body = {"choices": [{"message": {"content": answer}}], "usage": usage}
    request = a_request("x", messages=[{"role": "user", "content": prompt}])

    (record,), problems = read_files(
        request, json.dumps({"custom_id": "x", "response": {"status_code": 200, "body": body}}) + "\n"
    )

    assert (record.prompt, record.output_length) == (
        (None, completion_tokens) if expected else (prompt, None)
    )
    assert [problem.message.partition("; ")[0] for problem in problems] == expected


def test_the_responses_api_is_read() -> None:
    """Instructions and all items of the input are the prompt; all items of the output are the response."""
    call = {"type": "function_call", "name": "find", "arguments": '{"n": 1}'}
    given: list[object] = [
        {"role": "user", "content": [{"type": "input_text", "text": "Which tree?"}]},
        call,
        {"type": "function_call_output", "output": "an oak"},
    ]
    output: list[object] = [
        {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "Found."}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Oak."}]},
        call,
    ]
    requests = a_request("x", input=given, instructions="Be short.") + a_request("y", input="Hi")
    responses = "".join(
        json.dumps({"custom_id": name, "response": {"status_code": 200, "body": {"output": items}}}) + "\n"
        for name, items in (("x", output), ("y", output[1:2]))
    )

    records, problems = read_files(requests, responses)

    assert texts(records) == [
        ("x", f"Be short.\nWhich tree?\n{CALL_TEXT}\nan oak", f"Found.\nOak.\n{CALL_TEXT}"),
        ("y", "Hi", "Oak."),
    ]
    assert problems == []


def test_a_request_that_continues_an_earlier_response_is_replayed_by_its_numbers_of_tokens() -> None:
    output = [{"type": "message", "content": [{"type": "output_text", "text": "Oak."}]}]
    body = {"output": output, "usage": {"input_tokens": 40, "output_tokens": 2}}
    response = {"custom_id": "x", "response": {"status_code": 200, "body": body}}

    request = a_request("x", input="And now?", previous_response_id="r")
    (record,), (problem,) = read_files(request, json.dumps(response) + "\n")

    assert (record.input_length, record.output_length) == (40, 2)
    assert "counts the messages of earlier responses, too" in problem.message


def test_a_completion_may_have_token_ids_as_its_prompt() -> None:
    body = {"choices": [{"text": "b"}]}
    response = {"custom_id": "x", "response": {"status_code": 200, "body": body}}

    (record,), _ = read_files(a_request("x", prompt=[[5, 6]]), json.dumps(response) + "\n")

    assert (record.prompt_token_ids, record.response) == ((5, 6), "b")


def test_messages_are_conversations_with_all_that_the_model_wrote() -> None:
    question = "Be brief.\nWhich city has more rain, Bergen or Oslo?"
    call = '{"name": "rainfall", "arguments": {"cities": ["Bergen", "Oslo"]}}'

    records, problems = read(SAMPLES / "messages.jsonl")

    assert texts(records) == [
        ("r1", question, call),
        ("r2", f"{question}\n{call}\n2250, 740", "2250 is more than 740.\nBergen."),
        ("r3", "Name a metal.", "Tin."),
        ("r4", "One, two,", " three."),
    ]
    assert [record.session_id for record in records] == [
        *["conversation-1"] * 2,
        "conversation-2",
        "conversation-3",
    ]
    assert problems == []


@pytest.mark.parametrize("name", BATCH)
def test_a_single_file_of_a_batch_names_the_missing_one(name: str) -> None:
    _, problems = read(SAMPLES / name)

    assert places(problems) == [("unmatched", None, None)]
    assert "; give the file of the re" in problems[0].message


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ({"messages": [ASKED], "response": "b"}, ("a", "b")),
        ({"messages": [ASKED], "response": {"choices": [{"message": {"content": "b"}}]}}, ("a", "b")),
        ({"messages": [ASKED], "completion": {"role": "assistant", "content": "b"}}, ("a", "b")),
        ({"messages": [ASKED, {"role": "AI", "content": "", "thinking": "b"}]}, ("a", "b")),
        ({"messages": [ASKED, {"from": "gpt", "value": "b"}]}, ("a", "b")),
        (
            {
                "messages": [{"role": "user", "content": [USED, {"type": "text", "text": "x"}]}],
                "response": "b",
            },
            ('{"name": "find", "arguments": {"n": 1}}\nx', "b"),
        ),
        ({"conversations": [ASKED, {"role": "assistant", "content": "b"}]}, ("a", "b")),
        (
            {
                "conversations": [
                    {"from": "human", "value": "a"},
                    {"from": "gpt", "value": "b", "tool_calls": [USED]},
                ]
            },
            ("a", 'b\n{"name": "find", "arguments": {"n": 1}}'),
        ),
    ],
)
def test_other_ways_to_write_a_conversation_are_read(line: Any, expected: tuple[str, str]) -> None:
    records, problems = read_text(json.dumps(line) + "\n")

    assert [(record.prompt, record.response) for record in records] == [expected]
    assert problems == []


def test_a_request_with_an_image_is_replayed_by_its_numbers_of_tokens() -> None:
    image = [{"role": "user", "content": [{"type": "image_url"}]}]
    answer = json.loads(a_response("x", "b"))
    answer["response"]["body"]["usage"] = {"prompt_tokens": 500, "completion_tokens": 3}

    records, problems = read_files(a_request("x", messages=image), json.dumps(answer) + "\n")

    assert lengths(records) == [(500, 3, None)]
    assert [(each.code, each.line) for each in problems] == [("hidden-tokens", 1)]


def test_an_inner_key_that_is_there_twice_is_an_error() -> None:
    text = '{"messages": [{"role": "assistant", "content": "b", "content": "c"}]}\n'

    records, problems = read_text(text)

    assert records == []
    assert places(problems) == [("duplicate-key", 1, "content")]
