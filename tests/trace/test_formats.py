"""Other formats: detected from content, read into the same records, refused with the same messages."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from command_line import run
from paths import FORMATS as SAMPLES
from trace_files import lengths, places, read, read_files, read_text, texts
from tracesim.errors import ConfigError, TraceProblem
from tracesim.trace.formats import FORMATS
from tracesim.trace.formats.detection import format_of_text
from tracesim.trace.formats.json_objects import JSONObject, json_objects
from tracesim.trace.input_file import InputFile
from tracesim.trace.problems import ERRORS, WARNINGS
from tracesim.trace.reader import TraceReader, read_trace, read_with

CSV = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
BURST = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["mooncake.jsonl"], "mooncake"),
        (["azure.csv"], "azure"),
        (["bailian.jsonl"], "bailian"),
        (["burstgpt.csv"], "burstgpt"),
        (["vidur.csv"], "vidur"),
        (["llmservingsim.jsonl"], "llmservingsim"),
        (["sharegpt.json"], "sharegpt"),
        (["messages.jsonl"], "messages"),
        (["weka.json"], "weka"),
        (["tracelab.jsonl"], "tracelab"),
        (["litellm.jsonl"], "litellm"),
        (["opentelemetry.jsonl"], "opentelemetry"),
        (["wildchat.jsonl"], "wildchat"),
        (["openai_batch.requests.jsonl", "openai_batch.responses.jsonl"], "openai-batch"),
        (["vllm_bench.json"], "vllm-bench"),
    ],
)
def test_the_format_is_detected_from_the_content(names: list[str], expected: str) -> None:
    reader = TraceReader()
    items = list(read_with(reader, [SAMPLES / name for name in names]))

    assert {expected} == set(reader.formats.values())
    assert [item for item in items if isinstance(item, TraceProblem) and item.severity == "error"] == []
    assert items == list(read_trace([SAMPLES / name for name in names], trace_format=expected))


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"{",
        b"[1]",
        b'{"prompt": "name \\"timestamp\\": 1 and \\"input_length\\": 2", "response": "',
        b'{"input_length": 1, "output_length": 1, "timestamp": 5, "arrival_step": 3}',
        b'{"custom_id": "x", "prompt": "a", "response": "b"}',
        b'{"conversations": 1, "prompt": "a", "response": "b"}',
        b'{"prompt": "a", "response": "b", "meta": {"input_lens": [], "output_lens": []}}',
    ],
)
def test_a_file_without_signs_of_another_format_is_read_as_a_trace_of_tracesim(head: bytes) -> None:
    assert format_of_text(head) == "tracesim"


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b'\n[\n  {"id": "x", "conversations": [{"from": "human", "value": "a', "sharegpt"),
        (b'{"conversations": [', "sharegpt"),
        (b'{\n  "date": "x",\n  "input_lens": [1],\n  "output_lens": [', "vllm-bench"),
        (b'{"date": "x", "input_lens": [1, 2, 3, 4', "vllm-bench"),
        (b'{"hash_ids": [1], "timestamp": 0, "input_length": 1', "mooncake"),
        (b"GeneratedTokens,ContextTokens,TIMESTAMP\r\n", "azure"),
        (b"Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens", "burstgpt"),
    ],
)
def test_the_beginning_of_a_file_shows_its_format(head: bytes, expected: str) -> None:
    assert expected == format_of_text(head)


def test_an_unknown_format_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"'x'; must be one of tracesim, mooncake, bailian"):
        list(read_trace([], trace_format="x"))


def test_compressed_files_of_several_formats_are_one_trace(tmp_path: Path) -> None:
    azure, burst = tmp_path / "a.csv.gz", tmp_path / "b.zst"
    azure.write_bytes(gzip.compress((SAMPLES / "azure.csv").read_bytes()))
    burst.write_bytes(zstandard.compress((SAMPLES / "burstgpt.csv").read_bytes()))

    records, problems = read(azure, burst)

    assert [record.id for record in records] == ["r1", "r2", "r4", "r5", "r6", "r7", "r8"]
    assert [problem.code for problem in problems] == ["failed-request"]


def test_mooncake_has_milliseconds_and_turns_with_a_delay() -> None:
    records, problems = read(SAMPLES / "mooncake.jsonl")

    assert [record.arrival_time for record in records] == [0.0, 0.105, 0.105, 2.25, None]
    assert [record.hash_ids for record in records][:2] == [(0, 1, 2), (0, 1, 3)]
    assert [(record.session_id, record.delay) for record in records][3:] == [("s1", None), ("s1", 0.4)]
    assert problems == []


def test_a_delay_without_a_session_is_ignored_with_a_warning() -> None:
    line = b'{"timestamp": 1500, "input_tokens": 3, "output_tokens": 2, "delay": 7}\n'
    (record,), problems = read_text(line, trace_format="mooncake")

    assert (record.input_length, record.output_length, record.arrival_time, record.delay) == (3, 2, 1.5, None)
    assert places(problems) == [("no-arrival-time", 1, "delay")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"timestamp": 1732000000250, "input_length": 3, "output_length": 4}\n', None),
        ('{"timestamp": 1732000000250000, "input_length": 3, "output_length": 4}\n', "timestamp"),
        ('{"arrival_time": 1732000000250, "input_length": 3, "output_length": 4}\n', "arrival_time"),
        ('{"arrival_time": 1732000000250000000, "input_length": 3, "output_length": 4}\n', "arrival_time"),
        ('{"chat_id": 1, "timestamp": 1732000000250, "input_length": 3, "output_length": 4}\n', "timestamp"),
        ("arrived_at,num_prefill_tokens,num_decode_tokens\n1732000000250,3,4\n", "arrived_at"),
    ],
)
def test_unix_times_of_any_unit_become_seconds(text: str, expected: str | None) -> None:
    """A warning names the field where the format has another unit."""
    records, problems = read_text(text)

    assert lengths(records) == [(3, 4, 1732000000.25)]
    assert [(problem.code, problem.field) for problem in problems] == (
        [("time-unit", expected)] if expected else []
    )


@pytest.mark.parametrize(
    ("delay", "expected"), [("2000", [("time-unit", 2, "delay")]), ("2000.0", []), ("99", [])]
)
def test_a_delay_that_may_be_in_milliseconds_is_a_warning(delay: str, expected: list[Any]) -> None:
    first = '{"session_id": "s", "input_length": 3, "output_length": 4}\n'
    later = f'{{"session_id": "s", "input_length": 3, "output_length": 4, "delay": {delay}}}\n'

    records, problems = read_text(first + later * 2)

    assert [record.delay for record in records] == [None, float(delay), float(delay)]
    assert places(problems) == expected


def test_a_timestamp_of_mooncake_that_may_be_in_seconds_is_a_warning() -> None:
    line = '{"timestamp": 1732000000.25, "input_length": 3, "output_length": 4}\n'

    records, problems = read_text(line * 2)

    assert [record.arrival_time for record in records] == [1732000.00025] * 2
    assert places(problems) == [("time-unit", 1, "timestamp")]


def test_a_fraction_of_a_millisecond_in_mooncake_is_a_warning_once_per_file() -> None:
    lines = [
        f'{{"timestamp": {time}, "input_length": 3, "output_length": 4}}\n' for time in (0, 2.0, 2.5, 61.25)
    ]

    records, problems = read_text("".join(lines))

    assert [record.arrival_time for record in records] == [0, 0.002, 0.0025, 0.06125]
    assert places(problems) == [("time-unit", 3, "timestamp")]


def test_the_prompt_of_mooncake_may_be_text_or_messages_beside_an_output_length() -> None:
    """The text is ignored where its length is known as well."""
    lines = [
        '{"timestamp": 0, "text_input": "Hi", "input_length": 3, "output_length": 5}',
        '{"text_input": "Hi", "output_tokens": 6, "session_id": 7}',
        '{"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}], '
        '"output_length": 5}',
        '{"timestamp": 0, "messages": [{"role": "user"}], "output_length": 5}',
        '{"timestamp": 0, "text_input": "Hi"}',
    ]

    records, problems = read_text("".join([f"{line}\n" for line in lines]))

    assert lengths(records) == [(3, 5, 0.0), (None, 6, None), (None, 5, None)]
    assert [record.prompt for record in records] == [None, "Hi", "s\nu"]
    assert [record.session_id for record in records] == [None, "7", None]
    assert places(problems) == [
        ("missing-field", 4, "messages"),
        ("missing-field", 5, "response"),
    ]


def test_a_replay_reports_what_it_ignores() -> None:
    result = run("replay", *(SAMPLES / name for name in ("mooncake.jsonl", "burstgpt.csv")))

    assert result.exit_code == 0
    assert "delay of 1 record counts steps, as there is no --clock" in result.stderr
    assert "skipped 1 request that failed when recorded" in result.stderr


def test_bailian_has_seconds_small_blocks_and_chats_that_follow_their_parent() -> None:
    records, problems = read(SAMPLES / "bailian.jsonl")

    assert lengths(records) == [(40, 12, 0.25), (16, 5, 3.5), (70, 8, 61.0), (9, 3, 64.75)]
    assert [record.hash_block_size for record in records] == [16] * 4
    assert [(record.id, record.session_id, record.after) for record in records] == [
        ("41", "41", None),
        ("42", "42", None),
        ("43", "41", ("41",)),
        ("44", "44", None),
    ]
    assert problems == []


def test_azure_has_seven_digits_and_counts_from_the_first_request(tmp_path: Path) -> None:
    """The fraction is exact over midnight, and a second file continues the first."""
    later = tmp_path / "later.csv"
    later.write_text(CSV + "2023-11-17 00:00:10.5805900,1,0\n2023-11-17T01:00:10.58059+01:00,1,0")

    records, problems = read(SAMPLES / "azure.csv", later)

    assert lengths(records) == [
        (374, 44, 0.0),
        (396, 109, 1.3194099),
        (12, 0, 1.31941),
        (1024, 8, 4.5000005),
        (1, 0, 11.9),
        (1, 0, 11.9),
    ]
    assert problems == []


def test_files_of_azure_are_in_any_order() -> None:
    """The earliest request of all files arrives at 0 s; records stay in the order of the rows."""
    code = CSV + "2023-11-16 18:17:03,374,4\n"
    conversations = CSV + "2023-11-16 18:17:04.0,90,4\n2023-11-16 18:15:46.0000000,100,4\n"

    records, problems = read_files(code, conversations)

    assert lengths(records) == [(374, 4, 77.0), (90, 4, 78.0), (100, 4, 0.0)]
    assert problems == []


def test_llmservingsim_has_token_ids_and_nanoseconds() -> None:
    records, problems = read(SAMPLES / "llmservingsim.jsonl")

    assert problems == []
    assert [(r.prompt_token_ids, r.response_token_ids, r.arrival_time) for r in records] == [
        ((5971, 2927, 220, 1032), (97554, 23977), 0.046926808),
        ((5971, 2927, 7068), (1, 2, 3), 1.5),
    ]


def test_llmservingsim_may_have_lengths_alone(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_text('{"input_toks": 4, "output_toks": 2, "arrival_time_ns": 1}\n')
    late = tmp_path / "late.jsonl"
    late.write_text('{"input_toks": 4, "output_toks": 2, "arrival_time_ns": -1}\n')

    assert lengths(read(path)[0]) == [(4, 2, 1e-9)]
    assert [problem.field for problem in read(late)[1]] == ["arrival_time_ns"]


def test_vidur_has_seconds_and_may_have_none() -> None:
    assert lengths(read(SAMPLES / "vidur.csv")[0]) == [(128, 16, 0.0), (512, 4, 0.75), (64, 32, 2.5)]
    assert lengths(read_text("num_prefill_tokens,num_decode_tokens\n5,6\n")[0]) == [(5, 6, None)]


def test_burstgpt_skips_failed_requests() -> None:
    records, problems = read(SAMPLES / "burstgpt.csv")

    assert lengths(records) == [(472, 18, 5.0), (1087, 230, 45.0), (1360, 95, 118.0)]
    assert [record.id for record in records] == ["r1", "r2", "r4"]
    assert places(problems) == [("failed-request", 4, "Response tokens")]


def test_each_answer_in_sharegpt_is_a_request_whose_prompt_is_all_before_it() -> None:
    tea, black = "How long should green tea steep?", "And black tea?"
    first = "Two minutes, in water that does not boil."

    records, problems = read(SAMPLES / "sharegpt.json")

    assert texts(records) == [
        ("r1", tea, first),
        ("r2", f"{tea}\n{first}\n{black}", "Four minutes, in water that does."),
        ("r3", "Answer in one word.\nWhat rhymes with trace?", "Pace."),
    ]
    assert [record.line for record in records] == [1, 1, 2]
    assert problems == []


def test_a_benchmark_result_has_lengths_and_times_from_its_first_request(tmp_path: Path) -> None:
    """Results that follow each other share one clock; a result may have several lines."""
    result = json.loads((SAMPLES / "vllm_bench.json").read_bytes())
    later = {"input_lens": [1], "output_lens": [2], "start_times": [1010.25]}
    path = tmp_path / "results.json"
    path.write_text(json.dumps(result, indent=1) + "\n" + json.dumps(later))

    records, problems = read(path)

    assert lengths(records) == [(32, 8, 0.0), (64, 4, 0.5), (128, 16, 2.75), (1, 2, 10.0)]
    assert [record.line for record in records] == [1, 2, 4, 5]
    assert places(problems) == [("failed-request", 3, "errors")]
    assert 'is "TimeoutError: no answer": the request failed' in problems[0].message


def test_a_benchmark_field_that_is_not_read_may_be_infinite() -> None:
    text = '{"request_rate": Infinity, "input_lens": [10, 20], "output_lens": [5, 6], "ttfts": [NaN, 0.1]}\n'

    records, problems = read_text(text + '{"input_lens": [1], "output_lens": [2]}\n')

    assert lengths(records) == [(10, 5, None), (20, 6, None), (1, 2, None)]
    assert problems == []


def test_benchmark_results_are_in_any_order() -> None:
    late = '{"input_lens": [1], "output_lens": [2], "start_times": [110.5]}'
    early = '{"input_lens": [3], "output_lens": [4], "start_times": [100.0]}'

    assert lengths(read_files(late, early)[0]) == [(1, 2, 10.5), (3, 4, 0.0)]


def chat(*turns: object) -> str:
    return json.dumps([{"conversations": list(turns)}])


def turn(who: object, value: object) -> dict[str, object]:
    return {"from": who, "value": value}


ASK = turn("human", "a")
MOON = '{"timestamp": 0, "input_length": 1, "output_length": 1}\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            MOON + '{"timestamp": -5, "input_length": 0, "output_length": 1}\n',
            [
                ("bad-value", 2, "timestamp", "is -5; must be a number of milliseconds >= 0"),
                ("bad-value", 2, "input_length", "is 0; must be an integer >= 1"),
            ],
        ),
        (
            MOON + '{"timestamp": NaN, "input_length": 1, "output_length": 1}\n[]\n{"timestamp"\n',
            [
                ("bad-value", 2, "timestamp", "is NaN; must be"),
                ("not-an-object", 3, None, "is a list; each line must be one JSON object"),
                ("invalid-json", 4, None, "is not JSON: expecting ':' delimiter at column 13"),
            ],
        ),
        (
            MOON + '{"timestamp": "1", "input_length": 600, "output_length": 1, "hash_ids": [1]}\n',
            [
                ("wrong-type", 2, "timestamp", 'is the string "1"; must be a number'),
                ("hash-count", 2, "hash_ids", "has 1 ids; must have 2"),
            ],
        ),
        (
            MOON + '{"timestamp": 1, "arrival_step": 2, "input_length": 1, "output_length": 1}\n',
            [("mixed-fields", 2, "timestamp", "cannot stand together with arrival_step")],
        ),
        (
            CSV + "2023-11-16 18:15:46,x,-1\n2023-13-16 18:15:46,1,1\n2023-11-16 18:15:45,1,1\n",
            [
                ("wrong-type", 2, "ContextTokens", 'is the string "x"; must be an integer >= 1'),
                ("bad-value", 2, "GeneratedTokens", "is -1; must be an integer >= 0"),
                ("bad-value", 3, "TIMESTAMP", 'is "2023-13-16 18:15:46"; must be a time such as'),
            ],
        ),
        (
            CSV.encode() + b'2023-11-16 18:15:46,1\n2023-11-16 18:15:46,"1,1\n\xff,1,1',
            [
                ("invalid-csv", 2, None, "has 2 columns; must have 3, as the header"),
                ("invalid-csv", 3, None, "is not CSV"),
                ("invalid-utf8", 4, None, "0xff at byte 1 of the line"),
            ],
        ),
        (
            "TIMESTAMP,ContextTokens\n1,2\n",
            [("missing-field", 1, "GeneratedTokens", "is missing in the header; it must have the columns")],
        ),
        (CSV, [("empty-file", None, None, "has no records")]),
        (
            BURST + "-1,m,0,5,5,API log\nnan,m,1,x,1,API log\n",
            [
                ("bad-value", 2, "Timestamp", 'is "-1"; must be a number of seconds >= 0'),
                ("bad-value", 2, "Request tokens", "is 0; must be an integer >= 1"),
                ("bad-value", 3, "Timestamp", 'is "nan"'),
                ("wrong-type", 3, "Response tokens", 'is the string "x"; must be an integer >= 0'),
            ],
        ),
        (
            BURST + "1,m,1,0,1,API log\n",
            [
                ("failed-request", 2, "Response tokens", "is 0: the request failed, and is skipped"),
                ("empty-file", None, None, "has no records"),
            ],
        ),
        (chat(turn("gpt", "b")), [("no-prompt", 1, "conversations", "turn 1 answers nothing"), None]),
        (
            '{"messages": [{"content": "a"}]}\n{"messages": "a"}\n'
            '{"messages": [{"role": 5, "content": "a"}]}\n',
            [
                ("wrong-type", 1, "messages", "item 1 has no role; must be a string such as user"),
                ("wrong-type", 2, "messages", 'is the string "a"; must be a list of messages'),
                ("wrong-type", 3, "messages", "item 1 has role 5; must be"),
            ],
        ),
        (chat(ASK), [("no-request", 1, "conversations", "has no turn of the assistant"), None]),
        (chat(ASK, turn("gpt", 5)), [("wrong-type", 1, "value", "of turn 2 is 5; must be a string")]),
        (
            chat(turn("alien", "a")),
            [("bad-value", 1, "from", 'of turn 1 is "alien"; must be one of ai, assistant')],
        ),
        (chat(ASK, 5), [("wrong-type", 1, "conversations", "turn 2 is 5; must be an object")]),
        (chat({"from": "gpt"}), [("missing-field", 1, "value", "is missing in turn 1")]),
        (
            '[{"id": 1}, {"conversations": 2}, 3]',
            [
                ("missing-field", 1, "conversations", "is missing; must be a list of turns"),
                ("wrong-type", 2, "conversations", "is 2; must be a list"),
                ("not-an-object", 3, None, "is 3;"),
            ],
        ),
        (chat(ASK, turn("gpt", ""))[:-1], [("invalid-json", 2, None, "the array has no end")]),
        (chat(ASK)[:-3], [("invalid-json", 1, None, "is not JSON: expecting ',' delimiter"), None]),
        (
            chat(ASK)[:-1] + " {}]",
            [("no-request", 1, "conversations", "no turn"), ("invalid-json", 2, None, "not separated"), None],
        ),
        (chat(ASK, turn("gpt", "")) + "x", [("invalid-json", 2, None, "is after the end of the array")]),
        (
            '[{"conversations": [{"from": "human", "value": "\\ud800"}]}]',
            [("lone-surrogate", 1, "conversations", "half of a surrogate pair")],
        ),
        (b'[{"conversations": "\xff"}]', [("invalid-utf8", 1, "conversations", "0xff at byte 20")]),
        (
            '{"input_lens": [0, 1], "output_lens": [1, -1], "start_times": ["x", null]}',
            [
                ("wrong-type", 1, "start_times", 'is the string "x"; must be a number of seconds'),
                ("bad-value", 1, "input_lens", "is 0; must be an integer >= 1"),
                ("bad-value", 2, "output_lens", "is -1; must be an integer >= 0"),
            ],
        ),
        (
            '{"date": "x", "request_throughput": 2.5}',
            [
                (
                    "missing-field",
                    None,
                    "input_lens",
                    "run vllm bench serve with --save-result --save-detailed",
                ),
                ("missing-field", None, "output_lens", "is missing"),
            ],
        ),
        (
            '{"input_lens": [1, 2], "output_lens": [1], "errors": {}}',
            [
                ("wrong-type", None, "errors", "is an object; must be a list"),
                ("bad-value", None, "output_lens", "has 1 items; must have 2, as input_lens"),
            ],
        ),
    ],
)
def test_a_problem_has_its_line_and_the_field_name_of_the_format(
    text: str | bytes, expected: list[Any]
) -> None:
    """A None at the end of `expected` stands for an `empty-file` that is not of interest."""
    _, problems = read_text(text)

    if expected[-1] is None:
        expected = expected[:-1]
        problems = [problem for problem in problems if problem.code != "empty-file"]
    assert [found[0] for found in expected] == [problem.code for problem in problems]
    for problem, (_, line, field, message) in zip(problems, expected, strict=True):
        assert (line, field) == (problem.line, problem.field)
        assert message in problem.message


def test_a_conversation_may_begin_with_the_assistant_or_carry_a_system_prompt() -> None:
    """An answer to nothing is skipped with a warning, and is part of the later prompts."""
    turns = [turn("gpt", "So."), turn("human", "Go on."), turn("gpt", "Well.")]
    conversations = [{"conversations": turns}, {"system": "Be brief.", "conversations": turns}]

    records, problems = read_text(json.dumps(conversations))

    assert texts(records) == [
        ("r2", "So.\nGo on.", "Well."),
        ("r3", "Be brief.", "So."),
        ("r4", "Be brief.\nSo.\nGo on.", "Well."),
    ]
    assert places(problems) == [("no-prompt", 1, "conversations")]


def test_an_item_may_be_longer_than_what_is_read_at_once() -> None:
    """An item is read whole, whatever the chunks of the file are."""
    value = "word, \u6f22 " * 60_000
    text = json.dumps([{"conversations": [turn("human", value), turn("gpt", value)]}] * 3, ensure_ascii=False)

    records, problems = read_text(text)

    assert [(record.prompt, record.response) for record in records] == [(value, value)] * 3
    assert {problem.code for problem in problems} == {"duplicate-prompt"}


def test_nothing_is_read_after_an_item_over_the_limit() -> None:
    text = json.dumps([{"conversations": [turn("human", "a" * 600_000)]}, {"conversations": []}])

    _, problems = read_text(text, max_line_bytes=1_000)

    assert places(problems) == [("line-too-long", 1, None)]


@pytest.mark.parametrize("name", FORMATS)
def test_truncated_data_is_reported_in_every_format(name: str, tmp_path: Path) -> None:
    sample = {"openai-batch": "openai_batch.requests.jsonl", "tracesim": "../lengths.jsonl"}.get(name)
    source = SAMPLES / (sample or next(SAMPLES.glob(f"{name.replace('-', '_')}.*")).name)
    path = tmp_path / "trace.gz"
    path.write_bytes(gzip.compress(source.read_bytes())[:-9])

    _, problems = read(path)

    assert "truncated-file" in [problem.code for problem in problems]


PIECES = [
    *(b"{", b"}", b"[", b"]", b",", b"\n", b'"', b"\xff", b"NaN", CSV.encode(), BURST.encode(), b"1,2,3\n"),
    *(b'"conversations":', b'"from":"gpt"', b'"value":"x"', b'"input_lens":[1]', b'"output_lens":[1]'),
    *(b'"custom_id":"x"', b'"body":{}', b'"response":{}', b'"timestamp":1', b'"input_length":1'),
]


def test_a_quoted_header_and_other_delimiters_are_read() -> None:
    """Quotes around cells and a semicolon or a tab between them change nothing."""
    header = '"Timestamp","Model","Request tokens","Response tokens","Total tokens","Log Type"\n'
    quoted = header + '5,"ChatGPT",472,18,490,"Conversation log"\n'

    for text in (quoted, quoted.replace(",", ";"), quoted.replace(",", "\t"), "\ufeff" + quoted):
        assert lengths(read_text(text)[0]) == [(472, 18, 5.0)]


@pytest.mark.parametrize(
    "text",
    [
        BURST + "5.0,ChatGPT,472.0,18.0,490.0,Conversation log\n6.0,ChatGPT,90.0,0.0,90.0,API log\n",
        '{"timestamp": 5000, "input_length": 472.0, "output_length": 18.0}\n',
        '{"arrival_time": 5, "input_length": 472.0, "output_length": 18.0}\n',
    ],
)
def test_whole_decimals_are_lengths_with_a_warning(text: str) -> None:
    records, problems = read_text(text)

    assert lengths(records) == [(472, 18, 5.0)]
    assert [problem.code for problem in problems if problem.code != "failed-request"] == [
        "decimal-length"
    ] * 2
    assert "is 472.0; must be an integer, and is read as 472" in problems[0].message


def test_the_format_is_detected_from_several_records() -> None:
    """The first record need not have all the fields that show the format."""
    records, problems = read_text(
        '{"session_id": "a", "input_length": 100, "output_length": 10}\n'
        '{"session_id": "a", "delay": 500, "input_length": 200, "output_length": 10}\n'
        '{"session_id": "b", "timestamp": 90000, "input_length": 100, "output_length": 10}\n'
    )

    assert [(record.arrival_time, record.delay) for record in records] == [
        (None, None),
        (None, 0.5),
        (90.0, None),
    ]
    assert problems == []


def test_an_ignored_field_of_another_format_is_a_warning_once_per_file() -> None:
    records, problems = read_text('{"prompt": "a", "response": "b", "timestamp": 5, "chat_id": 1}\n' * 2)

    assert len(records) == 2
    assert places(problems)[:2] == [("other-format", 1, "timestamp"), ("other-format", 1, "chat_id")]
    assert [problem.code for problem in problems[2:]] == ["duplicate-prompt"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"timestamp": 5', "mooncake; a trace has arrival_time instead"),
        ('"TIMESTAMP": 5', "azure; a trace has arrival_time instead"),
        ('"arrived_at": 5', "vidur; a trace has arrival_time instead"),
        ('"num_prefill_tokens": 5', "vidur; a trace has input_length instead"),
        ('"num_decode_tokens": 5', "vidur; a trace has output_length instead"),
        ('"prompt_tokens": 5', "litellm; a trace has input_length instead"),
        (
            '"completion_tokens": 5',
            "litellm; a trace has output_length instead",
        ),
        (
            '"usage": {}',
            "openai-batch; a trace has input_length and output_length instead",
        ),
        ('"chat_id": 1', "bailian; a trace has id instead"),
    ],
)
def test_the_advice_on_a_field_of_another_format_names_no_format_that_cannot_read_the_record(
    text: str, expected: str
) -> None:
    _, (problem,) = read_text(f'{{"prompt": "a", "response": "b", {text}}}\n')

    assert problem.code == "other-format"
    assert problem.message == f"is ignored: it is a field of the format {expected}"


def test_the_advice_on_a_field_of_a_format_that_reads_the_record_names_it() -> None:
    _, (problem,) = read_text(
        '{"input_length": 3, "output_length": 4, "parent_chat_id": 1}\n', trace_format="tracesim"
    )

    assert problem.message.endswith("of the format bailian; --trace-format bailian reads it")


@pytest.mark.parametrize(
    "text",
    [
        '[{"prompt": "Hi", "response": "there"}, {"prompt": "Hey", "response": "you"}]',
        '{\n "prompt": "Hi",\n "response": "there"\n}\n{\n "prompt": "Hey",\n "response": "you"\n}\n',
    ],
)
def test_records_of_tracesim_are_read_from_a_document(text: str) -> None:
    records, problems = read_text(text)

    assert texts(records) == [("r1", "Hi", "there"), ("r2", "Hey", "you")]
    assert [record.line for record in records] == [1, 2]
    assert problems == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "arrived,prefill_tokens,decode_tokens\n0.0,374,44\n4.3,396,109\n",
            'looks like CSV with the columns "arrived", "prefill_tokens", "decode_tokens", which no known '
            "format has; the nearest: vidur (num_prefill_tokens, num_decode_tokens, arrived_at), ",
        ),
        (
            '{"question": "a", "answer": "b"}\n' * 3,
            'has the keys "question", "answer", which no known format has; the nearest: tracesim (pro',
        ),
        ('[{"question": "a"},\n {"answer": "b"}]\n', 'has the keys "question", "answer", which no known'),
        ('{"prompt": "a", "answer": "b"}\n' * 3, 'has the keys "prompt", "answer", which no known'),
        (
            "input_length,output_length\n3,4\n",
            "the nearest: tracesim (prompt, response, input_length,",
        ),
        ("# Notes\n\nSome text, and more.\n", "is neither JSON nor CSV with a header, and so no trace"),
        ("[a]\nx = 1\n", "is neither JSON nor CSV with a header, and so no trace"),
        (
            '{"data": [{"prompt": "a", "response": "b"}]}',
            """has its records in "data" of one object; write them one per line: jq -c '."data"[]'""",
        ),
        (
            '{"x": {"timestamp": 1, "input_length": 2}, "y": {"messages": []}}',
            "has its records as the fields of one object; write them one per line: jq -c '.[]'",
        ),
        ('{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"i":1}\n', '"g", "h" and 1 more, which no known'),
    ],
)
def test_a_file_of_an_unknown_format_is_one_problem(text: str, expected: str) -> None:
    """The message names what was found and the formats with the most similar names."""
    records, (problem,) = read_text(text)

    assert records == []
    assert (problem.code, problem.line, problem.field) == ("unknown-format", None, None)
    assert expected in problem.message


@given(st.sampled_from(FORMATS), st.lists(st.binary(max_size=6) | st.sampled_from(PIECES)).map(b"".join))
def test_any_bytes_give_records_or_problems_in_every_format(name: str, data: bytes) -> None:
    records, problems = read_text(data, trace_format=name, max_line_bytes=200)

    assert records or any(problem.severity == "error" or problem.line for problem in problems)
    assert all(problem.code in (ERRORS if problem.severity == "error" else WARNINGS) for problem in problems)
    assert all("\n" not in problem.message for problem in problems)


def changed(value: Any) -> Iterator[Any]:
    """Yield a JSON value with each of its parts replaced by values of other types, one at a time."""
    yield from (None, True, -1, 2.5, 10**30, "x", [], [1], {}, {"x": 1})
    if isinstance(value, list):
        for at, item in enumerate(value):
            for other in changed(item):
                yield [*value[:at], other, *value[at + 1 :]]
    if isinstance(value, dict):
        for name, item in value.items():
            yield {other: value[other] for other in value if other != name}
            for other in changed(item):
                yield value | {name: other}


@pytest.mark.parametrize("stem", sorted({path.name.partition(".")[0] for path in SAMPLES.glob("*.json*")}))
def test_any_change_of_a_json_sample_gives_records_or_problems(stem: str) -> None:
    """No value that somebody may write is met by an exception."""
    objects: list[Any] = []
    for path in sorted(SAMPLES.glob(f"{stem}.json*")) + sorted(SAMPLES.glob(f"{stem}.*.json*")):
        with InputFile(path) as file:
            items = [item for item in json_objects(file) if isinstance(item, JSONObject)]
            objects += [item.fields for item in items][:3]

    for at, value in enumerate(objects):
        for other in changed(value):
            lines = [json.dumps(each) for each in [*objects[:at], other, *objects[at + 1 :]]]
            records, problems = read_text("\n".join([*lines, ""]), trace_format=stem.replace("_", "-"))

            assert records or problems
            assert {problem.code for problem in problems} <= ERRORS.keys() | WARNINGS.keys()
