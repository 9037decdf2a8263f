"""The trace reader: every record comes back, and everything wrong has a code, a place and a sentence."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import json
import lzma
import os
import sys
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from tracesim.errors import TraceError, TraceProblem
from tracesim.limits import (
    MAX_HASH_ID,
    MAX_INTEGER,
    MAX_SECONDS,
    MAX_STEP,
    MAX_TOKEN_ID,
    MAX_TOKENS,
    MIN_INTEGER,
)
from tracesim.trace.formats.json_objects import is_document
from tracesim.trace.problems import ERRORS, WARNINGS
from tracesim.trace.reader import read_records, read_trace
from tracesim.trace.record import TraceRecord
from tracesim.trace.schema import CHECKS
from tracesim.trace.writer import record_to_json

OK = '"prompt":"a","response":"b"'
Place = tuple[str, int | None, str | None]


@pytest.fixture
def trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of a trace that a test writes; relative, as the working directory is a temporary one."""
    monkeypatch.chdir(tmp_path)
    return Path("trace.jsonl")


def read(*paths: Path | str, **options: Any) -> tuple[list[TraceRecord], list[TraceProblem]]:
    items = list(read_trace(paths, **options))
    records = [item for item in items if isinstance(item, TraceRecord)]
    return records, [item for item in items if isinstance(item, TraceProblem)]


def places(problems: list[TraceProblem]) -> list[Place]:
    return [(problem.code, problem.line, problem.field) for problem in problems]


