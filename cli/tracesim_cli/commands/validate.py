"""`tracesim validate`: every problem of a trace, and an exit code that a script can rely on."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from tracesim.errors import TraceProblem
from tracesim.limits import MAX_STEP as MAX_COUNT
from tracesim.trace.problems import ERRORS, WARNINGS
from tracesim.trace.reader import TraceReader, read_with
from tracesim_cli.commands.arguments import TraceFormat, Traces
from tracesim_cli.commands.completion import offering
from tracesim_cli.terminal.exit_codes import with_exit_codes
from tracesim_cli.terminal.status import with_status
from tracesim_cli.terminal.streams import ignoring_closed_pipe
from tracesim_cli.views.problem_text import SHOWN_PER_CODE
from tracesim_cli.views.validation import OutputFormat, format_report
from tracesim_cli.views.validation.report import ValidationReport

EPILOG = """\
Example:
tracesim validate traces/*.jsonl

Exit codes:
0  no errors
1  errors, or warnings with --strict
2  wrong usage, or a file cannot be read"""


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
        int,
        typer.Option(
            min=0, max=MAX_COUNT, metavar="N", help="Show at most N problems of each code; 0 shows all."
        ),
    ] = SHOWN_PER_CODE,
    ignore: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CODE",
            help="Ignore problems of this code, such as duplicate-prompt; may be repeated.",
            callback=_check_codes,
            autocompletion=offering([*ERRORS, *WARNINGS]),
        ),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Treat warnings as errors.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing; set the exit code.")] = False,
    output_format: Annotated[
        OutputFormat, typer.Option("--format", help="Format of the report; all but text are for CI.")
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
        with ignoring_closed_pipe():  # the verdict is the exit code in any case
            sys.stdout.writelines(f"{line}\n" for line in format_report(report, output_format))
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
