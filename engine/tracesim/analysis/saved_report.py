"""JSON reports read back from files, checked as far as they are compared."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from tracesim.analysis.figures import FIGURES
from tracesim.analysis.report import REPORT_SCHEMA
from tracesim.errors import ReportError, TraceProblem, brief
from tracesim.trace.formats.detection import kind_of_file
from tracesim.trace.input_file import InputFile

_NUMBERS: Final = (
    "prompt_tokens",
    "output_tokens",
    "preemptions",
    "cached_tokens",
    "arrival_step",
    "scheduled_step",
    "first_token_step",
    "last_token_step",
    "queue_time",
    "ttft",
    "e2e",
)
"""Members of a request that are numbers, or null or absent where there is none."""

_MAX_NUMBER: Final = 1e18
_NO_REPORT: Final = f"is not a report ({REPORT_SCHEMA}), which tracesim replay --save-report writes"


@dataclass(frozen=True, slots=True)
class SavedReport:
    """A report as a JSON document, `REPORT_SCHEMA`; `name` is its file, or what was replayed for it."""

    name: str
    document: Mapping[str, Any]

    @property
    def config(self) -> Mapping[str, Any]:
        """The settings of the run."""
        settings: Mapping[str, Any] = self.document["config"]
        return settings

    @property
    def requests(self) -> Sequence[Mapping[str, Any]]:
        """A row for each request."""
        rows: Sequence[Mapping[str, Any]] = self.document["requests"]
        return rows

    @property
    def is_timed(self) -> bool:
        """Whether the run had a clock."""
        return self.document.get("metrics") is not None


def read_report(path: str | os.PathLike[str]) -> SavedReport:
    """Return the report in a file, compressed or not; `-` is standard input.

    Raises ReportError if the file is not a report, or has other values than reports have.
    """
    file = InputFile(path)
    content = bytearray()
    with file:
        for chunk in [file.failure] if file.failure else file.chunks():
            if isinstance(chunk, bytes):
                content += chunk
            elif isinstance(chunk, TraceProblem) and chunk.severity == "error":
                is_folder = chunk.code == "is-a-directory"
                message = "is a directory; name a file" if is_folder else chunk.message
                raise ReportError(file.name, message)
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise ReportError(file.name, _other_file(file) or f"is not JSON: {error}") from None
    return checked_report(file.name, document, _other_file(file))


def checked_report(name: str, document: Any, otherwise: str | None = None) -> SavedReport:
    """Return a JSON document as a report.

    Raises ReportError if it is none, with the message `otherwise` if it is not even called one.
    """
    if not isinstance(document, dict) or document.get("schema") != REPORT_SCHEMA:
        found = document.get("schema") if isinstance(document, dict) else None
        is_one = isinstance(found, str) and found.startswith("tracesim.report/")
        message = f"has the schema {brief(found)}; this version reads {REPORT_SCHEMA!r}"
        raise ReportError(name, message if is_one else otherwise or _NO_REPORT)
    for member, kind in (("config", dict), ("summary", dict), ("requests", list)):
        if not isinstance(document.get(member), kind):
            found = "is missing" if member not in document else "has another type than in a report"
            raise ReportError(name, f"{member}: {found}")
    if not isinstance(document.get("metrics", {}), dict):
        raise ReportError(name, "metrics: has another type than in a report")
    causes = document["summary"].get("queue_time_by_cause", {})
    if problem := _problem_of_causes(causes):
        raise ReportError(name, f"summary.queue_time_by_cause: {problem}")
    for figure in FIGURES.values():
        if problem := _problem_of_number(figure.value(document)):
            raise ReportError(name, f"{figure.name}: {problem}")
    ids: set[str] = set()
    for number, row in enumerate(document["requests"]):
        if problem := _problem_of_row(row, ids):
            raise ReportError(name, f"requests[{number}]{problem}")
        ids.add(row["id"])
    return SavedReport(name, document)


def _other_file(file: InputFile) -> str | None:
    """Return what a file is instead of a report; None if that is unknown."""
    kind = kind_of_file(file.head)
    return None if kind is None else f"is {kind.name}, not a report; {kind.use}"


def _problem_of_row(row: Any, ids: set[str]) -> str | None:
    """Return what is wrong with a row of a report that has rows with these ids already."""
    if not isinstance(row, dict) or not isinstance(row.get("id"), str):
        return ": is not a request with an id"
    if row["id"] in ids:
        return f".id: {brief(row['id'])} is the id of another request, too"
    for name in _NUMBERS:
        if problem := _problem_of_number(row.get(name)):
            return f".{name}: {problem}"
    problem = _problem_of_causes(row.get("queue_time_by_cause", {}))
    return problem and f".queue_time_by_cause: {problem}"


def _problem_of_causes(causes: Any) -> str | None:
    if not isinstance(causes, dict) or None in causes.values():
        return "must be an object of numbers"
    return next(filter(None, map(_problem_of_number, causes.values())), None)


def _problem_of_number(value: object) -> str | None:
    """Return what is wrong with a value that is a number or null in a report."""
    if value is None or (type(value) in (int, float) and 0 <= value <= _MAX_NUMBER):  # type: ignore[operator]
        return None
    return f"is {brief(value)}; must be a number >= 0 and at most {_MAX_NUMBER:g}"