def read_bytes(data: bytes, **options: Any) -> tuple[list[TraceRecord], list[TraceProblem]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        return read("-", **options)


def read_lines(*lines: str) -> tuple[list[TraceRecord], list[TraceProblem]]:
    return read_bytes("".join([line + "\n" for line in lines]).encode())


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("[1]", [("not-an-object", None, "is a list; each line must be one JSON object")]),
        ("null", [("not-an-object", None, "is null")]),
        ('"x"', [("not-an-object", None, 'is the string "x"')]),
        ("NaN", [("not-an-object", None, "is NaN")]),
        ("{" + OK, [("invalid-json", None, "expecting ',' delimiter at column 29; each line must be")]),
        ('{"prompt":"a', [("invalid-json", None, "unterminated string starting at column 11")]),
        ('{"a":' + "[" * 100_000, [("invalid-json", None, "is nested too deeply")]),
        (f'{{{OK},"a":' + "[" * 1_100 + "]" * 1_100 + "}", [("invalid-json", None, "")]),
        (f'{{{OK},"max_tokens":NaN}}', [("bad-value", "max_tokens", "is NaN; must be an integer >= 1")]),
        (f'{{{OK},"priority":-Infinity}}', [("bad-value", "priority", "is -Infinity; must be an integer")]),
        ('{"prompt":NaN,"response":""}', [("bad-value", "prompt", "is NaN; must be a string")]),
        (f'{{{OK},"min_tokens":1e999}}', [("bad-value", "min_tokens", "is Infinity")]),
        (
            f'{{{OK},"min_tokens":{"9" * 5000}}}',
            [("bad-value", "min_tokens", "is a number of over 308 digits; must be")],
        ),
        (
            f'{{{OK},"arrival_time":{"9" * 5000}}}',
            [("bad-value", "arrival_time", "is a number of over 308 digits; must be at most")],
        ),
        ('{"prompt":"\\ud800","response":"b"}', [("lone-surrogate", "prompt", "half of a surrogate pair")]),
        (f'{{{OK},"meta":{{"\\udc80":1}}}}', [("lone-surrogate", "meta", "half of a surrogate pair")]),
        (f'{{{OK},"\\ud800":1}}', [("lone-surrogate", None, "half of a surrogate pair")]),
        (
            '{"prompt":"\\ud800","max_tokens":0}',
            [
                ("lone-surrogate", "prompt", ""),
                ("missing-field", "response", ""),
                ("bad-value", "max_tokens", "is 0; must be an integer >= 1"),
            ],
        ),
        (b'{"prompt":"a\xff","response":"b"}', [("invalid-utf8", "prompt", "0xff at byte 13 of the line")]),
        (b'{"a":"\xed\xa0\x80"', [("invalid-utf8", None, "0xed at byte 7"), ("invalid-json", None, "")]),
        ("{}", [("missing-field", "prompt", "is missing"), ("missing-field", "response", "is missing")]),
        ('{"prompt":null,"response":"b"}', [("missing-field", "prompt", "or give prompt_token_ids")]),
        ('{"input_length":1}', [("missing-field", "output_length", "input_length needs it")]),
        ('{"output_length":1}', [("missing-field", "input_length", "output_length needs it")]),
        ('{"prompt":"a","input_length":1}', [("mixed-fields", "input_length", "together with prompt")]),
        (f'{{{OK},"hash_ids":[1]}}', [("mixed-fields", "hash_ids", "needs input_length and output_length")]),
        (
            '{"prompt":1,"response":["b"]}',
            [("wrong-type", "prompt", "is 1; must be a string"), ("wrong-type", "response", "is a list;")],
        ),
        ('{"prompt":"","response":""}', [("empty-prompt", "prompt", "is empty")]),
        ('{"prompt_token_ids":[],"response":""}', [("empty-prompt", "prompt_token_ids", "is empty")]),
        (
            '{"prompt_token_ids":[1,true],"response_token_ids":[1,2,-3]}',
            [
                ("bad-value", "prompt_token_ids", "item 2 is true; must be an integer >= 0"),
                ("bad-value", "response_token_ids", "item 3 is -3"),
            ],
        ),
        ('{"prompt":"a","response_token_ids":["x"]}', [("wrong-type", "response_token_ids", "item 1 is")]),
        ('{"prompt":"a","response_token_ids":"x"}', [("wrong-type", "response_token_ids", "a list of int")]),
        (f'{{{OK},"max_tokens":0}}', [("bad-value", "max_tokens", "is 0; must be an integer >= 1")]),
        (f'{{{OK},"min_tokens":-1}}', [("bad-value", "min_tokens", "is -1; must be an integer >= 0")]),
        (f'{{{OK},"arrival_step":true}}', [("bad-value", "arrival_step", "is true; must be an integer")]),
        (f'{{{OK},"priority":3.0}}', [("wrong-type", "priority", "is 3.0; must be an integer")]),
        (f'{{{OK},"max_tokens":"9"}}', [("wrong-type", "max_tokens", 'is the string "9"; must be')]),
        (f'{{{OK},"max_tokens":18446744073709551616}}', [("bad-value", "max_tokens", "over 64 bits")]),
        (
            f'{{{OK},"max_tokens":2,"min_tokens":3}}',
            [("bad-value", "min_tokens", "is 3; must be at most max_tokens, 2")],
        ),
        (
            f'{{{OK},"arrival_time":-0.5}}',
            [("bad-value", "arrival_time", "is -0.5; must be a number of sec")],
        ),
        (f'{{{OK},"arrival_time":Infinity}}', [("bad-value", "arrival_time", "is Infinity; must be")]),
        (f'{{{OK},"arrival_time":true}}', [("bad-value", "arrival_time", "is true; must be a number")]),
        (f'{{{OK},"arrival_time":"1"}}', [("wrong-type", "arrival_time", 'is the string "1"; must be')]),
        (
            f'{{{OK},"arrival_time":1,"arrival_step":0}}',
            [("mixed-fields", "arrival_time", "cannot stand together with arrival_step; give one")],
        ),
        (f'{{{OK},"id":""}}', [("bad-value", "id", "is empty")]),
        (f'{{{OK},"id":5}}', [("wrong-type", "id", "is 5; must be a string")]),
        (f'{{{OK},"stop":""}}', [("empty-stop", "stop", "is empty")]),
        (f'{{{OK},"stop":["x",""]}}', [("empty-stop", "stop", "item 2 is empty")]),
        (f'{{{OK},"stop":{{}}}}', [("wrong-type", "stop", "must be a string or a list of strings")]),
        (f'{{{OK},"stop":[1]}}', [("wrong-type", "stop", "item 1 is 1; must be a string")]),
        ('{"input_length":1,"output_length":1,"stop":"x"}', [("bad-value", "stop", "has no text")]),
        ('{"prompt":"a","response_token_ids":[1],"stop":"x"}', [("bad-value", "stop", "has no text")]),
        ('{"input_length":0,"output_length":1}', [("bad-value", "input_length", "is 0; must be")]),
        (
            '{"input_length":513,"output_length":1,"hash_ids":[1]}',
            [("hash-count", "hash_ids", "has 1 ids; must have 2 for input_length 513")],
        ),
        (
            '{"input_length":"x","output_length":1,"hash_ids":[-1]}',
            [("wrong-type", "input_length", ""), ("bad-value", "hash_ids", "item 1 is -1")],
        ),
    ],
)
def test_everything_wrong_with_a_record_is_reported(
    line: str | bytes, expected: list[tuple[str, Any, str]]
) -> None:
    data = line if isinstance(line, bytes) else line.encode()
    records, problems = read_bytes(data + b"\n{" + OK.encode() + b"}\n")

    assert [(code, 1, field) for code, field, _ in expected] == places(problems)
    for problem, (_, _, message) in zip(problems, expected, strict=True):
        assert message in problem.message
    assert [record.id for record in records] == ["r2"]


