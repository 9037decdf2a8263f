"""Vidur's CSV: `arrived_at` in seconds, `num_prefill_tokens`, `num_decode_tokens`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from tracesim.errors import TraceProblem
from tracesim.trace.formats.csv_rows import integer, seconds_or_fault, table_rows
from tracesim.trace.formats.interface import Entry, SeparateFiles
from tracesim.trace.input_file import InputFile
from tracesim.trace.problems import Finding

_LENGTHS = ("num_prefill_tokens", "num_decode_tokens")


class Vidur(SeparateFiles):
    """Lengths, and times where there is a column `arrived_at`; other columns are ignored."""

    field_names: ClassVar = {
        "input_length": "num_prefill_tokens",
        "output_length": "num_decode_tokens",
        "arrival_time": "arrived_at",
    }

    def read(self, file: InputFile) -> Iterator[Entry | TraceProblem]:
        """Yield an entry for each row."""
        for row in table_rows(file, _LENGTHS):
            if not isinstance(row, dict):
                yield row
                continue
            fields: dict[str, Any] = {
                "input_length": integer(row["num_prefill_tokens"]),
                "output_length": integer(row["num_decode_tokens"]),
            }
            findings = []
            if "arrived_at" in row:
                seconds = seconds_or_fault(row["arrived_at"])
                if isinstance(seconds, float):
                    fields["arrival_time"] = seconds
                else:
                    findings.append(Finding(seconds[0], "arrived_at", seconds[1]))
            yield Entry(file.name, file.line_number, fields, findings)
