"""BurstGPT's CSV: `Timestamp` in seconds, `Request tokens`, `Response tokens`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from tracesim.errors import TraceProblem
from tracesim.trace.formats.csv_rows import integer, seconds_or_fault, table_rows
from tracesim.trace.formats.interface import Entry, SeparateFiles
from tracesim.trace.input_file import InputFile
from tracesim.trace.problems import Finding

_COLUMNS = ("Timestamp", "Request tokens", "Response tokens")
_FAILED = Finding("failed-request", "Response tokens", "is 0: the request failed, and is skipped")


class BurstGPT(SeparateFiles):
    """Lengths, and times counted from the first day's midnight; other columns are ignored.

    A request with 0 response tokens failed, as the dataset has it, and is skipped.
    """

    field_names: ClassVar = {
        "input_length": "Request tokens",
        "output_length": "Response tokens",
        "arrival_time": "Timestamp",
    }

    def read(self, file: InputFile) -> Iterator[Entry | TraceProblem]:
        """Yield an entry for each row."""
        for row in table_rows(file, _COLUMNS):
            if not isinstance(row, dict):
                yield row
                continue
            output_length = integer(row["Response tokens"])
            if output_length == 0:
                yield Entry(file.name, file.line_number, None, [_FAILED])
                continue
            fields: dict[str, Any] = {
                "input_length": integer(row["Request tokens"]),
                "output_length": output_length,
            }
            findings = []
            seconds = seconds_or_fault(row["Timestamp"])
            if isinstance(seconds, float):
                fields["arrival_time"] = seconds
            else:
                findings.append(Finding(seconds[0], "Timestamp", seconds[1]))
            yield Entry(file.name, file.line_number, fields, findings)