def test_a_record_has_the_values_of_its_line(trace: Path) -> None:
    trace.write_text(f'\n \r\n{{"stop":"x",{OK},"session":1,"max_tokens":null}}\r\n')
    absent = dict.fromkeys(TraceRecord._fields)
    expected = {**absent, "id": "r1", "prompt": "a", "response": "b", "stop": ("x",), "arrival_step": 0}

    records, problems = read(trace)

    assert [TraceRecord(**{**expected, "file": "trace.jsonl", "line": 3})] == records  # type: ignore[arg-type]
    assert problems == []


def test_the_checked_fields_are_those_of_the_record_in_order() -> None:
    assert (*CHECKS, "file", "line") == TraceRecord._fields


def test_only_a_line_feed_ends_a_line(trace: Path) -> None:
    trace.write_bytes('{"prompt":"a\u2028b\x85","response":"b"}\n'.encode())

    records, problems = read(trace)

    assert [record.prompt for record in records] == ["a\u2028b\x85"]
    assert problems == []


def test_default_ids_count_all_lines_that_are_not_blank_over_all_files(trace: Path) -> None:
    trace.write_text(f'{{{OK}}}\n\n{{}}\n{{"id":"x","prompt":"c","response":""}}\n')
    other = Path("other.jsonl")
    other.write_text('{"prompt":"d","response":"b"}\n')

    records, _ = read(trace, other)

    assert [record.id for record in records] == ["r1", "x", "r4"]
    assert [record.line for record in records] == [1, 4, 1]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (['"x"', '"x"'], '"x" is already the id of line 1'),
        (["null", '"r1"'], "r1 is already the default id of record 1"),
        (['"r2"', "null"], "line 1 has the default r2"),
    ],
)
def test_ids_are_unique(ids: list[str], message: str) -> None:
    lines = [f'{{"id":{id_},"prompt":"{at}","response":""}}\n' for at, id_ in enumerate(ids)]

    records, problems = read_bytes("".join(lines).encode())

    assert len(records) == 1
    assert places(problems) == [("duplicate-id", 2, "id")]
    assert message in problems[0].message


def test_ids_like_default_ids_are_free_where_every_record_has_one() -> None:
    lines = [f'{{"id":"r{at}","prompt":"{at}","response":""}}\n' for at in range(20)]

    assert read_bytes("".join(lines).encode())[1] == []


def test_an_id_in_an_earlier_file_is_found_by_its_file(trace: Path) -> None:
    trace.write_text(f'{{"id":"x",{OK}}}\n')
    other = Path("other.jsonl")
    other.write_text('\n{"id":"x","prompt":"c","response":"b"}\n')

    _, problems = read(trace, other)

    assert places(problems) == [("duplicate-id", 2, "id")]
    assert "line 1 of trace.jsonl" in problems[0].message


