"""Trace files and texts read into records and problems, and what tests compare of them."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tracesim.errors import TraceProblem
from tracesim.trace.reader import read_trace
from tracesim.trace.record import TraceRecord

Read = tuple[list[TraceRecord], list[TraceProblem]]


def read(*paths: Path | str, **options: Any) -> Read:
    """Return the records and the problems of one trace."""
    items = list(read_trace(paths, **options))
    records = [item for item in items if isinstance(item, TraceRecord)]
    return records, [item for item in items if isinstance(item, TraceProblem)]


def read_text(text: str | bytes, **options: Any) -> Read:
    """Read standard input with this text."""
    data = text if isinstance(text, bytes) else text.encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        return read("-", **options)


def read_files(*texts: str, **options: Any) -> Read:
    """Read one trace of files with these texts, which are called 1, 2, ..."""
    with TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}" for number in range(1, len(texts) + 1)]
        for path, text in zip(paths, texts, strict=True):
            path.write_text(text)
        return read(*paths, **options)


def lengths(records: list[TraceRecord]) -> list[tuple[int | None, int | None, float | None]]:
    """Return the input length, the output length and the arrival time of each record."""
    return [(record.input_length, record.output_length, record.arrival_time) for record in records]


def texts(records: list[TraceRecord]) -> list[tuple[str, str | None, str | None]]:
    """Return the id, the prompt and the response of each record."""
    return [(record.id, record.prompt, record.response) for record in records]


def places(problems: list[TraceProblem]) -> list[tuple[str, int | None, str | None]]:
    """Return the code, the line and the field of each problem."""
    return [(problem.code, problem.line, problem.field) for problem in problems]
