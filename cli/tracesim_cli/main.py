"""The root of the `tracesim` command."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from tracesim_cli.diff import diff
from tracesim_cli.exits import EPILOG, end_on_sigterm, unwritable_help
from tracesim_cli.replay import replay
from tracesim_cli.streams import prepare_streams
from tracesim_cli.validate import validate


class Command(TyperCommand):
    """A command whose usage errors are told in words of its own, not in those of Typer's validator."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take the command line apart. Raises BadParameter."""
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            error.message = error.message.removeprefix("Value error, ")
            raise


app = typer.Typer(
    name="tracesim",
    help="Replay recorded LLM prompt/response traces through an engine loop: no model, no GPU.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("replay", cls=Command, epilog=EPILOG)(replay)
app.command("validate", cls=Command)(validate)
app.command("diff", cls=Command)(diff)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"tracesim {version('tracesim')}")
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
