"""`tracesim demo`: replay a small sample that is installed with the command."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Any, Final

import typer

from tracesim_cli.terminal.display import choose_display
from tracesim_cli.terminal.exit_codes import with_exit_codes
from tracesim_cli.views.step_table import LEGEND

EPILOG = f"""\
{LEGEND}

Example:
tracesim demo

Exit codes:
0    the replay is complete
2    standard output cannot be written
130  interrupted"""

SAMPLE: Final = Path(__file__).with_suffix(".jsonl")


@with_exit_codes
def demo(context: typer.Context) -> None:
    """Replay a small sample with vLLM's scheduler and a KV cache that is too small for all requests at once.

    The first line is the replay command, to run again with other options. On a terminal a step takes 0.2 s.
    """
    arguments = [str(SAMPLE), "--engine", "vllm-v1", "--num-gpu-blocks", "6"]
    if choose_display(os.environ, sys.stdout).live:
        arguments += ["--delay", "200ms"]
    typer.echo(f"$ {shlex.join(['tracesim', 'replay', *arguments])}\n")
    root = context.find_root()
    replay: Any = root.command.get_command(root, "replay")  # type: ignore[attr-defined]
    with replay.make_context("replay", arguments, root) as replaying:
        replay.invoke(replaying)
