"""The root of the `tracesim` command."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from tracesim import __version__
from tracesim_cli.terminal.exit_codes import (
    TRACEBACK_VARIABLE,
    report_bugs,
    report_closed_stdout,
)
from tracesim_cli.terminal.signals import end_on_signals
from tracesim_cli.terminal.streams import prepare_streams
from tracesim_cli.terminal.usage_errors import reporting_usage_errors

COMMANDS = (
    "replay",
    "validate",
    "inspect",
    "convert",
    "diff",
    "sweep",
    "compare",
    "calibrate",
    "profiles",
    "kv-blocks",
    "schema",
    "vllm-model",
    "demo",
)
"""The commands in the order of the help.

Command NAME is the function NAME of the module `tracesim_cli.commands.NAME`, with `_` for `-`, and `EPILOG`
of that module is the end of its help.
"""


class Command(TyperCommand):
    """A command with help in panels."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return what follows the name of the command in its usage."""
        arguments = [each for each in self.get_params(ctx) if each.param_type_name == "argument"]
        return ["[OPTIONS]", *(f"{each.metavar}{'...' * (each.nargs == -1)}" for each in arguments)]

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        formatter.write(help_text(self, ctx))


class Commands(TyperGroup):
    """The commands, each imported when it is needed, so that none waits for the imports of another."""

    def make_context(self, info_name: Any, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Parse the command line up to the command."""
        with report_closed_stdout(), reporting_usage_errors(COMMANDS):
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: Any) -> Any:
        """Parse the rest of the command line and run the command."""
        with report_closed_stdout(), reporting_usage_errors(COMMANDS):
            return super().invoke(ctx)

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the commands, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command, or None if there is none with this name."""
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        module = import_module(f"tracesim_cli.commands.{name}")
        single = typer.Typer(add_completion=False, rich_markup_mode=None, context_settings=_HELP_NAMES)
        single.command(cmd_name, cls=Command, epilog=module.EPILOG)(getattr(module, name))
        return typer.main.get_command(single)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help, with the whole summary of each command."""
        formatter.write(help_text(self, ctx))


def help_text(command: Any, context: Any) -> str:
    """Return the help of a command for standard output: boxed and in colour on a terminal."""
    from tracesim_cli.terminal.display import choose_display
    from tracesim_cli.terminal.lines import styled_lines
    from tracesim_cli.views.help_view import format_help, help_page

    display = choose_display(os.environ, sys.stdout)
    lines = format_help(help_page(command, context), display.width, boxed=display.live)
    return styled_lines(display, lines)


_HELP_NAMES = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    name="tracesim",
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings=_HELP_NAMES,
    epilog="Example:\ntracesim replay trace.jsonl",
)


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(f"tracesim {__version__}")
        raise typer.Exit


@app.callback()
def root(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Replay recorded LLM prompt/response traces through an engine loop: no model, no GPU."""


def main() -> None:
    """Run the command line."""
    prepare_streams()
    end_on_signals()
    if os.environ.get(TRACEBACK_VARIABLE) != "1":
        os.environ["RUST_BACKTRACE"] = "0"  # a panic in a library's Rust is an error like others
    with report_bugs(), report_closed_stdout():
        app()
