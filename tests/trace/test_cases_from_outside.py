"""Traces as people have them: each is read with the right figures, or refused in one clear sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from command_line import run
from trace_files import lengths, places, read, texts

OUTSIDE = Path(__file__).parent / "outside"
CLOCK = ("--clock", "linear:base=5ms,prefill=30us,decode=60us")
V1 = ("--engine", "vllm-v1")
FIND = '{"name": "find", "arguments": {"query": "a long argument of many tokens"}}'


def batch(name: str) -> list[Path]:
    """Return the two files of a batch."""
    return [OUTSIDE / f"{name}.requests.jsonl", OUTSIDE / f"{name}.responses.jsonl"]


def summary_of(*arguments: str | Path) -> tuple[list[str], str]:
    """Replay without an error; return the lines of the summary, with single spaces, and standard error."""
    result = run("replay", *arguments, "--format", "summary", COLUMNS="160")
    assert result.exit_code == 0, result.stderr
    return [" ".join(line.split()) for line in result.stdout.splitlines()], result.stderr


def converted(*paths: Path) -> list[dict[str, Any]]:
    """Return the records that `tracesim convert` writes."""
    return [json.loads(line) for line in run("convert", *paths, "-").stdout.splitlines()]


def test_chats_in_seconds_with_small_hash_blocks() -> None:
    """A chat that follows another is sent as long after it as it was recorded.

    It finds the 52 tokens of the other, prompt and answer, in whole blocks of 16.
    """
    records, problems = read(OUTSIDE / "bailian_seconds.jsonl")

    assert lengths(records) == [(40, 12, 0.5), (70, 8, 61.25)]
    assert [record.hash_block_size for record in records] == [16, 16]
    assert [(record.after, record.delay) for record in records] == [(None, None), (("1",), 60.75)]
    assert problems == []
    inspected = json.loads(run("inspect", OUTSIDE / "bailian_seconds.jsonl", "--format", "json").stdout)
    assert inspected["prefixes"]["found_tokens"] == 48


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "late_start.jsonl",
            [
                "virtual time 2.119 s",
                "request throughput 1.42 requests/s",
                "token throughput 28.3 output tokens/s, 877.7 total tokens/s",
                "mean concurrency 0.2 requests",
            ],
        ),
        (
            "unix_milliseconds.jsonl",
            [
                "virtual time 0.557 s",
                "request throughput 3.59 requests/s",
                "token throughput 35.9 output tokens/s, 575.0 total tokens/s",
                "mean concurrency 0.2 requests",
            ],
        ),
    ],
)
def test_figures_count_from_the_first_arrival(name: str, expected: list[str]) -> None:
    lines, _ = summary_of(OUTSIDE / name, *CLOCK, *V1)

    assert expected == [line for line in lines if line in expected]


def test_calls_and_reasoning_are_replayed() -> None:
    """The answers have about as many tokens as their `usage` counts, 66."""
    lines, _ = summary_of(*batch("hidden_tokens"))
    records, problems = read(*batch("hidden_tokens"))

    assert "tokens 21 prompt, 67 output" in lines
    assert [record.response for record in records] == [
        '{"name": "get_weather", "arguments": {"city": "Bergen"}}',
        'Let me look.\n{"name": "get_weather", "arguments": {"city": "Narvik"}}',
        "Two and five are added. The sum of two and five is seven, so the answer is seven.\n7",
    ]
    assert problems == []


def test_an_answer_without_content_is_its_call_or_its_refusal() -> None:
    records, problems = read(*batch("null_content"))

    assert texts(records) == [
        ("u-1", "Open the door", '{"name": "open_door", "arguments": {}}'),
        ("u-2", "Do a bad thing", "I can't help with that."),
        ("u-3", "Name a colour", "Blue"),
    ]
    assert problems == []


def test_the_first_timestamp_may_be_in_a_later_line() -> None:
    records = converted(OUTSIDE / "late_timestamp.jsonl")

    times = [(each.get("arrival_time"), each.get("delay")) for each in records]
    assert times == [(None, None), (None, 0.5), (90.0, None)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("infinite_rate.jsonl", [(10, 5), (20, 6)]),
        ("vidur_columns.csv", [(374, 44), (396, 109)]),
        ("quoted_header.csv", [(472, 18)]),
    ],
)
def test_files_of_other_tools_are_read_without_a_flag(name: str, expected: list[tuple[int, int]]) -> None:
    """A rate that is infinite, columns of Vidur, and a quoted header."""
    records, problems = read(OUTSIDE / name)

    assert [(record.input_length, record.output_length) for record in records] == expected
    assert problems == []


def test_whole_floats_are_numbers_of_tokens_and_a_failed_row_is_skipped() -> None:
    records, problems = read(OUTSIDE / "float_tokens.csv")

    assert lengths(records) == [(472, 18, 5.0)]
    assert places(problems) == [
        ("decimal-length", 2, "Request tokens"),
        ("decimal-length", 2, "Response tokens"),
        ("failed-request", 3, "Response tokens"),
    ]


@pytest.mark.parametrize(("name", "count"), [("array_of_records.json", 2), ("packed.jsonl.bz2", 3)])
def test_an_array_and_bzip2_are_read(name: str, count: int) -> None:
    result = run("validate", OUTSIDE / name, "--ignore", "duplicate-prompt")

    assert (0, f"{count} records, no problems") == (result.exit_code, result.stdout.strip().split(": ")[-1])


def test_a_conversation_that_begins_with_an_answer_is_replayed_from_the_next_one() -> None:
    lines, notes = summary_of(OUTSIDE / "split_conversations.json")

    assert "requests 2: 2 stop" in lines
    assert "turn 1 answers nothing; it is skipped" in notes


def test_conversations_without_an_answer_are_counted() -> None:
    lines, notes = summary_of(OUTSIDE / "preference_pairs.json")

    assert "requests 1: 1 stop" in lines
    assert notes == "tracesim: skipped 2 conversations without an answer to replay\n"
    assert run("convert", OUTSIDE / "preference_pairs.json", "-").stderr == notes


@pytest.mark.parametrize(("engine", "skipping"), [("vllm-v0", []), ("vllm-v1", ["--skip-invalid"])])
def test_what_can_never_run_is_in_no_figure(engine: str, skipping: list[str]) -> None:
    limits = ("--engine", engine, "--max-model-len", "100", "--clock", "constant:1s", *skipping)

    lines, notes = summary_of(OUTSIDE / "over_the_limit.jsonl", *limits)

    assert "tokens 105 prompt, 10 output" in lines
    assert "request throughput 0.40 requests/s" in lines
    assert "token throughput 2.0 output tokens/s, 23.0 total tokens/s" in lines
    if skipping:
        assert "skipped 2 invalid of 4 records" in notes
    else:
        assert "requests 4: 1 length, 1 stop, 2 rejected: can never run" in lines
        assert "long1 rejected 0 tokens" in lines


def test_every_record_that_can_never_run_is_found(tmp_path: Path) -> None:
    long = (11, 1101, 1401)
    trace = tmp_path / "trace.jsonl"
    sizes = [5000 if number in long else 8 for number in range(1, 1501)]
    trace.write_text("".join([f'{{"input_length": {size}, "output_length": 2}}\n' for size in sizes]))

    result = run("replay", trace, *V1, "--max-model-len", "1000")

    found = [line.split(":")[2] for line in result.stderr.splitlines() if "[cannot-run]" in line]
    assert found == [str(number) for number in long]
    assert "3 of 1,500 records can never run" in result.stderr
    assert "tracesim validate" not in result.stderr


def test_no_command_is_named_that_cannot_show_the_others(tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    trace.write_text('{"input_length": 5000, "output_length": 2}\n' * 12)

    result = run("replay", trace, *V1, "--max-model-len", "1000", COLUMNS="160")

    assert "... and 7 more [cannot-run]\n" in result.stderr


def test_the_recorded_text_counts_where_a_tokenizer_does_not_spell_it() -> None:
    tokenizer = ("--tokenizer", OUTSIDE / "lossy.tokenizer.json")

    lines, notes = summary_of(OUTSIDE / "lossy.jsonl", *tokenizer)

    assert lines[-2:] == ['a stop "STOP" "The quick "', 'b stop "ok 👍 done"']
    assert "2 records are not spelled back by this tokenizer" in notes


def test_a_turn_is_sent_its_delay_after_the_turn_before_has_finished() -> None:
    """The first turn arrives at 1 s and has 20 tokens of 0.1 s, so the second arrives at 1 + 2 + 2 s."""
    path = OUTSIDE / "session_delay.jsonl"
    records, problems = read(path)
    replayed = run("replay", path, "--clock", "constant:100ms", *V1, "--format", "json")

    assert [(each.session_id, each.arrival_time, each.delay) for each in records] == [
        ("s", 1.0, None),
        ("s", None, 2.0),
    ]
    assert problems == []
    assert [each["arrival_time"] for each in json.loads(replayed.stdout)["requests"]] == [1.0, 5.0]
    assert replayed.stderr == ""


@pytest.mark.parametrize("order", [1, -1])
def test_files_of_one_trace_are_in_any_order(order: int) -> None:
    records, problems = read(*[OUTSIDE / "azure_code.csv", OUTSIDE / "azure_conv.csv"][::order])

    assert sorted(lengths(records), key=str) == [(100, 4, 0.0), (374, 4, 77.0), (90, 4, 78.0)]
    assert problems == []


def test_an_id_that_is_taken_is_named_with_the_line_that_has_it() -> None:
    _, (problem,) = read(*batch("duplicate_id"))

    assert (problem.code, problem.line) == ("duplicate-id", 2)
    assert problem.message == '"d-1" is already the custom_id of the request in line 1'


def test_the_responses_api_is_read() -> None:
    """The text of the reasoning is not recorded, so its request is replayed by its numbers of tokens."""
    records, problems = read(*batch("responses_api"))

    assert lengths(records) == [(12, 66, None), (None, None, None)]
    assert texts(records)[1] == ("a-2", "Name a river", "Rhine")
    assert places(problems) == [("hidden-tokens", 1, "response.body.usage")]


def test_keys_that_stand_twice_are_found() -> None:
    records, problems = read(OUTSIDE / "duplicate_keys.jsonl")

    assert records == []
    assert places(problems) == [("duplicate-key", 1, "response"), ("duplicate-key", 1, "max_tokens")]


def test_calls_in_a_history_are_in_the_prompt_whatever_stands_beside_them() -> None:
    records, problems = read(*batch("tool_history"))

    assert texts(records) == [("h-1", f"x\n{FIND}\n42", "Done."), ("h-2", f"y\n{FIND}\n42", "Done.")]
    assert problems == []


def test_messages_are_read() -> None:
    records, problems = read(OUTSIDE / "messages.jsonl")

    assert texts(records) == [("r1", "Be brief.\nHi", "Hello")]
    assert problems == []


def test_a_request_without_a_response_is_skipped() -> None:
    records, problems = read(*batch("no_error_file"))

    assert [record.id for record in records] == ["k-1"]
    assert places(problems) == [("no-response", 2, "custom_id")]
    assert problems[0].severity == "warning"
