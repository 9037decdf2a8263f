"""The CSV of Azure's LLM inference traces: `TIMESTAMP`, `ContextTokens`, `GeneratedTokens`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any, ClassVar

from tracesim.errors import TraceProblem
from tracesim.trace.formats.csv_rows import csv_rows, integer
from tracesim.trace.formats.interface import Entry, SeparateFiles
from tracesim.trace.input_file import InputFile
from tracesim.trace.problems import Finding, quote

_COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
# The fraction has seven digits; datetime reads at most six.
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)?", re.ASCII)


class Azure(SeparateFiles):
    """Lengths and times. The first request of the trace arrives at 0 s."""

    field_names: ClassVar = {
        "input_length": "ContextTokens",
        "output_length": "GeneratedTokens",
        "arrival_time": "TIMESTAMP",
    }

    def __init__(self) -> None:
        self._first: int | None = None

    def read(self, file: InputFile) -> Iterator[Entry | TraceProblem]:
        """Yield an entry for each row."""
        for row in csv_rows(file, _COLUMNS):
            if not isinstance(row, dict):
                yield row
                continue
            fields: dict[str, Any] = {
                "input_length": integer(row["ContextTokens"]),
                "output_length": integer(row["GeneratedTokens"]),
            }
            cell = row["TIMESTAMP"]
            time = nanoseconds(cell)
            self._first = time if self._first is None else self._first
            findings = []
            if time is None or self._first is None:
                message = f"is {quote(cell)}; must be a time such as 2023-11-16 18:15:46.6805900"
                findings.append(Finding("bad-value", "TIMESTAMP", message))
            elif time < self._first:
                message = (
                    f"is {quote(cell)}, before the first of the trace; sort the rows, or the files, by time"
                )
                findings.append(Finding("bad-value", "TIMESTAMP", message))
            else:
                fields["arrival_time"] = (time - self._first) / 1e9
            yield Entry(file.name, file.line_number, fields, findings)


def nanoseconds(text: str) -> int | None:
    """Return a time in nanoseconds since 1970, UTC where it names no zone; None if it is no time."""
    match = _TIME.fullmatch(text.strip())
    if match is None:
        return None
    day, clock, fraction, zone = match.groups()
    try:
        time = datetime.fromisoformat(f"{day}T{clock}{zone if zone and zone != 'Z' else '+00:00'}")
    except ValueError:
        return None
    return (time - _EPOCH) // timedelta(seconds=1) * 10**9 + int((fraction or "0").ljust(9, "0"))
