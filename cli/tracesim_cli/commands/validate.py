"""`tracesim validate`: every problem of a trace, and an exit code that a script can rely on."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Literal

import typer

from tracesim.errors import TraceProblem
from tracesim.trace.formats import OWN
from tracesim.trace.problems import ERRORS, WARNINGS
from tracesim.trace.reader import TraceReader, read_with
from tracesim_cli.commands.arguments import TraceFormat, Traces
from tracesim_cli.terminal.display import choose_display
from tracesim_cli.terminal.exit_codes import with_exit_codes
from tracesim_cli.terminal.safe_text import visible
from tracesim_cli.terminal.status import with_status
from tracesim_cli.terminal.text import counted
from tracesim_cli.views.problem_text import SHOWN_PER_CODE, ProblemList, sentence

VALIDATE_SCHEMA = "tracesim.validate/1"

EPILOG = """\
Example:
tracesim validate traces/*.jsonl

Exit codes:
0  no errors
1  errors, or warnings with --strict
2  wrong usage, or a file cannot be read"""

OutputFormat = Literal["text", "json", "github"]


@dataclass(slots=True)
class FileCounts:
    """What was found in one file; `records` are those without an error."""

    records: int = 0
    errors: int = 0
    warnings: int = 0


class ValidationReport:
    """The problems of the files that were validated, and the format and counts of each file."""

    def __init__(self, files: Sequence[str], max_problems: int) -> None:
        self.files = {name: FileCounts() for name in files}
        self.formats: dict[str, str] = {}
        self.problems = ProblemList(max_problems)

    @property
    def total(self) -> FileCounts:
        """The sum over all files."""
        counts = self.files.values()
        return FileCounts(
            sum(each.records for each in counts),
            sum(each.errors for each in counts),
            sum(each.warnings for each in counts),
        )

    def add(self, problem: TraceProblem) -> None:
        """Count a problem of one of the files."""
        self.problems.add(problem)
        if problem.severity == "error":
            self.files[problem.file].errors += 1
        else:
            self.files[problem.file].warnings += 1


def _check_codes(codes: list[str] | None) -> list[str] | None:
    for code in codes or ():
        if code not in ERRORS and code not in WARNINGS:
            raise typer.BadParameter(f"is {code!r}; must be one of {', '.join([*ERRORS, *WARNINGS])}")
    return codes


@with_exit_codes
def validate(
    traces: Traces,
    trace_format: TraceFormat = None,
    as_one_trace: Annotated[
        bool,
        typer.Option("--as-one-trace", help="Validate all files as one trace, whose ids are unique."),
    ] = False,
    max_problems: Annotated[
        int, typer.Option(min=0, metavar="N", help="Show at most N problems of each code; 0 shows all.")
    ] = SHOWN_PER_CODE,
    ignore: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CODE",
            help="Ignore problems of this code, such as duplicate-prompt; may be repeated.",
            callback=_check_codes,
        ),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Treat warnings as errors.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing; set the exit code.")] = False,
    output_format: Annotated[
        OutputFormat, typer.Option("--format", help="Format of the report; github: workflow annotations.")
    ] = "text",
) -> None:
    """Check traces and report every problem with its file, line and field.

    Each file is a trace of its own, unless --as-one-trace is given or a format needs several files.
    """
    report = collect(
        traces,
        trace_format,
        as_one_trace=as_one_trace,
        max_problems=max_problems,
        ignore=ignore or (),
        strict=strict,
    )
    if not quiet:
        lines = {
            "text": lambda: format_text(report, color=choose_display(os.environ, sys.stdout).color),
            "json": lambda: format_json(report),
            "github": lambda: format_github(report),
        }[output_format]()
        sys.stdout.writelines(f"{line}\n" for line in lines)
    if code := report.problems.exit_code:
        raise typer.Exit(code)


def collect(
    traces: Sequence[str],
    trace_format: str | None = None,
    *,
    as_one_trace: bool = False,
    max_problems: int = SHOWN_PER_CODE,
    ignore: Sequence[str] = (),
    strict: bool = False,
) -> ValidationReport:
    """Read `traces` to their end and return what a report shows."""
    report = ValidationReport(["<stdin>" if path == "-" else path for path in traces], max_problems)
    reader = TraceReader(trace_format, one_trace=as_one_trace)
    for item in with_status(read_with(reader, traces), "checking"):
        if not isinstance(item, TraceProblem):
            report.files[item.file].records += 1
        elif item.code not in ignore:
            report.add(item._replace(severity="error") if strict else item)
    report.formats.update(reader.formats)
    return report


def format_text(report: ValidationReport, *, color: bool = False) -> Iterator[str]:
    """Yield a line for each problem shown, then a line for each file, and a total of several files."""
    yield from report.problems.lines(color=color, show_all="--max-problems 0")
    for name, counts in report.files.items():
        found = report.formats.get(name, OWN)
        yield _summary(visible(name) if found == OWN else f"{visible(name)} ({found})", counts)
    if len(report.files) > 1:
        yield _summary("total", report.total)


def format_json(report: ValidationReport) -> Iterator[str]:
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
    yield json.dumps(document, indent=2)


def format_github(report: ValidationReport) -> Iterator[str]:
    """Yield workflow commands, which GitHub shows beside the lines of a pull request."""
    for problem in report.problems.kept:
        line = "" if problem.line is None else f",line={problem.line}"
        file = _escape_data(problem.file).replace(":", "%3A").replace(",", "%2C")
        place = f"file={file}{line},title={problem.code} in trace"
        yield f"::{problem.severity} {place}::{_escape_data(sentence(problem))}"
    for code, count in report.problems.omitted.items():
        yield f"::notice::{count:,} more {code} (--max-problems 0 shows all)"


def _summary(name: str, counts: FileCounts) -> str:
    """Return how many records and problems a file has, in words."""
    problems = [counted(counts.errors, "error")] if counts.errors else []
    problems += [counted(counts.warnings, "warning")] if counts.warnings else []
    records = counted(counts.records, "valid record" if problems else "record")
    return f"{name}: {records}, {', '.join(problems) or 'no problems'}"


def _escape_data(text: str) -> str:
    """Escape the data of a workflow command; half surrogates, which UTF-8 cannot write, are spelled out."""
    text = text.encode("utf-8", "backslashreplace").decode()
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
