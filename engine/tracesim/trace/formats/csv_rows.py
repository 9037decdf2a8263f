"""Rows under a header, for the formats that are CSV."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tracesim.errors import TraceProblem
from tracesim.trace.formats.interface import Entry
from tracesim.trace.input_file import InputFile
from tracesim.trace.problems import Finding, problem, quote

_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")

Cells = dict[str, str]
"""A row's cells, by the names of the columns."""


def csv_entries(
    file: InputFile,
    needed: Sequence[str],
    fields_of: Callable[[Cells, list[Finding]], dict[str, Any] | None],
) -> Iterator[Entry | TraceProblem]:
    """An entry for each row below the header: `fields_of` takes its cells, and adds what is wrong with them.

    A header without one of the columns that are `needed` is a problem, and nothing more is read. A last line
    without a newline is none: the published files end so.
    """
    columns: list[str] = []
    for line in file.lines():
        if isinstance(line, TraceProblem):
            if line.code != "no-final-newline":
                yield line
            continue
        if not line.strip():
            continue
        cells, findings = _cells(line)
        if columns:
            row = _row(columns, cells, findings)
            fields = None if row is None else fields_of(row, findings)
            yield Entry(file.name, file.line_number, fields, findings)
            continue
        columns = [cell.strip() for cell in cells]
        missing = [name for name in needed if name not in columns]
        for name in missing:
            say = f"is missing in the header; it must have the columns {', '.join(needed)}"
            yield problem("missing-field", file.name, file.line_number, name, say)
        if missing:
            return


def integer(cell: str) -> int | str:
    """The integer in a cell; what is none is left for the check of its field to refuse."""
    cell = cell.strip()
    return int(cell) if _INTEGER.fullmatch(cell) else cell


def _row(columns: Sequence[str], cells: list[str], findings: list[Finding]) -> Cells | None:
    """The cells by their columns; None where the line is no row, and a finding says why."""
    if not findings and len(cells) != len(columns):
        say = f"has {len(cells)} columns; must have {len(columns)}, as the header"
        findings.append(Finding("invalid-csv", None, say))
    return None if findings else dict(zip(columns, cells, strict=True))


def _cells(line: bytes) -> tuple[list[str], list[Finding]]:
    try:
        text = line.decode().rstrip("\r\n")
        return text.split(",") if '"' not in text else next(csv.reader([text], strict=True)), []
    except UnicodeDecodeError as error:
        say = f"is not UTF-8: 0x{line[error.start]:02x} at byte {error.start + 1} of the line"
        return [], [Finding("invalid-utf8", None, f"{say} is the first that is not; save the file as UTF-8")]
    except csv.Error as error:
        say = f"is not CSV: {quote(str(error))}; a row must be one line, and a quoted cell must end in it"
        return [], [Finding("invalid-csv", None, say)]
