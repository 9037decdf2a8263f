"""BurstGPT's CSV: `Timestamp` in seconds, `Request tokens`, `Response tokens`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar

from tracesim.errors import TraceProblem
from tracesim.trace.formats.csv_rows import Cells, csv_entries, integer
from tracesim.trace.formats.interface import Entry
from tracesim.trace.input_file import InputFile
from tracesim.trace.problems import Finding, quote

_COLUMNS = ("Timestamp", "Request tokens", "Response tokens")


class BurstGPT:
    """Lengths, and times counted from the first day's midnight; other columns are left alone.

    A request with 0 response tokens failed, as the dataset has it, and is left out.
    """

    waits_for_all: ClassVar = False
    field_names: ClassVar = {
        "input_length": "Request tokens",
        "output_length": "Response tokens",
        "arrival_time": "Timestamp",
    }

    def read(self, file: InputFile) -> Iterator[Entry | TraceProblem]:
        """An entry a row."""
        return csv_entries(file, _COLUMNS, _fields)

    def finish(self) -> Iterator[Entry]:
        """Nothing."""
        return iter(())


def _fields(cells: Cells, findings: list[Finding]) -> dict[str, Any] | None:
    if cells["Response tokens"].strip() == "0":
        say = "is 0: the request failed, and is left out"
        findings.append(Finding("failed-request", "Response tokens", say))
        return None
    return {
        "input_length": integer(cells["Request tokens"]),
        "output_length": integer(cells["Response tokens"]),
        **_arrival(cells["Timestamp"], findings),
    }


def _arrival(cell: str, findings: list[Finding]) -> dict[str, float]:
    try:
        seconds = float(cell)
    except ValueError:
        seconds = math.nan
    if 0 <= seconds < math.inf:
        return {"arrival_time": seconds}
    say = f"is {quote(cell)}; must be a number of seconds >= 0"
    findings.append(Finding("bad-value", "Timestamp", say))
    return {}
