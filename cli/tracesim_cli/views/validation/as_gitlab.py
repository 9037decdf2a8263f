"""Problems of traces as a GitLab Code Quality report, which a merge request shows beside its changes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tracesim_cli.terminal.json_output import ascii_document
from tracesim_cli.views.problem_text import sentence
from tracesim_cli.views.validation.places import fingerprint, with_fingerprints, workspace_path
from tracesim_cli.views.validation.report import ValidationReport

_SEVERITIES = {"error": "major", "warning": "minor"}


def format_report(report: ValidationReport) -> Iterator[str]:
    """Yield one JSON document, in ASCII."""
    yield ascii_document([*_issues(report)])


def _issues(report: ValidationReport) -> Iterator[dict[str, Any]]:
    """Yield an issue for each problem shown, and one for each code of which a file has more.

    GitLab needs a line for every issue: one about the whole file is at line 1.
    """
    for problem, mark in with_fingerprints(report.problems.in_order()):
        yield {
            "description": f"{sentence(problem)} [{problem.code}]",
            "check_name": problem.code,
            "fingerprint": mark,
            "severity": _SEVERITIES[problem.severity],
            "location": {"path": workspace_path(problem.file), "lines": {"begin": problem.line or 1}},
        }
    for (file, code), count in report.problems.omitted_by_file.items():
        yield {
            "description": f"{count:,} more {code} in this file (--max-problems 0 shows all)",
            "check_name": code,
            "fingerprint": fingerprint("omitted", code, workspace_path(file)),
            "severity": "info",
            "location": {"path": workspace_path(file), "lines": {"begin": 1}},
        }
