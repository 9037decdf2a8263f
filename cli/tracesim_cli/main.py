"""The root of the `tracesim` command."""

from __future__ import annotations

from typing import Annotated

import typer

from tracesim_cli.exits import end_on_sigterm
from tracesim_cli.replay import replay
from tracesim_cli.validate import validate

app = typer.Typer(
    name="tracesim",
    help="Replay recorded LLM prompt/response traces through an engine loop: no model, no GPU.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("replay")(replay)
app.command("validate")(validate)


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
    """Run the command line; `tracesim` and `python -m tracesim_cli` come here."""
    end_on_sigterm()
    app()
