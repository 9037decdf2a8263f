"""Rows of cells under a header, for the formats that are CSV; Parquet is read as well."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Sequence

from tracesim.errors import TraceProblem
from tracesim.limits import MAX_COLUMNS, MAX_SECONDS, written
from tracesim.trace.formats.interface import Entry
from tracesim.trace.formats.parquet import is_parquet, parquet_columns, parquet_rows
from tracesim.trace.input_file import InputFile
from tracesim.trace.problems import Finding, not_utf8, problem, quote
from tracesim.trace.schema import Fault, seconds_of_finer_unit

Row = dict[str, str]
"""The cells of a row by the names of the columns."""

_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
_DECIMAL = re.compile(r"[+-]?[0-9]{1,15}(?:\.[0-9]*)?(?:[eE][+-]?[0-9]{1,2})?")
_DELIMITERS = ",;\t"


def table_rows(file: InputFile, needed: Sequence[str]) -> Iterator[Row | Entry | TraceProblem]:
    """Yield each row of a CSV or a Parquet file, as `csv_rows` does."""
    if not is_parquet(file.head):
        yield from csv_rows(file, needed)
        return
    columns = parquet_columns(file)
    if isinstance(columns, TraceProblem):
        yield columns
        return
    missing = [name for name in needed if name not in columns]
    for name in missing:
        message = f"is missing; the file must have the columns {', '.join(needed)}"
        yield problem("missing-field", file.name, None, name, message)
    for row in parquet_rows(file) if not missing else ():
        if isinstance(row, TraceProblem):
            yield row
        else:
            yield {name: str(row.get(name, "")) for name in columns}


def csv_rows(file: InputFile, needed: Sequence[str]) -> Iterator[Row | Entry | TraceProblem]:
    """Yield each row below the header; a line that is no row is an `Entry` without fields.

    A header without one of the `needed` columns is a problem, and nothing more is read. A last line without
    a newline is accepted: the published files end like that.
    """
    columns: list[str] = []
    delimiter = ","
    for line in file.lines():
        if isinstance(line, TraceProblem):
            if line.code != "no-final-newline":
                yield line
            continue
        if not line.strip():
            continue
        if columns:
            row = row_of(line, delimiter, columns)
            yield row if isinstance(row, dict) else Entry(file.name, file.line_number, None, [row])
            continue
        delimiter = delimiter_of(line)
        cells = split_cells(line, delimiter)
        columns = [] if isinstance(cells, Finding) else [cell.strip() for cell in cells]
        missing = [name for name in needed if name not in columns]
        for name in missing:
            message = f"is missing in the header; it must have the columns {', '.join(needed)}"
            yield problem("missing-field", file.name, file.line_number, name, message)
        if missing:
            return


def delimiter_of(header: bytes) -> str:
    """Return what separates the columns of a header: a comma, a semicolon or a tab."""
    return max(_DELIMITERS, key=lambda delimiter: header.count(delimiter.encode()))


def row_of(line: bytes, delimiter: str, columns: Sequence[str]) -> Row | Finding:
    """Return the cells of a line by their columns, or what is wrong with it."""
    cells = split_cells(line, delimiter)
    if isinstance(cells, Finding):
        return cells
    if len(cells) != len(columns):
        message = f"has {len(cells)} columns; must have {len(columns)}, as the header"
        return Finding("invalid-csv", None, message)
    return dict(zip(columns, cells, strict=True))


def split_cells(line: bytes, delimiter: str) -> list[str] | Finding:
    """Return the cells of a line, or what is wrong with it."""
    if line.count(delimiter.encode()) > MAX_COLUMNS:
        return Finding("invalid-csv", None, f"has more than {MAX_COLUMNS:,} columns, the limit of a row")
    try:
        text = line.decode().rstrip("\r\n")
        if '"' not in text:
            return text.split(delimiter)
        return next(csv.reader([text], delimiter=delimiter, strict=True))
    except UnicodeDecodeError as error:
        return Finding("invalid-utf8", None, not_utf8(line, error))
    except csv.Error as error:
        found = f"is not CSV: {quote(str(error))}"
        message = f"{found}; a row must be one line, and a quoted cell must end in it"
        return Finding("invalid-csv", None, message)


def integer(cell: str) -> int | float | str:
    """Return the integer in a cell, or a float such as 18.0; its check refuses a fraction and other text."""
    cell = cell.strip()
    if _INTEGER.fullmatch(cell):
        return int(cell)
    return float(cell) if _DECIMAL.fullmatch(cell) else cell


def seconds_or_fault(cell: str) -> float | Fault:
    """Return the number of seconds in a cell, or what is wrong with it."""
    try:
        seconds = float(cell)
    except ValueError:
        seconds = math.nan
    if 0 <= seconds <= MAX_SECONDS or seconds_of_finer_unit(seconds):
        return seconds
    accepted = f"at most {written(MAX_SECONDS)} seconds" if seconds > 0 else "a number of seconds >= 0"
    return "bad-value", f"is {quote(cell)}; must be {accepted}"
