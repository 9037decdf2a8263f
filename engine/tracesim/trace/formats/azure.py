"""The CSV of Azure's LLM inference traces: `TIMESTAMP`, `ContextTokens`, `GeneratedTokens`."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from itertools import islice
from typing import Any, ClassVar

from tracesim.errors import TraceProblem
from tracesim.trace.formats.csv_rows import integer, table_rows
from tracesim.trace.formats.interface import Entry
from tracesim.trace.formats.times import nanoseconds
from tracesim.trace.input_file import InputFile
from tracesim.trace.problems import Finding, quote

_COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")


class Azure:
    """Lengths and times. The earliest request of all files arrives at 0 s, in whatever order they are.

    The rows of all files are kept until the earliest is known: in arrays, because a trace may have millions.
    """

    waits_for_all: ClassVar = True
    field_names: ClassVar = {
        "input_length": "ContextTokens",
        "output_length": "GeneratedTokens",
        "arrival_time": "TIMESTAMP",
    }

    def __init__(self) -> None:
        self.num_kept = 0
        self._files: list[_Rows] = []

    def read(self, file: InputFile) -> Iterator[Entry | TraceProblem]:
        """Keep every row; yield what is wrong with the file itself."""
        rows = _Rows(file.name)
        self._files.append(rows)
        for row in table_rows(file, _COLUMNS):
            if isinstance(row, TraceProblem):
                yield row
            elif isinstance(row, Entry):
                rows.add_entry(row)
                self.num_kept += 1
            else:
                cell = row["TIMESTAMP"]
                time, findings = nanoseconds(cell), []
                if time is None:
                    message = f"is {quote(cell)}; must be a time such as 2023-11-16 18:15:46.6805900"
                    findings.append(Finding("bad-value", "TIMESTAMP", message))
                lengths = integer(row["ContextTokens"]), integer(row["GeneratedTokens"])
                rows.add(file.line_number, time, lengths, findings)
                self.num_kept += 1

    def finish(self) -> Iterator[Entry]:
        """Yield an entry for each row, in the order of the files."""
        earliest = min([rows.earliest for rows in self._files if rows.earliest is not None], default=0)
        for rows in self._files:
            yield from rows.entries(earliest)


class _Rows:
    """The rows of one file: numbers in arrays; rows that have something else are entries in `_others`."""

    def __init__(self, file: str) -> None:
        self.earliest: int | None = None
        self._file = file
        self._numbers = array("q")  # line, time, input length and output length of each row in turn
        self._others: dict[int, tuple[Entry, int | None]] = {}  # by the number of rows before

    def add(self, line: int, time: int | None, lengths: tuple[Any, Any], findings: list[Finding]) -> None:
        """Add a row; `time` is in nanoseconds since 1970."""
        if time is not None and (self.earliest is None or time < self.earliest):
            self.earliest = time
        numbers = [line, time, *lengths]
        if all(isinstance(number, int) and abs(number) < 2**63 for number in numbers):
            self._numbers.extend(numbers)
        else:
            fields = dict(zip(("input_length", "output_length"), lengths, strict=True))
            self.add_entry(Entry(self._file, line, fields, findings), time)

    def add_entry(self, entry: Entry, time: int | None = None) -> None:
        """Add a row that is not only numbers."""
        self._others[len(self._numbers) // 4 + len(self._others)] = entry, time

    def entries(self, earliest: int) -> Iterator[Entry]:
        """Yield the rows in order, with arrivals in seconds after `earliest`."""
        numbers = iter(self._numbers)
        for at in range(len(self._numbers) // 4 + len(self._others)):
            if at in self._others:
                entry, time = self._others[at]
                if entry.fields is not None and time is not None:
                    entry.fields["arrival_time"] = (time - earliest) / 1e9
                yield entry
                continue
            line, time, *lengths = islice(numbers, 4)
            arrival = (time - earliest) / 1e9
            fields = {"input_length": lengths[0], "output_length": lengths[1], "arrival_time": arrival}
            yield Entry(self._file, line, fields)
