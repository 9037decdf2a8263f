"""Measured files opened, and read by the reader of their kind, which their content shows."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Final

import orjson

from tracesim.errors import MeasurementError, TraceProblem
from tracesim.measured.aiperf import aiperf_run, is_aiperf
from tracesim.measured.guidellm import guidellm_runs, is_guidellm
from tracesim.measured.measurements import MeasuredRun
from tracesim.measured.request_table import COLUMNS, is_request_table, request_table_run
from tracesim.measured.step_log import is_step_log, step_log_run
from tracesim.measured.vllm_bench import is_vllm_bench, vllm_bench_run
from tracesim.measured.vllm_log import is_vllm_log, read_vllm_log
from tracesim.trace.formats.detection import kind_of_file
from tracesim.trace.input_file import InputFile

MAX_DOCUMENT_BYTES: Final = 1 << 29
"""The size of the largest JSON document that is read; JSONL, CSV and logs are limited by the line."""

_MAX_LINE: Final = 64 << 20

_KINDS: Final = (
    "vLLM's log with --enable-logging-iteration-details, vllm bench serve --save-detailed, guidellm's JSON, "
    "aiperf's profile_export.jsonl, step records with durations, or CSV or JSONL with a row per request: "
    f"{COLUMNS['prompt'][1]}, {COLUMNS['output'][1]}, {COLUMNS['arrival'][2]}, {COLUMNS['first token'][0]} "
    f"and {COLUMNS['last token'][0]}"
)


def read_measured(paths: Sequence[str | os.PathLike[str]]) -> list[MeasuredRun]:
    """Return the runs that files have, compressed or not: one for each file, or more in reports of several.

    Raises MeasurementError, with the file and the place, for what cannot be read or is not of a known kind.
    """
    runs: list[MeasuredRun] = []
    for path in paths:
        runs += _read(InputFile(path, _MAX_LINE))
    return runs


def _read(file: InputFile) -> list[MeasuredRun]:
    lines = _lines(file)
    first = next(lines, None)
    if first is None:
        raise MeasurementError(file.name, None, "is empty")
    lines = chain([first], lines)
    head = file.head.lstrip()
    if head[:1] not in (b"{", b"["):
        if is_vllm_log(head):
            return [read_vllm_log(file.name, lines)]
        return [_csv_run(file, lines)]
    fields = _object(first[1])
    if fields is None or is_guidellm(fields) or is_vllm_bench(fields):
        return list(_documents(file, lines))
    objects = _objects(file, lines)
    if is_step_log(fields):
        return [step_log_run(file.name, objects)]
    if is_aiperf(fields):
        return [aiperf_run(file.name, objects)]
    if is_request_table(fields):
        return [request_table_run(file.name, objects)]
    raise _unknown(file, fields)


def _lines(file: InputFile) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not blank, with their numbers. Raises MeasurementError."""
    for item in file:
        if isinstance(item, TraceProblem):
            if item.severity == "error":
                raise MeasurementError(item.file, item.line, item.message)
        elif not item.isspace():
            yield file.line_number, item


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _objects(file: InputFile, lines: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the JSON object of each line. Raises MeasurementError for a line that is none."""
    for number, line in lines:
        fields = _object(line)
        if fields is None:
            raise MeasurementError(file.name, number, "is not a JSON object, as the lines before it are")
        yield number, fields


def _documents(file: InputFile, lines: Iterable[tuple[int, bytes]]) -> Iterator[MeasuredRun]:
    """Yield the runs of JSON documents: one a line, one over several lines, or a list of records."""
    whole, pending = b"", 0
    number = 0
    for line_number, line in lines:
        number = number or line_number
        whole, pending = whole + line, pending + len(line)
        if pending > MAX_DOCUMENT_BYTES:
            message = f"has a JSON document of more than {MAX_DOCUMENT_BYTES:,} bytes"
            raise MeasurementError(file.name, number, message)
        if line.rstrip()[-1:] not in (b"}", b"]"):
            continue
        try:
            value = orjson.loads(whole)
        except orjson.JSONDecodeError:
            continue
        yield from _runs_of(file, value)
        whole, pending, number = b"", 0, 0
    if whole:
        try:
            orjson.loads(whole)
        except orjson.JSONDecodeError as error:
            raise MeasurementError(file.name, number, f"is not JSON: {error}") from None


def _runs_of(file: InputFile, value: Any) -> Iterator[MeasuredRun]:
    if isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
        if is_request_table(value[0]):
            yield request_table_run(file.name, enumerate(value, 1))
            return
        value = value[0]
    if not isinstance(value, dict):
        raise _unknown(file, {})
    if is_guidellm(value):
        yield from guidellm_runs(file.name, value)
    elif is_vllm_bench(value):
        yield vllm_bench_run(file.name, value)
    else:
        raise _unknown(file, value)


def _csv_run(file: InputFile, lines: Iterable[tuple[int, bytes]]) -> MeasuredRun:
    """Return the requests of CSV, whose first line names the columns. Raises MeasurementError."""
    numbers: list[int] = []

    def texts() -> Iterator[str]:
        for number, line in lines:
            numbers.append(number)
            yield line.decode("utf-8", "replace")

    rows = csv.DictReader(texts())
    try:
        names = [name.strip() for name in rows.fieldnames or ()]
        rows.fieldnames = names
        if not is_request_table(names):
            raise _unknown(file, dict.fromkeys(names) if len(names) > 1 else {})
        return request_table_run(file.name, ((numbers[-1], row) for row in rows))
    except csv.Error as error:
        raise MeasurementError(file.name, numbers[-1], f"is not CSV: {error}") from None


def _unknown(file: InputFile, fields: dict[str, Any]) -> MeasurementError:
    """Return the error that a file is of no known kind; it names what the file is or has."""
    kind = kind_of_file(file.head)
    if kind is not None:
        found = f"is {kind.name}, without times that were measured"
    elif fields:
        found = f"has the fields {', '.join(map(repr, list(fields)[:8]))}"
    else:
        found = "is neither JSON nor CSV nor a log of vLLM"
    return MeasurementError(file.name, None, f"{found}; calibrate reads {_KINDS}")
