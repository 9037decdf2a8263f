"""Problems of traces as workflow commands, which GitHub shows beside the lines of a pull request."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tracesim_cli.terminal.safe_text import visible
from tracesim_cli.views.problem_text import sentence
from tracesim_cli.views.validation.places import workspace_path
from tracesim_cli.views.validation.report import ValidationReport

_DATA = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A"})
_PROPERTY = {**_DATA, **str.maketrans({":": "%3A", ",": "%2C"})}
_NOT_ESCAPED = re.compile(r"[^%\r\n\\]+")


def format_report(report: ValidationReport) -> Iterator[str]:
    """Yield a command for each problem shown, and a notice for each code that has more."""
    for problem in report.problems.in_order():
        line = "" if problem.line is None else f",line={problem.line}"
        place = f"file={_escape(workspace_path(problem.file), _PROPERTY)}{line},title={problem.code} in trace"
        yield f"::{problem.severity} {place}::{_escape(sentence(problem), _DATA)}"
    for code, count in report.problems.omitted.items():
        yield f"::notice::{count:,} more {code} (--max-problems 0 shows all)"


def _escape(text: str, escapes: dict[int, str]) -> str:
    """Return text as a part of a command: no character of it ends the part or controls a terminal."""
    printable = _NOT_ESCAPED.sub(lambda match: visible(match[0]), text)
    return printable.translate(escapes)
