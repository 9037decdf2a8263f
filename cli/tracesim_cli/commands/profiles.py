"""`tracesim profiles`: list the built-in profiles, or show one."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from tracesim.profiles.profile import built_in_profiles, load_profile
from tracesim_cli.commands.completion import offering
from tracesim_cli.terminal.display import choose_display
from tracesim_cli.terminal.exit_codes import with_exit_codes
from tracesim_cli.terminal.safe_text import visible_message
from tracesim_cli.views.run_view import wrap

EPILOG = """\
Example:
tracesim profiles vllm-serve

Exit codes:
0  the profiles are listed, or the profile is valid
2  wrong usage, or there is no such profile, or it has an error"""


@with_exit_codes
def profiles(
    profile: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME|FILE]",
            help="Profile to show: a built-in one, or a TOML file.",
            autocompletion=offering(built_in_profiles),
        ),
    ] = None,
) -> None:
    """List the profiles that are built in, or check a profile and show its file.

    A profile has settings for a replay: `tracesim replay --profile NAME`. What is shown can be the start of
    your own.
    """
    if profile is not None:
        for line in load_profile(profile).text.splitlines():
            typer.echo(visible_message(line))
        return
    found = [load_profile(name) for name in built_in_profiles()]
    column = max(len(each.name) for each in found) + 2
    for each in found:
        width = choose_display(os.environ, sys.stdout).width - column
        first, *others = wrap(each.description.split(" "), width)
        typer.echo(f"{each.name:{column}}{first}")
        for line in others:
            typer.echo(f"{'':{column}}{line}")
