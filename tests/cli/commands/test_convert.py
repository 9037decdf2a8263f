"""`tracesim convert` writes the same trace, whole or not at all."""

from __future__ import annotations

import gzip
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import zstandard

from command_line import run
from paths import SAMPLES
from tracesim.trace.reader import read_records

convert = partial(run, "convert")


FAULTY = b'{"prompt":"a","response":"b"}\n{"prompt":"","response":"b"}\n{"prompt":"c","response":"d"}\n'


def contents(*paths: Path) -> list[tuple[object, ...]]:
    """The records, without the places they are from."""
    return [record[:-2] for record in read_records(paths)]


SOURCES = [
    *([path] for path in sorted(SAMPLES.glob("*.jsonl"))),
    *([path] for path in sorted((SAMPLES / "formats").iterdir()) if "openai" not in path.name),
    sorted((SAMPLES / "formats").glob("openai*")),
]


@pytest.mark.parametrize("sources", SOURCES, ids=lambda paths: paths[0].stem)
def test_every_sample_is_the_same_trace_when_converted(sources: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"

    result = convert(*sources, out)

    assert (result.exit_code, result.stdout) == (0, f"{out}: {len(contents(*sources))} records\n")
    assert contents(*sources) == contents(out)


@pytest.mark.parametrize(("suffix", "unpack"), [(".gz", gzip.decompress), (".zst", zstandard.decompress)])
def test_the_name_chooses_the_compression(suffix: str, unpack: Any, tmp_path: Path) -> None:
    out = tmp_path / f"out.jsonl{suffix}"
    convert(SAMPLES / "milestone.jsonl", out)

    packed = out.read_bytes()

    assert contents(SAMPLES / "milestone.jsonl") == contents(out)
    if suffix == ".gz":
        assert unpack(packed) == convert(SAMPLES / "milestone.jsonl", "-").stdout_bytes


@pytest.mark.parametrize("suffix", [".bz2", ".xz", ".lzma", ".zip", ".XZ"])
def test_a_compression_that_cannot_be_written_is_refused(suffix: str, tmp_path: Path) -> None:
    out = tmp_path / f"out.jsonl{suffix}"

    result = convert(SAMPLES / "milestone.jsonl", out)

    assert (result.exit_code, out.exists()) == (2, False)
    assert "only .gz and .zst can be written compressed" in result.stderr


def test_an_existing_file_is_kept(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text("precious")

    refused = convert(SAMPLES / "milestone.jsonl", out)

    assert (refused.exit_code, out.read_text()) == (2, "precious")
    assert f"error: OUT is {out}, which exists already; name another file, or overwrite" in refused.stderr
    assert convert(SAMPLES / "milestone.jsonl", out, "--force").exit_code == 0
    assert convert(out, out, "--force").exit_code == 0
    assert contents(SAMPLES / "milestone.jsonl") == contents(out)


def test_an_invalid_trace_is_not_written(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"

    result = convert("-", out, stdin=FAULTY)

    assert (result.exit_code, list(tmp_path.iterdir())) == (1, [])
    assert "<stdin>:2: error: prompt: is empty" in result.stderr
    assert "nothing was written; fix the trace, or skip invalid records" in result.stderr


def test_invalid_records_can_be_skipped(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"

    result = convert("-", out, "--skip-invalid", stdin=FAULTY)

    assert result.exit_code == 0
    assert "<stdin>:2: error: prompt: is empty" in result.stderr
    assert "skipped the records that have these errors" in result.stderr
    assert [record.id for record in read_records([out])] == ["r1", "r3"]


def test_a_trace_without_a_valid_record_is_an_error(tmp_path: Path) -> None:
    result = convert("-", tmp_path / "out", "--skip-invalid", stdin=b"{\n" * 20)

    assert (result.exit_code, list(tmp_path.iterdir())) == (1, [])
    assert "... and 15 more [invalid-json]" in result.stderr
    assert "no valid record is left" in result.stderr


def test_a_missing_file_is_wrong_usage(tmp_path: Path) -> None:
    result = convert(SAMPLES / "milestone.jsonl", "nowhere", tmp_path / "out", "--skip-invalid")

    assert (result.exit_code, list(tmp_path.iterdir())) == (2, [])
    assert "nowhere: error: no such file; check the path [missing-file]" in result.stderr


def test_a_missing_output_is_named(tmp_path: Path) -> None:
    result = convert(SAMPLES / "milestone.jsonl")

    assert (result.exit_code, "OUT is missing" in result.stderr) == (2, True)


def test_failed_requests_are_counted(tmp_path: Path) -> None:
    result = convert(SAMPLES / "formats" / "burstgpt.csv", tmp_path / "out")

    assert "skipped 1 request that failed when recorded" in result.stderr


def test_what_is_not_written_is_reported() -> None:
    """Conversations without an answer are counted; other warnings about records are shown."""
    turns = ['{"from": "human", "value": "a"}', '{"from": "gpt", "value": "b"}']
    lines = [
        f'{{"conversations": [{", ".join(part)}]}}\n' for part in (turns[:1], turns[:1], turns[1:], turns)
    ]

    result = run("convert", "-", "-", stdin="".join(lines))

    assert "skipped 2 conversations without an answer to replay" in result.stderr
    assert "turn 1 answers nothing" in result.stderr


def test_the_format_may_be_named() -> None:
    result = convert("-", "-", "--trace-format", "azure", stdin=b"{}\n")

    assert result.exit_code == 1
    assert "ContextTokens: is missing in the header" in result.stderr
