"""Numbers and sizes that no run can mean are refused where they enter, in bounded time and memory."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import zstandard

from trace_files import lengths, places, read, read_text
from tracesim.limits import (
    MAX_ERRORS_IN_A_ROW,
    MAX_HASH_ID,
    MAX_INTEGER,
    MAX_SECONDS,
    MAX_STEP,
    MAX_TOKEN_ID,
    MAX_TOKENS,
    MIN_INTEGER,
)

LENGTHS = {"input_length": 1, "output_length": 1}
HASHED = {**LENGTHS, "hash_ids": [1]}
IDS = {"prompt_token_ids": [1], "response_token_ids": []}
AFTER = {**LENGTHS, "session_id": "s"}
DIGITS = "1" * 5000
MEGABYTE = 1024 * 1024


@pytest.mark.parametrize(
    ("fields", "name", "most"),
    [
        (LENGTHS, "input_length", MAX_TOKENS),
        (LENGTHS, "output_length", MAX_TOKENS),
        (LENGTHS, "max_tokens", MAX_TOKENS),
        (LENGTHS, "min_tokens", MAX_TOKENS),
        (LENGTHS, "priority", MAX_INTEGER),
        (LENGTHS, "arrival_step", MAX_STEP),
        (LENGTHS, "arrival_time", MAX_SECONDS),
        (AFTER, "delay", MAX_SECONDS),
        (HASHED, "hash_block_size", MAX_TOKENS),
    ],
)
def test_a_number_of_a_record_has_a_largest_value(fields: dict[str, Any], name: str, most: int) -> None:
    fits, too_large = read_text(json.dumps({**fields, name: most}) + "\n"), most + 1

    records, problems = read_text(json.dumps({**fields, name: too_large}) + "\n")

    assert ([most], []) == ([getattr(record, name) for record in fits[0]], fits[1])
    assert records == []
    assert [("bad-value", 1, name)] == places(problems)
    assert f"is {too_large}; must be at most " in problems[0].message


@pytest.mark.parametrize(
    ("fields", "name", "most"),
    [
        (IDS, "prompt_token_ids", MAX_TOKEN_ID),
        (IDS, "response_token_ids", MAX_TOKEN_ID),
        (HASHED, "hash_ids", MAX_HASH_ID),
    ],
)
def test_an_id_in_a_list_has_a_largest_value(fields: dict[str, Any], name: str, most: int) -> None:
    fits = read_text(json.dumps({**fields, name: [most]}) + "\n")

    _, problems = read_text(json.dumps({**fields, name: [7, most + 1]}) + "\n")

    assert ([(most,)], []) == ([getattr(record, name) for record in fits[0]], fits[1])
    assert [("bad-value", 1, name)] == places(problems)
    assert "item 2 is " in problems[0].message


def test_a_priority_has_64_bits() -> None:
    _, (problem,) = read_text(json.dumps({**LENGTHS, "priority": MIN_INTEGER - 1}) + " \n")

    assert problem.message == "is -9.223372036854776e+18, over 64 bits; must be an integer"


@pytest.mark.parametrize(
    ("text", "options"),
    [
        (f'{{"input_length": {DIGITS}, "output_length": 1}}\n', {}),
        (f'[{{"input_length": {DIGITS}, "output_length": 1}}]', {}),
        (f'[{{"conversations": {DIGITS}}}]', {"trace_format": "sharegpt"}),
        (f'{{"input_lens": [{DIGITS}], "output_lens": [1]}}', {"trace_format": "vllm-bench"}),
        (f'{{"timestamp": {DIGITS}, "input_length": 1, "output_length": 1}}\n', {"trace_format": "mooncake"}),
        (f"TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46,{DIGITS},1\n", {}),
    ],
)
def test_an_integer_of_thousands_of_digits_is_a_problem_in_every_format(
    text: str, options: dict[str, str]
) -> None:
    records, problems = read_text(text, **options)

    assert records == []
    assert {"error"} == {problem.severity for problem in problems}


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress, zstandard.compress])
@pytest.mark.parametrize(
    ("start", "filling"), [("", "\n"), ("", " \r\n"), ("", " "), ("[", "\t"), ('[{"a": "', "x")]
)
def test_compressed_data_is_read_up_to_a_limit(
    compress: Any, start: str, filling: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tracesim.trace.input_file.EXPANDED_BYTES", MEGABYTE)
    path = tmp_path / "bomb.gz"
    path = path.with_suffix("" if compress is not gzip.compress else ".gz")
    path.write_bytes(compress((start + filling * (3 * MEGABYTE // len(filling))).encode()))
    tracemalloc.start()

    records, problems = read(path, max_line_bytes=MEGABYTE // 4)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert records == []
    assert problems[-1].code in ("expands-too-much", "line-too-long", "empty-file")
    assert peak < 40 * MEGABYTE


def test_a_parquet_file_is_not_read_if_it_expands_too_much(tmp_path: Path, monkeypatch: Any) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("tracesim.trace.formats.parquet.EXPANDED_BYTES", MEGABYTE)
    path = tmp_path / "trace.parquet"
    column = pyarrow.array(["x" * MEGABYTE + str(at) for at in range(9)])
    table = pyarrow.table({"prompt": column, "response": column})
    parquet.write_table(table, path, compression="zstd", use_dictionary=False)

    assert places(read(path)[1]) == [("expands-too-much", None, None)]


def test_a_row_of_csv_has_a_limit() -> None:
    header = "TIMESTAMP,ContextTokens,GeneratedTokens\n"

    _, problems = read_text(header + "," * 20_000 + "\n", trace_format="azure")

    assert places(problems) == [("invalid-csv", 2, None)]
    assert problems[0].message == "has more than 10,000 columns, the limit of a row"


def test_lines_are_counted_over_blank_lines() -> None:
    record = '{"input_length":1,"output_length":1}\n'

    records, _ = read_text("\n\n \n" + record + "\r\n" * 200_000 + "\t \n" + record + "\n")

    assert [record.line for record in records] == [4, 200_006]


@pytest.mark.parametrize("line", ["{}", "x", "[]", '{"input_length":0,"output_length":0}'])
def test_reading_ends_after_many_errors_without_a_valid_record(
    line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tracesim.trace.reader.MAX_ERRORS_IN_A_ROW", 100)
    valid = '{"input_length":1,"output_length":1}\n'

    records, problems = read_text(valid + (line + "\n") * 40 + valid + (line + "\n") * 200 + valid)

    assert len(records) == 2
    assert problems[-1].code == "too-many-errors"
    assert (problems[-1].line or 0) < 150
    assert MAX_ERRORS_IN_A_ROW == 100_000


@pytest.mark.parametrize("value", ["[],", '"ab",', '{"a":0},', "{},"])
@pytest.mark.parametrize("is_document", [False, True])
def test_values_that_would_take_much_memory_are_not_parsed(
    value: str, is_document: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tracesim.trace.json_object.MAX_VALUE_MEMORY", 8 * MEGABYTE)
    text = '{"input_length":1,"output_length":1,"x":[' + value * (2 * MEGABYTE // len(value)) + "0]}\n"
    tracemalloc.start()

    _, problems = read_text(f"[{text}]" if is_document else text)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert places(problems) == [("line-too-long", 1, None)]
    assert peak < 30 * MEGABYTE


def test_a_benchmark_result_may_be_larger_than_an_item() -> None:
    """Of a document over the limit only the lists that are needed are kept."""
    result = {
        "itls": [[0.01, 0.02]] * 10_000,
        "generated_texts": ['a "quoted" \\ text, [{'] * 1000,
        "input_lens": [3, 5],
        "model": None,
        "output_lens": [1, 2],
        "start_times": [10.5, 11.0],
    }
    text = json.dumps(result)

    records, problems = read_text(text + text, trace_format="vllm-bench", max_line_bytes=20_000)

    assert problems == []
    assert lengths(records) == [(3, 1, 0.0), (5, 2, 0.5)] * 2


@pytest.mark.parametrize("end", ["", "]", "}", '"', "]]", "\\"])
def test_a_large_benchmark_result_that_is_broken_is_a_problem(end: str) -> None:
    text = '{"itls": [' + "[0.1]," * 10_000 + end

    records, problems = read_text(text, trace_format="vllm-bench", max_line_bytes=20_000)

    assert records == []
    assert [(each.code, each.line, each.field) for each in problems][:1] == [("invalid-json", 1, None)]