def test_a_repeated_prompt_is_a_warning_before_each_later_record() -> None:
    data = f'{{{OK}}}\n{{{OK}}}\n{{"prompt_token_ids":[7],"response":""}}\n{{{OK}}}\n' + (
        '{"prompt_token_ids":[7],"response":"x"}\n'
    )

    records, problems = read_bytes(data.encode())

    assert len(records) == 5
    assert places(problems) == [
        ("duplicate-prompt", 2, "prompt"),
        ("duplicate-prompt", 4, "prompt"),
        ("duplicate-prompt", 5, "prompt_token_ids"),
    ]
    assert [problem.message[18:24] for problem in problems] == ["line 1", "line 1", "line 3"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("Max_Tokens", "max_tokens"),
        ("maxTokens", "max_tokens"),
        ("max-tokens", "max_tokens"),
        ("max_token", "max_tokens"),
        ("prioirty", "priority"),
        ("stops", "stop"),
        ("arrivel_step", "arrival_step"),
        ("hash_id", "hash_ids"),
    ],
)
def test_a_name_almost_as_a_known_one_is_warned_of_once_a_file(name: str, meant: str) -> None:
    lines = [f'{{"prompt":"{at}","response":"","{name}":1}}\n' for at in range(3)]

    records, problems = read_bytes("".join(lines).encode())

    assert len(records) == 3
    assert [("likely-typo", 1, name)] == places(problems)
    assert f"was {meant} meant?" in problems[0].message


@pytest.mark.parametrize(
    "name",
    [
        "model",
        "tokens",
        "response_id",
        "user",
        "step",
        "idx",
        "ids",
    ],
)
def test_an_ordinary_unknown_name_is_ignored(name: str) -> None:
    assert read_bytes(f'{{{OK},"{name}":1}}\n'.encode())[1] == []


def test_a_name_is_no_typo_of_a_field_that_the_record_has() -> None:
    assert read_bytes(f'{{{OK},"Prompt":1}}\n'.encode())[1] == []


@pytest.mark.parametrize(
    ("data", "expected", "count"),
    [
        (b"", [("empty-file", None, None)], 0),
        (b"\n \n", [("empty-file", None, None)], 0),
        (b"\xef\xbb\xbf", [("bom", 1, None), ("empty-file", None, None)], 0),
        (b"\xef\xbb\xbf{" + OK.encode() + b"}\n", [("bom", 1, None)], 1),
        (b"{" + OK.encode() + b"}", [("no-final-newline", 1, None)], 1),
        (b"{" + OK.encode() + b"}\n  ", [], 1),
        (f"{{{OK}}}\n".encode("utf-16"), [("invalid-utf8", None, None)], 0),
        (f"{{{OK}}}\n".encode("utf-16-le"), [("invalid-utf8", None, None)], 0),
        (f"{{{OK}}}\n".encode("utf-32"), [("invalid-utf8", None, None)], 0),
    ],
)
def test_how_a_file_begins_and_ends_is_looked_at(data: bytes, expected: list[Place], count: int) -> None:
    records, problems = read_bytes(data)

    assert expected == places(problems)
    assert count == len(records)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        ("{}".encode("utf-16"), "looks like UTF-16;"),
        ("{}".encode("utf-16-be"), "looks like UTF-16;"),
        ("{}".encode("utf-32"), "looks like UTF-32;"),
        ("{}".encode("utf-32-le"), "looks like UTF-32;"),
        (b"\0" * 9, "is binary"),
        (gzip.compress(gzip.compress(b"{}")), "is binary"),
    ],
)
def test_what_is_not_utf8_is_named(data: bytes, named: str) -> None:
    _, (problem,) = read_bytes(data)

    assert named in problem.message


@pytest.mark.parametrize("final", [b"\n", b""])
def test_a_line_over_the_limit_is_skipped(final: bytes) -> None:
    ok = b"{" + OK.encode() + b"}"
    fits, too_long = ok.ljust(40), ok.ljust(41)

    records, problems = read_bytes(fits + b"\n" + too_long + b"\n" + ok * 9000 + final, max_line_bytes=40)

    expected: list[Place] = [("line-too-long", 2, None), ("line-too-long", 3, None)]
    assert expected == places(problems)[:2]
    assert (["no-final-newline"] if not final else []) == [problem.code for problem in problems[2:]]
    assert [record.line for record in records] == [1]


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
@pytest.mark.parametrize("name", ["trace.jsonl.gz", "trace.jsonl.zst", "trace"])
def test_packed_files_are_read_as_they_are(trace: Path, pack: Any, name: str) -> None:
    members = [pack(f'{{"prompt":"{at}","response":""}}\n'.encode()) for at in range(3)]
    suffix = {gzip.compress: ".gz", zstandard.compress: ".zst"}[pack]
    path = trace.with_name(name if "." not in name else f"trace.jsonl{suffix}")
    path.write_bytes(b"".join(members) + b"\0" * (9 if pack is gzip.compress else 0))

    records, problems = read(path)

    assert [record.prompt for record in records] == ["0", "1", "2"]
    assert problems == []


