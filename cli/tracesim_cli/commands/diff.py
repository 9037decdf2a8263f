"""`tracesim diff`: two step logs, compared step by step."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Literal

import orjson
import typer

from tracesim.analysis.step_diff import Comparison, StepDiff, StepPair, diff_steps
from tracesim.analysis.step_log import LoggedStep, StepLog, open_step_log
from tracesim_cli.commands.arguments import Case, Ignore
from tracesim_cli.terminal.display import choose_display
from tracesim_cli.terminal.exit_codes import ExitCode, with_exit_codes
from tracesim_cli.terminal.lines import plain_text
from tracesim_cli.views.diff_view import format_equal, not_compared, print_diff
from tracesim_cli.views.step_table import LEGEND

DIFF_SCHEMA = "tracesim.diff/1"

EPILOG = f"""\
Marks before a line:
!  differs
-  only in A
+  only in B

{LEGEND}

Example:
tracesim diff before.jsonl after.jsonl --ignore free_blocks

Exit codes:
0  the logs are equal
1  they differ
2  wrong usage"""


@with_exit_codes
def diff(
    a: Annotated[
        str, typer.Argument(metavar="A", help="A step log: JSONL, .gz and .zst too; - is standard input.")
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="The step log to compare it with.")],
    ignore: Ignore = None,
    context: Annotated[
        int, typer.Option(min=0, metavar="N", help="Steps to show around the difference.")
    ] = 3,
    case: Case = None,
    output_format: Annotated[
        Literal["text", "json"], typer.Option("--format", help="How to write what differs.")
    ] = "text",
) -> None:
    """Compare two step logs and show the first step that differs.

    A log is what `replay --save-steps` writes, or a golden case. Exit code 0: equal; 1: not; 2: wrong usage.
    """
    if a == b == "-":
        raise typer.BadParameter("only one of the logs can be standard input")
    logs = [open_step_log(path, case) for path in (a, b)]
    if case is not None and not any(log.case for log in logs):
        raise typer.BadParameter("neither log is a golden file", param_hint="--case")
    comparison = Comparison(logs[0], logs[1], ignore or ())
    found = diff_steps(comparison.pairs(), context)
    if output_format == "json":
        sys.stdout.buffer.write(format_json(comparison, found))
    else:
        _print_text(comparison, found)
    sys.stdout.flush()  # a closed pipe shows here, where it is no failure
    if found.differing:
        raise typer.Exit(ExitCode.DIFFERENT)


def format_json(comparison: Comparison, found: StepDiff) -> bytes:
    """What was found as one JSON document, `DIFF_SCHEMA`, with a newline at its end."""
    document = {
        "schema": DIFF_SCHEMA,
        "equal": not found.differing,
        "a": _source(comparison.left),
        "b": _source(comparison.right),
        "steps": found.steps,
        "differing": found.differing,
        "only_in_a": found.only_left,
        "only_in_b": found.only_right,
        "fields": {name: found.by_field[name] for name in comparison.fields},
        "not_compared": comparison.not_compared,
        "first": _pair(found.first) if found.first else None,
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _print_text(comparison: Comparison, found: StepDiff) -> None:
    display = choose_display(os.environ, sys.stdout)
    if found.differing:
        print_diff(sys.stdout, display, comparison, found)
        return
    left_out = [plain_text(line) for line in not_compared(comparison, display.width)]
    sys.stdout.writelines(f"{line}\n" for line in [format_equal(found), *left_out])


def _source(log: StepLog) -> dict[str, str | None]:
    return {"file": log.name, "case": log.case}


def _pair(pair: StepPair) -> dict[str, object]:
    return {"step": pair.number, "fields": pair.fields, "a": _fields(pair.left), "b": _fields(pair.right)}


def _fields(step: LoggedStep | None) -> object:
    return None if step is None else step.fields
