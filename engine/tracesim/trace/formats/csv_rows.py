"""Rows under a header, for the formats that are CSV."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence

from tracesim.errors import TraceProblem
from tracesim.trace.formats.interface import Entry
from tracesim.trace.input_file import InputFile
from tracesim.trace.problems import Finding, problem, quote

Row = dict[str, str]
"""The cells of a row by the names of the columns."""

_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")


def csv_rows(file: InputFile, needed: Sequence[str]) -> Iterator[Row | Entry | TraceProblem]:
    """Yield each row below the header; a line that is no row is an `Entry` without fields.

    A header without one of the `needed` columns is a problem, and nothing more is read. A last line without
    a newline is accepted: the published files end like that.
    """
    columns: list[str] = []
    for line in file.lines():
        if isinstance(line, TraceProblem):
            if line.code != "no-final-newline":
                yield line
            continue
        if not line.strip():
            continue
        cells, finding = split_cells(line)
        if not columns:
            columns = [cell.strip() for cell in cells]
            missing = [name for name in needed if name not in columns]
            for name in missing:
                message = f"is missing in the header; it must have the columns {', '.join(needed)}"
                yield problem("missing-field", file.name, file.line_number, name, message)
            if missing:
                return
            continue
        if not finding and len(cells) != len(columns):
            message = f"has {len(cells)} columns; must have {len(columns)}, as the header"
            finding = Finding("invalid-csv", None, message)
        if finding:
            yield Entry(file.name, file.line_number, None, [finding])
        else:
            yield dict(zip(columns, cells, strict=True))


def split_cells(line: bytes) -> tuple[list[str], Finding | None]:
    """Return the cells of a line, or none and what is wrong with it."""
    try:
        text = line.decode().rstrip("\r\n")
        return text.split(",") if '"' not in text else next(csv.reader([text], strict=True)), None
    except UnicodeDecodeError as error:
        found = f"0x{line[error.start]:02x} at byte {error.start + 1} of the line"
        message = f"is not UTF-8: {found} is the first that is not; save the file as UTF-8"
        return [], Finding("invalid-utf8", None, message)
    except csv.Error as error:
        found = f"is not CSV: {quote(str(error))}"
        message = f"{found}; a row must be one line, and a quoted cell must end in it"
        return [], Finding("invalid-csv", None, message)


def integer(cell: str) -> int | str:
    """Return the integer in a cell; any other text is returned for the check of its field to refuse."""
    cell = cell.strip()
    return int(cell) if _INTEGER.fullmatch(cell) else cell
