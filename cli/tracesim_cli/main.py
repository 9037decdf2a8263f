"""The root of the `tracesim` command."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from tracesim import __version__
from tracesim_cli.terminal.exit_codes import EPILOG, end_on_sigterm, unwritable_help
from tracesim_cli.terminal.streams import prepare_streams


class Command(TyperCommand):
    """A command whose usage errors are told in words of its own, not in those of Typer's validator."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take the command line apart. Raises BadParameter."""
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            error.message = error.message.removeprefix("Value error, ")
            raise


class Commands(TyperGroup):
    """The commands, each imported when it is asked for: none pays for what another needs.

    Command NAME is the function NAME of the module `tracesim_cli.commands.NAME`, with `_` for `-`.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        """Their names, in the order of the help."""
        return list(_EPILOGS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """One of them; None when there is no such command."""
        if cmd_name not in _EPILOGS:
            return None
        name = cmd_name.replace("-", "_")
        function = getattr(import_module(f"tracesim_cli.commands.{name}"), name)
        alone = typer.Typer(add_completion=False, rich_markup_mode=None, context_settings=_HELP)
        alone.command(cmd_name, cls=Command, epilog=_EPILOGS[cmd_name])(function)
        return typer.main.get_command(alone)


_EPILOGS = {
    "replay": EPILOG,
    "validate": None,
    "inspect": None,
    "convert": None,
    "diff": None,
    "vllm-model": None,
}
_HELP = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    name="tracesim",
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings=_HELP,
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"tracesim {__version__}")
        raise typer.Exit


@app.callback()
def root(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Replay recorded LLM prompt/response traces through an engine loop: no model, no GPU."""


def main() -> None:
    """Run the command line; see `__main__.py`."""
    prepare_streams()
    end_on_sigterm()
    with unwritable_help():
        app()
