"""The only door to trace files: paths in, `TraceRecord`s and `TraceProblem`s out, in order."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import chain

from tracesim.errors import TraceError, TraceProblem
from tracesim.trace_files import MAX_LINE_BYTES
from tracesim.trace_problems import ERRORS, WARNINGS
from tracesim.trace_reader import TraceReader
from tracesim.trace_record import TraceRecord

__all__ = ["ERRORS", "MAX_LINE_BYTES", "WARNINGS", "TraceReader", "TraceRecord", "read_records", "read_trace"]


def read_trace(
    paths: Sequence[str | os.PathLike[str]],
    *,
    trace_format: str | None = None,
    max_line_bytes: int = MAX_LINE_BYTES,
) -> Iterator[TraceRecord | TraceProblem]:
    """Read one trace from several files; `-` is standard input; gzip and zstd are unpacked.

    `trace_format` names the format of all files; without it each file's content tells its own.

    Ids are unique over all the files; a record without one is called r1, r2, ... by its position among all
    lines that are not blank. A record with an error is not yielded, all its errors are; a warning comes
    before its record. Nothing is raised for what a file is or holds, and no file is held in memory, unless a
    format needs the whole of it. Raises ConfigError for a format that there is not.
    """
    return read_with(TraceReader(trace_format, max_line_bytes), paths)


def read_with(
    reader: TraceReader, paths: Sequence[str | os.PathLike[str]]
) -> Iterator[TraceRecord | TraceProblem]:
    """The same with a reader of one's own, which tells afterwards what it found."""
    return chain(chain.from_iterable(map(reader.read, paths)), reader.finish())


def read_records(
    paths: Sequence[str | os.PathLike[str]], *, trace_format: str | None = None
) -> list[TraceRecord]:
    """All records of one trace; warnings are passed over. Raises TraceError, with every error there is."""
    items = list(read_trace(paths, trace_format=trace_format))
    problems = [item for item in items if isinstance(item, TraceProblem) and item.severity == "error"]
    if problems:
        raise TraceError(problems)
    return [item for item in items if isinstance(item, TraceRecord)]
