"""Problems of traces as one JSON document, `VALIDATE_SCHEMA`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypedDict

from tracesim.errors import Severity
from tracesim_cli.terminal.json_output import ascii_document
from tracesim_cli.views.validation.report import ValidationReport

VALIDATE_SCHEMA = "tracesim.validate/1"


class FileResult(TypedDict):
    """What was found in one file; `records` are those without an error, and `format` is null if unknown."""

    file: str
    format: str | None
    records: int
    errors: int
    warnings: int


class Problem(TypedDict):
    """An error or a warning; `line` counts from 1, and is null for the file as a whole."""

    code: str
    severity: Severity
    file: str
    line: int | None
    field: str | None
    message: str


class ValidationDocument(TypedDict):
    """The result of `tracesim validate`.

    `codes` counts the problems of each code; `shown` of them are in `problems`, and `omitted` are not.
    """

    schema: str
    valid: bool
    records: int
    errors: int
    warnings: int
    files: Sequence[FileResult]
    codes: Mapping[str, int]
    shown: int
    omitted: int
    problems: Sequence[Problem]


def format_report(report: ValidationReport) -> Iterator[str]:
    """Yield one JSON document, in ASCII."""
    total, problems = report.total, report.problems
    document: ValidationDocument = {
        "schema": VALIDATE_SCHEMA,
        "valid": not total.errors,
        "records": total.records,
        "errors": total.errors,
        "warnings": total.warnings,
        "files": [
            {
                "file": name,
                "format": report.formats.get(name),
                "records": counts.records,
                "errors": counts.errors,
                "warnings": counts.warnings,
            }
            for name, counts in report.files.items()
        ],
        "codes": dict(sorted(problems.by_code.items())),
        "shown": len(problems.kept),
        "omitted": problems.omitted.total(),
        "problems": [
            {
                "code": each.code,
                "severity": each.severity,
                "file": each.file,
                "line": each.line,
                "field": each.field,
                "message": each.message,
            }
            for each in problems.kept
        ],
    }
    yield ascii_document(document)
