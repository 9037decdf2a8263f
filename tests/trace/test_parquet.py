"""Parquet files: rows are read as the records of whichever format their columns show."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from paths import FORMATS as SAMPLES
from trace_files import lengths, places, read, read_text, texts
from tracesim.trace.reader import TraceReader, read_with
from tracesim.trace.record import TraceRecord

pyarrow = pytest.importorskip("pyarrow")


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    from pyarrow.parquet import write_table

    write_table(pyarrow.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize(
    ("name", "expected"),
    [("wildchat.jsonl", "wildchat"), ("mooncake.jsonl", "mooncake"), ("sharegpt.json", "sharegpt")],
)
def test_rows_are_read_as_the_same_objects_in_json(name: str, expected: str, tmp_path: Path) -> None:
    data = (SAMPLES / name).read_bytes()
    lines = (
        data.splitlines() if name.endswith(".jsonl") else [orjson.dumps(each) for each in orjson.loads(data)]
    )
    rows = [row for line in lines for row in [orjson.loads(line)] if "conversation_a" not in row]
    columns = dict.fromkeys([name for row in rows for name in row])
    path = write(tmp_path / "rows.parquet", [dict.fromkeys(columns) | row for row in rows])
    in_json = tmp_path / "rows.jsonl"
    in_json.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))

    reader = TraceReader()
    items = list(read_with(reader, [path]))

    assert set(reader.formats.values()) == {expected}
    records = [item._replace(file="") for item in items if isinstance(item, TraceRecord)]
    assert records == [each._replace(file="") for each in read(in_json)[0]] != []


def test_records_of_tracesim_are_read_from_rows(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": "a", "response": "b", "max_tokens": 5},
        {"prompt": "c", "response": "d", "max_tokens": None},
    ]
    path = write(tmp_path / "rows", rows)

    records, problems = read(path)

    assert texts(records) == [("r1", "a", "b"), ("r2", "c", "d")]
    assert [(each.max_tokens, each.line) for each in records] == [(5, 1), (None, 2)]
    assert problems == []


def test_columns_of_csv_formats_are_read_from_rows(tmp_path: Path) -> None:
    rows = [{"num_prefill_tokens": 5, "num_decode_tokens": 6, "arrived_at": 0.5}]
    _, problems = read(write(tmp_path / "half", [{"num_prefill_tokens": 5}]), trace_format="vidur")

    assert lengths(read(write(tmp_path / "vidur", rows))[0]) == [(5, 6, 0.5)]
    assert places(problems) == [("missing-field", None, "num_decode_tokens")]


def test_parquet_is_read_from_a_pipe_and_compressed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has no random access is read into memory."""
    data = write(tmp_path / "rows", [{"prompt": "a", "response": "b"}]).read_bytes()
    compressed = tmp_path / "rows.gz"
    compressed.write_bytes(gzip.compress(data))

    assert texts(read(compressed)[0]) == [("r1", "a", "b")]
    assert texts(read_text(data)[0]) == [("r1", "a", "b")]


def test_damaged_parquet_is_one_problem(tmp_path: Path) -> None:
    path = write(tmp_path / "rows", [{"prompt": "a", "response": "b"}])
    path.write_bytes(path.read_bytes()[:-20])

    records, (problem,) = read(path)

    assert records == []
    assert (problem.code, problem.line) == ("truncated-file", None)
    assert "the Parquet file ends early or is damaged" in problem.message


def test_unknown_columns_are_named(tmp_path: Path) -> None:
    _, (problem,) = read(write(tmp_path / "rows", [{"question": "a", "answer": "b"}]))

    assert problem.code == "unknown-format"
    assert 'is a Parquet file with the columns "question", "answer", which no' in problem.message


def test_without_pyarrow_the_problem_names_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "rows", [{"prompt": "a", "response": "b"}])
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)

    for trace_format in (None, "tracesim", "azure"):
        problems = read(path, trace_format=trace_format)[1]
        assert problems[0].code == "unreadable-file"
        assert "install it with: pip install pyarrow" in problems[0].message
