"""Problems of traces as SARIF 2.1.0, which code scanning services and editors read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from tracesim import __version__
from tracesim.errors import TraceProblem
from tracesim.trace.problems import DOCUMENTATION, ERRORS, WARNINGS, help_page
from tracesim_cli.terminal.exit_codes import ExitCode
from tracesim_cli.terminal.json_output import ascii_document
from tracesim_cli.terminal.safe_text import visible
from tracesim_cli.views.problem_text import sentence
from tracesim_cli.views.validation.places import artifact_uri, with_fingerprints
from tracesim_cli.views.validation.report import ValidationReport

SARIF_VERSION = "2.1.0"
SARIF_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
FINGERPRINT_NAME = "tracesimProblem/v1"


def format_report(report: ValidationReport) -> Iterator[str]:
    """Yield one JSON document, in ASCII."""
    document = {"$schema": SARIF_SCHEMA, "version": SARIF_VERSION, "runs": [_run(report)]}
    yield ascii_document(document)


def _run(report: ValidationReport) -> dict[str, Any]:
    """Return the run: its rules are the codes that were found, its artifacts all files, in their order."""
    problems = report.problems
    rules = {code: at for at, code in enumerate(sorted(problems.by_code))}
    files = {name: at for at, name in enumerate(report.files)}
    omitted = [
        {
            "level": "note",
            "message": {"text": f"{count:,} more {code} (--max-problems 0 shows all)"},
            "associatedRule": {"id": code, "index": rules[code]},
        }
        for code, count in problems.omitted.items()
    ]
    return {
        "tool": {
            "driver": {
                "name": "tracesim",
                "version": __version__,
                "informationUri": DOCUMENTATION,
                "rules": [_rule(code) for code in rules],
            }
        },
        "invocations": [
            {
                "executionSuccessful": problems.exit_code != ExitCode.USAGE,
                "exitCode": int(problems.exit_code),
                "toolExecutionNotifications": omitted,
            }
        ],
        "artifacts": [
            {
                "location": artifact_uri(name),
                "properties": {"format": report.formats.get(name), **asdict(counts)},
            }
            for name, counts in report.files.items()
        ],
        "results": [
            _result(problem, mark, rules[problem.code], files[problem.file])
            for problem, mark in with_fingerprints(problems.in_order())
        ],
        "columnKind": "unicodeCodePoints",
        "properties": {
            **asdict(report.total),
            "shown": len(problems.kept),
            "omitted": problems.omitted.total(),
        },
    }


def _rule(code: str) -> dict[str, Any]:
    is_warning = code in WARNINGS
    description = (WARNINGS if is_warning else ERRORS)[code]
    text = f"{description[0].upper()}{description[1:]}."
    return {
        "id": code,
        "shortDescription": {"text": text},
        "fullDescription": {"text": text},
        "help": {"text": f"{text} See {help_page(code)}"},
        "helpUri": help_page(code),
        "defaultConfiguration": {"level": "warning" if is_warning else "error"},
    }


def _result(problem: TraceProblem, mark: str, rule_index: int, file_index: int) -> dict[str, Any]:
    """Return the result for a problem; one about the whole file is at line 1, as services need a line."""
    return {
        "ruleId": problem.code,
        "ruleIndex": rule_index,
        "level": problem.severity,
        "message": {"text": _without_links(sentence(problem))},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {**artifact_uri(problem.file), "index": file_index},
                    "region": {"startLine": problem.line or 1},
                }
            }
        ],
        "partialFingerprints": {FINGERPRINT_NAME: mark},
        "properties": {} if problem.field is None else {"field": visible(problem.field)},
    }


def _without_links(text: str) -> str:
    """Return text without the form `[words](address)`, which SARIF shows as a link."""
    return text.replace("](", "] (")