@pytest.mark.parametrize(("pack", "suffix"), [(gzip.compress, ".gz"), (zstandard.compress, ".zst")])
def test_whole_lines_before_the_end_of_truncated_data_are_read(trace: Path, pack: Any, suffix: str) -> None:
    lines = [json.dumps({"prompt": str(at), "response": os.urandom(500).hex()}) for at in range(2000)]
    packed = pack("\n".join(lines).encode())
    path = trace.with_name(f"trace.jsonl{suffix}")
    path.write_bytes(packed[: len(packed) * 3 // 4])

    records, problems = read(path)

    assert 1000 < len(records) < 2000
    assert [("truncated-file", len(records) + 1, None)] == places(problems)


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_file_that_is_not_packed_as_it_is_called_is_damaged(trace: Path, suffix: str) -> None:
    path = trace.with_name(f"trace.jsonl{suffix}")
    path.write_text(f"{{{OK}}}\n")

    assert places(read(path)[1]) == [("truncated-file", 1, None)]


@pytest.mark.parametrize(("pack", "suffix"), [(gzip.compress, ".gz"), (zstandard.compress, ".zst")])
def test_a_bomb_is_unpacked_in_bounded_memory(trace: Path, pack: Any, suffix: str) -> None:
    path = trace.with_name(f"bomb{suffix}")
    path.write_bytes(pack(b"x" * 200_000_000))
    tracemalloc.start()

    _, problems = read(path, trace_format="tracesim", max_line_bytes=1_000_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert [problem.code for problem in problems] == ["line-too-long", "no-final-newline"]
    assert peak < 100_000_000


def test_zstd_without_its_package_names_the_extra(trace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace.write_bytes(zstandard.compress(b"x"))
    monkeypatch.setitem(sys.modules, "zstandard", None)

    _, problems = read(trace)

    assert places(problems) == [("unreadable-file", None, None)]
    assert "pip install zstandard" in problems[0].message


def test_paths_that_cannot_be_read_are_problems(trace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace.write_text("")

    def refuse(*_: Any, **__: Any) -> Iterator[bytes]:
        raise OSError(errno.EACCES, "Permission denied")

    assert places(read("nowhere.jsonl")[1]) == [("missing-file", None, None)]
    assert places(read(trace / "x")[1]) == [("missing-file", None, None)]
    assert places(read(".")[1]) == [("is-a-directory", None, None)]
    assert places(read("a\0b")[1]) == [("unreadable-file", None, None)]
    monkeypatch.setattr(Path, "open", refuse)
    assert places(read(trace)[1]) == [("unreadable-file", None, None)]
    monkeypatch.setattr(sys, "stdin", None)
    assert places(read("-")[1]) == [("unreadable-file", None, None)]


def test_a_message_is_one_line_even_for_a_file_with_a_newline_in_its_name(trace: Path) -> None:
    odd = trace.with_name("a\nb.jsonl")
    odd.write_text(f"{{{OK}}}\n")
    trace.write_text(f"{{{OK}}}\n")

    _, problems = read(odd, trace)

    assert [problem.message[18:40] for problem in problems] == [r'line 1 of "a\nb.jsonl"']


def test_a_found_string_is_quoted_in_forty_ascii_characters() -> None:
    _, problems = read_bytes(
        ('{"prompt":"a","response":"b","max_tokens":"' + "\U0001f469\\u001b" * 99 + '"}\n').encode()
    )

    quoted = problems[0].message.removeprefix("is the string ").partition(";")[0]
    assert len(quoted) <= 40


ids = st.lists(st.integers(0, MAX_TOKEN_ID), min_size=1, max_size=5)
text = st.text(min_size=1, max_size=20)
limits = st.fixed_dictionaries(
    {},
    optional={
        "max_tokens": st.integers(5, MAX_TOKENS),
        "min_tokens": st.integers(0, 5),
        "priority": st.integers(MIN_INTEGER, MAX_INTEGER),
    },
)
contents = st.one_of(
    st.fixed_dictionaries(
        {"prompt": text, "response": st.text(max_size=20)},
        optional={"prompt_token_ids": ids, "response_token_ids": ids, "stop": st.lists(text, max_size=3)},
    ),
    st.fixed_dictionaries({"prompt_token_ids": ids, "response_token_ids": ids}),
    st.integers(1, 2000).flatmap(
        lambda length: st.fixed_dictionaries(
            {"input_length": st.just(length), "output_length": st.integers(0, 99)},
            optional={
                "hash_ids": st.lists(
                    st.integers(0, MAX_HASH_ID), min_size=-(-length // 512), max_size=-(-length // 512)
                )
            },
        )
    ),
)
arrivals = st.one_of(
    st.fixed_dictionaries({}, optional={"arrival_step": st.integers(0, MAX_STEP)}),
    st.fixed_dictionaries({"arrival_time": st.floats(0, MAX_SECONDS) | st.integers(0, MAX_SECONDS)}),
)
valid_fields = st.builds(
    lambda *parts: {k: v for part in parts for k, v in part.items()}, contents, limits, arrivals
)


@given(st.lists(valid_fields, min_size=1, max_size=5))
def test_a_record_written_is_read_back(written: list[dict[str, Any]]) -> None:
    records, _ = read_bytes("".join(json.dumps(fields) + "\n" for fields in written).encode())

    again, problems = read_bytes(b"".join(map(record_to_json, records)))

    assert records == again
    assert {problem.severity for problem in problems} <= {"warning"}


@given(st.lists(valid_fields, min_size=1, max_size=5))
def test_every_record_written_as_json_is_read_back_equal(written: list[dict[str, Any]]) -> None:
    data = "".join(json.dumps(fields) + "\n" for fields in written)

    records, problems = read_bytes(data.encode())

    assert {problem.code for problem in problems} <= {"duplicate-prompt"}
    for number, (fields, record) in enumerate(zip(written, records, strict=True), 1):
        expected = {
            name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()
        }
        found = {name: value for name, value in record._asdict().items() if value is not None}
        assert {"id": f"r{number}", "arrival_step": 0, **expected, "file": "<stdin>", "line": number} == found


fragments = st.sampled_from(
    [
        b"{",
        b"}",
        b'"prompt":',
        b'"response":',
        b'"',
        b"\\ud800",
        b"\xff",
        b"NaN",
        b",",
        b"\n",
        b"null",
        b"[",
        b"]",
    ]
)


@given(st.lists(st.binary(max_size=8) | fragments | st.just(f"{{{OK}}}\n".encode())).map(b"".join))
@example(b'{"prompt":"a","response":"b","id":"\\ud800"}\n' * 2)
@settings(max_examples=300)
def test_any_bytes_give_a_record_or_an_error_for_every_line(data: bytes) -> None:
    assume(not is_document(data.removeprefix(b"\xef\xbb\xbf")))
    records, problems = read_bytes(data, max_line_bytes=200, trace_format="tracesim")

    assert all(problem.code in (ERRORS if problem.severity == "error" else WARNINGS) for problem in problems)
    assert all("\n" not in problem.message for problem in problems)
    if any(problem.line is None or problem.code == "truncated-file" for problem in problems):
        return  # the file as a whole is no trace
    found = {record.line for record in records} | {p.line for p in problems if p.severity == "error"}
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    assert {number for number, line in enumerate(lines, 1) if line.strip(b" \t\r")} == found


def test_reading_is_lazy(trace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file is opened before the first item is asked for, nor the second while the first is read."""
    trace.write_text(f"{{{OK}}}\n" * 2)
    opened = []
    real_open = Path.open

    def noted_open(path: Path, *args: Any, **options: Any) -> Any:
        opened.append(path)
        return real_open(path, *args, **options)

    monkeypatch.setattr(Path, "open", noted_open)
    items = read_trace([trace, trace])

    assert opened == []
    next(items)
    assert opened == [trace]


def test_a_key_that_is_there_twice_is_an_error() -> None:
    line = (
        '{"prompt": "a", "response": "b \\"prompt\\": ", "max_tokens": 1, "response" : "c", "max_tokens": 2}'
    )
    _, problems = read_lines(line)

    assert [(p.code, p.field) for p in problems] == [
        ("duplicate-key", "response"),
        ("duplicate-key", "max_tokens"),
    ]


def test_keys_in_text_and_in_inner_objects_are_not_repeated() -> None:
    records, problems = read_lines(
        '{"prompt": "a", "response": "\\"prompt\\": 1", "x": {"prompt": 1, "prompt ": 2}}'
    )

    assert (problems, len(records)) == ([], 1)


def test_a_field_that_is_not_read_may_have_any_number() -> None:
    records, problems = read_lines(f'{{{OK},"x":[{{"y":NaN}}],"z":-Infinity}}')

    assert (problems, len(records)) == ([], 1)


@pytest.mark.parametrize("name", ["bz2", "xz", "zip"])
def test_every_compression_is_read_and_its_damage_reported(name: str, tmp_path: Path) -> None:
    text = (f"{{{OK}}}\n" * 2000).encode()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("trace.jsonl", text)
    compressed = {"bz2": bz2.compress(text), "xz": lzma.compress(text), "zip": archive.getvalue()}[name]
    whole, cut, damaged = (tmp_path / each for each in ("whole", "cut", "damaged"))
    whole.write_bytes(compressed)
    cut.write_bytes(compressed[: len(compressed) // 2])
    damaged.write_bytes(compressed[:40] + bytes(20) + compressed[60:])

    assert len(read_records([whole])) == 2000
    for path in (cut, damaged):
        with pytest.raises(TraceError) as raised:
            read_records([path])
        assert raised.value.problems[-1].code == "truncated-file"


def test_a_zip_archive_of_several_files_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "traces.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.jsonl", f"{{{OK}}}\n")
        file.writestr("b.jsonl", f"{{{OK}}}\n")
    _, (problem,) = read(path)

    assert (
        problem.message == "cannot be read: this zip archive has 2 files; unpack it and name the traces in it"
    )


def test_sessions_are_read_as_they_are_written() -> None:
    fields = {"input_length": 40, "output_length": 1, "hash_ids": [1, 2, 3], "hash_block_size": 16}
    more = {"id": "b", "session_id": "s", "after": "a", "delay": 2}
    records, problems = read_lines(json.dumps({"id": "a", **fields}), json.dumps({**fields, **more}))

    assert problems == []
    assert records[1][8:9] + records[1][15:18] == (16, "s", ("a",), 2.0)
    assert json.loads(record_to_json(records[1])) == {**fields, **more, "after": ["a"], "delay": 2.0}


@pytest.mark.parametrize(
    ("links", "expected"),
    [
        ({"a": ["b"], "b": ["c"], "c": ["a"], "d": ["a"]}, [("after-cycle", 1)]),
        ({"a": ["a"]}, [("after-cycle", 1)]),
        ({"a": ["x", "b", "x"], "b": ["y"]}, [("unknown-after", 1), ("unknown-after", 2)]),
        ({"a": ["r2"], None: []}, []),
        ({"a": [], "b": ["a"], "c": ["a", "b"], "d": ["b", "c"]}, []),
    ],
)
def test_after_names_records_and_runs_in_no_circle(links: Any, expected: list[tuple[str, int]]) -> None:
    lines = [
        json.dumps({"input_length": 1, "output_length": 1, "after": after, "id": name})
        for name, after in links.items()
    ]
    _, problems = read_lines(*lines)

    assert expected == [(problem.code, problem.line) for problem in problems]


@pytest.mark.parametrize(
    ("turns", "expected"),
    [
        ([("a", "s", ["c"]), ("b", "s", None), ("c", "s", None)], [("after-cycle", 1)]),
        ([("x", "t", None), ("a", "s", ["c"]), ("b", "t", ["a"]), ("c", "t", None)], [("after-cycle", 2)]),
        ([("a", "s", ["c"]), ("b", "s", None), ("c", "t", None)], []),
        ([("a", "s", ["c"]), ("b", "s", None), ("c", "s", [])], []),
    ],
)
def test_a_turn_waits_for_the_turn_before_so_that_it_may_wait_for_itself(
    turns: list[Any], expected: list[tuple[str, int]]
) -> None:
    lengths = {"input_length": 1, "output_length": 1}
    lines = [
        {**lengths, "id": name, "session_id": session, **({} if after is None else {"after": after})}
        for name, session, after in turns
    ]
    _, problems = read_lines(*map(json.dumps, lines))

    assert expected == [(problem.code, problem.line) for problem in problems]
