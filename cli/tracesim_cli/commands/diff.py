"""`tracesim diff`: compare two step logs step by step."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Literal

import typer

from tracesim.analysis.step_diff import Comparison, diff_steps
from tracesim.analysis.step_log import open_step_log
from tracesim.errors import ConfigError
from tracesim_cli.commands.arguments import Case, Ignore
from tracesim_cli.terminal.display import choose_display
from tracesim_cli.terminal.exit_codes import ExitCode, with_exit_codes
from tracesim_cli.terminal.json_output import stdout_for_json
from tracesim_cli.terminal.lines import plain_text
from tracesim_cli.terminal.streams import ignoring_closed_pipe
from tracesim_cli.views.diff_document import format_json
from tracesim_cli.views.diff_view import format_equal, not_compared, print_diff
from tracesim_cli.views.step_table import LEGEND

MAX_CONTEXT = 1000

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
        str, typer.Argument(metavar="A", help="Step log: JSONL, plain or compressed; - is standard input.")
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="Step log to compare it with.")],
    ignore: Ignore = None,
    context: Annotated[
        int,
        typer.Option(
            min=0, max=MAX_CONTEXT, metavar="N", help="Steps to show before and after the difference."
        ),
    ] = 3,
    case: Case = None,
    output_format: Annotated[
        Literal["text", "json"], typer.Option("--format", help="Format of the result.")
    ] = "text",
) -> None:
    """Compare two step logs and show the first step that differs.

    A step log is a file that `replay --save-steps` has written, or a golden case. `tracesim compare` compares
    the figures of two runs.
    """
    if a == b == "-":
        raise ConfigError("A and B are both standard input; one of them must be a file")
    logs = [open_step_log(path, case) for path in (a, b)]
    if case is not None and not any(log.case for log in logs):
        raise ConfigError("needs a golden file, which has cases; neither A nor B is one", setting="--case")
    comparison = Comparison(logs[0], logs[1], ignore or ())
    found = diff_steps(comparison.pairs(), context)
    with ignoring_closed_pipe():  # the verdict is the exit code in any case
        display = choose_display(os.environ, sys.stdout)
        if output_format == "json":
            stdout_for_json()(format_json(comparison, found))
        elif found.differing:
            print_diff(sys.stdout, display, comparison, found)
        else:
            ignored = map(plain_text, not_compared(comparison, display.width))
            sys.stdout.writelines(f"{line}\n" for line in [format_equal(found), *ignored])
    if found.differing:
        raise typer.Exit(ExitCode.DIFFERENT)
