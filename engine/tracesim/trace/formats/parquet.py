"""Rows of Parquet files, through pyarrow."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from tracesim.errors import TraceProblem, needs_package
from tracesim.limits import EXPANDED_BYTES, MAX_EXPANSION
from tracesim.trace.input_file import InputFile, expands_too_much
from tracesim.trace.problems import problem

_MAGIC = b"PAR1"
_BATCH_ROWS = 1000


def is_parquet(head: bytes) -> bool:
    """Whether a file that begins with `head` is Parquet."""
    return head.startswith(_MAGIC)


def parquet_columns(file: InputFile) -> list[str] | TraceProblem:
    """Return the names of the columns, or why the file cannot be read."""
    opened = _open(file)
    return opened if isinstance(opened, TraceProblem) else list(opened.schema_arrow.names)


def parquet_rows(file: InputFile) -> Iterator[dict[str, Any] | TraceProblem]:
    """Yield each row without its nulls; times are text. `line_number` of the file counts the rows."""
    opened = _open(file)
    if isinstance(opened, TraceProblem):
        yield opened
        return
    try:
        for batch in opened.iter_batches(_BATCH_ROWS):
            for row in batch.to_pylist():
                file.line_number += 1
                yield {
                    name: value.isoformat() if hasattr(value, "isoformat") else value
                    for name, value in row.items()
                    if value is not None
                }
    except (OSError, ValueError, MemoryError) as error:  # pyarrow's errors are subclasses of these
        yield _damaged(file, error)


def _open(file: InputFile) -> Any:
    """Return the file as a `pyarrow.parquet.ParquetFile`, or why that is not possible."""
    try:
        from pyarrow.parquet import ParquetFile
    except ImportError:
        message = needs_package("Parquet", "pyarrow")
        return problem("unreadable-file", file.name, None, None, message)
    try:
        content = file.random_access()
        table = ParquetFile(content)
        groups = map(table.metadata.row_group, range(table.metadata.num_row_groups))
        expanded = sum(group.total_byte_size for group in groups)
        size = content.seek(0, os.SEEK_END)
    except (OSError, ValueError) as error:
        return _damaged(file, error)
    if expanded > EXPANDED_BYTES and expanded > MAX_EXPANSION * size:
        return expands_too_much(file.name, None)
    return table


def _damaged(file: InputFile, error: Exception) -> TraceProblem:
    reason = str(error).partition("\n")[0].rstrip(".")
    message = f"the Parquet file ends early or is damaged ({reason}); make or download it again"
    return problem("truncated-file", file.name, None, None, message)
