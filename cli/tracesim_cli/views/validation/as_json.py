"""Problems of traces as one JSON document, `VALIDATE_SCHEMA`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from tracesim_cli.terminal.json_output import ascii_document
from tracesim_cli.views.validation.report import ValidationReport

VALIDATE_SCHEMA = "tracesim.validate/1"


def format_report(report: ValidationReport) -> Iterator[str]:
    """Yield one JSON document, in ASCII."""
    total, problems = report.total, report.problems
    document = {
        "schema": VALIDATE_SCHEMA,
        "valid": not total.errors,
        **asdict(total),
        "files": [
            {"file": name, "format": report.formats.get(name), **asdict(counts)}
            for name, counts in report.files.items()
        ],
        "codes": dict(sorted(problems.by_code.items())),
        "shown": len(problems.kept),
        "omitted": problems.omitted.total(),
        "problems": [problem._asdict() for problem in problems.kept],
    }
    yield ascii_document(document)
