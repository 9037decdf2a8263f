"""The CSV of Azure's LLM inference traces: `TIMESTAMP`, `ContextTokens`, `GeneratedTokens`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any, ClassVar

from tracesim.errors import TraceProblem
from tracesim.trace.formats.csv_rows import Cells, csv_entries, integer
from tracesim.trace.formats.interface import Entry
from tracesim.trace.input_file import InputFile
from tracesim.trace.problems import Finding, quote

_COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
# The fraction has seven digits, for which datetime has no room.
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)?", re.ASCII)


class Azure:
    """Lengths and times. The first request of the trace arrives at 0 s."""

    waits_for_all: ClassVar = False
    field_names: ClassVar = {
        "input_length": "ContextTokens",
        "output_length": "GeneratedTokens",
        "arrival_time": "TIMESTAMP",
    }

    def __init__(self) -> None:
        self._first: int | None = None

    def read(self, file: InputFile) -> Iterator[Entry | TraceProblem]:
        """An entry a row."""
        return csv_entries(file, _COLUMNS, self._fields)

    def finish(self) -> Iterator[Entry]:
        """Nothing."""
        return iter(())

    def _fields(self, cells: Cells, findings: list[Finding]) -> dict[str, Any]:
        return {
            "input_length": integer(cells["ContextTokens"]),
            "output_length": integer(cells["GeneratedTokens"]),
            **self._arrival(cells["TIMESTAMP"], findings),
        }

    def _arrival(self, cell: str, findings: list[Finding]) -> dict[str, float]:
        """The arrival in seconds after the first; what is wrong with it goes to the findings."""
        time = _nanoseconds(cell)
        if time is None:
            say = f"is {quote(cell)}; must be a time such as 2023-11-16 18:15:46.6805900"
            findings.append(Finding("bad-value", "TIMESTAMP", say))
            return {}
        self._first = time if self._first is None else self._first
        if time < self._first:
            say = f"is {quote(cell)}, before the first of the trace; sort the rows, or the files, by time"
            findings.append(Finding("bad-value", "TIMESTAMP", say))
            return {}
        return {"arrival_time": (time - self._first) / 1e9}


def _nanoseconds(cell: str) -> int | None:
    """A time in nanoseconds since 1970, UTC where it names no zone; None if it is no time."""
    match = _TIME.fullmatch(cell.strip())
    if match is None:
        return None
    day, clock, fraction, zone = match.groups()
    try:
        time = datetime.fromisoformat(f"{day}T{clock}{zone if zone and zone != 'Z' else '+00:00'}")
    except ValueError:
        return None
    return (time - _EPOCH) // timedelta(seconds=1) * 10**9 + int((fraction or "0").ljust(9, "0"))
