"""`tracesim validate`: every problem of a trace, and an exit code that a script can rely on."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Literal

import typer

from tracesim.errors import Severity, TraceProblem
from tracesim.trace.reader import read_trace
from tracesim.trace.record import TraceRecord
from tracesim_cli.commands.arguments import TraceFormat, Traces
from tracesim_cli.terminal.exit_codes import with_exit_codes
from tracesim_cli.terminal.safe_text import visible
from tracesim_cli.terminal.status import with_status
from tracesim_cli.terminal.text import counted
from tracesim_cli.views.problem_text import format_problem, sentence

VALIDATE_SCHEMA = "tracesim.validate/1"
MAX_PROBLEMS = 50
"""Errors, and warnings, that are shown."""


OutputFormat = Literal["text", "json", "github"]


@dataclass(slots=True)
class Counts:
    """What was found in a file, or in all of them; `records` are those without an error."""

    records: int = 0
    errors: int = 0
    warnings: int = 0

    def add(self, severity: Severity, number: int = 1) -> None:
        """Count a problem, or `number` of them."""
        if severity == "error":
            self.errors += number
        else:
            self.warnings += number


class Report:
    """Counts by file, and the first problems: `max_problems` errors and as many warnings, 0 for all."""

    def __init__(self, files: Sequence[str], max_problems: int) -> None:
        self.files = {name: Counts() for name in files}
        self.problems: list[TraceProblem] = []
        room = max_problems or sys.maxsize
        self._room = {"error": room, "warning": room}

    @property
    def total(self) -> Counts:
        """The sum over the files."""
        total = Counts()
        for counts in self.files.values():
            total.records += counts.records
            total.errors += counts.errors
            total.warnings += counts.warnings
        return total

    @property
    def omitted(self) -> Counts:
        """The problems that are counted but not kept."""
        total = self.total
        for problem in self.problems:
            total.add(problem.severity, -1)
        return total

    def add(self, problem: TraceProblem) -> None:
        """Count a problem, and keep it while there is room."""
        self.files[problem.file].add(problem.severity)
        if self._room[problem.severity]:
            self._room[problem.severity] -= 1
            self.problems.append(problem)


EPILOG = """\
Example:
tracesim validate trace.jsonl --format github

Exit codes:
0  no errors
1  errors, or warnings with --strict
2  wrong usage"""


@with_exit_codes
def validate(
    traces: Traces,
    trace_format: TraceFormat = None,
    max_problems: Annotated[
        int, typer.Option(min=0, metavar="N", help="Show at most N errors and N warnings; 0 shows all.")
    ] = MAX_PROBLEMS,
    strict: Annotated[bool, typer.Option("--strict", help="Take warnings for errors.")] = False,
    output_format: Annotated[
        OutputFormat, typer.Option("--format", help="How to write the report; github: workflow annotations.")
    ] = "text",
) -> None:
    """Check traces and report every problem with its file, line and field.

    Exit code 0: no errors; 1: errors, or warnings with --strict; 2: wrong usage.
    """
    report = collect(traces, trace_format, max_problems=max_problems, strict=strict)
    lines = {
        "text": lambda: format_text(report, color=_wants_color()),
        "json": lambda: format_json(report),
        "github": lambda: format_github(report),
    }[output_format]()
    sys.stdout.writelines(f"{line}\n" for line in lines)
    if report.total.errors:
        raise typer.Exit(1)


def collect(
    traces: Sequence[str],
    trace_format: str | None = None,
    *,
    max_problems: int = MAX_PROBLEMS,
    strict: bool = False,
) -> Report:
    """Read `traces` to the end, as one trace, and keep what a report shows."""
    report = Report([_file_name(path) for path in traces], max_problems)
    for item in with_status(read_trace(traces, trace_format=trace_format), "checking"):
        if isinstance(item, TraceRecord):
            report.files[item.file].records += 1
        else:
            report.add(item._replace(severity="error") if strict else item)
    return report


def format_text(report: Report, *, color: bool = False) -> Iterator[str]:
    """A line for each problem shown, then a line for each file, and a total of several."""
    for problem in report.problems:
        yield format_problem(problem, color=color)
    if omitted := _in_words(report.omitted, "more "):
        yield f"... and {omitted} (--max-problems 0 shows all)"
    for name, counts in report.files.items():
        yield _summary(visible(name), counts)
    if len(report.files) > 1:
        yield _summary("total", report.total)


def format_json(report: Report) -> Iterator[str]:
    """One JSON document, in ASCII."""
    total, omitted = report.total, report.omitted
    document = {
        "schema": VALIDATE_SCHEMA,
        "valid": not total.errors,
        **asdict(total),
        "files": [{"file": name, **asdict(counts)} for name, counts in report.files.items()],
        "shown": len(report.problems),
        "omitted": omitted.errors + omitted.warnings,
        "problems": [problem._asdict() for problem in report.problems],
    }
    yield json.dumps(document, indent=2)


def format_github(report: Report) -> Iterator[str]:
    """Workflow commands, which GitHub shows beside the lines of a pull request."""
    for problem in report.problems:
        line = "" if problem.line is None else f",line={problem.line}"
        place = f"file={_property(problem.file)}{line},title={problem.code} in trace"
        yield f"::{problem.severity} {place}::{_command_data(sentence(problem))}"
    if omitted := _in_words(report.omitted, "more "):
        yield f"::notice::{omitted} (--max-problems 0 shows all)"


def _file_name(path: str) -> str:
    return "<stdin>" if path == "-" else path


def _summary(name: str, counts: Counts) -> str:
    problems = _in_words(counts)
    if not problems:
        return f"{name}: {counted(counts.records, 'record')}, no problems"
    return f"{name}: {counted(counts.records, 'valid record')}, {problems}"


def _in_words(counts: Counts, more: str = "") -> str:
    """`2 errors, 1 warning`; an empty string when there are none."""
    words = [counted(counts.errors, f"{more}error")] if counts.errors else []
    words += [counted(counts.warnings, f"{more}warning")] if counts.warnings else []
    return ", ".join(words)


def _command_data(text: str) -> str:
    """GitHub's escaping; half surrogates, which UTF-8 cannot write, are spelled out."""
    text = text.encode("utf-8", "backslashreplace").decode()
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _command_data(text).replace(":", "%3A").replace(",", "%2C")


def _wants_color() -> bool:
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return _is_terminal() and not plain


def _is_terminal() -> bool:
    return sys.stdout.isatty()
