"""`tracesim profiles`: list the built-in profiles, find presets, or show a profile."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from tracesim.profiles.presets import find_presets, presets
from tracesim.profiles.profile import built_in_profiles, load_profile, profile_names
from tracesim_cli.commands.completion import offering
from tracesim_cli.terminal.display import choose_display
from tracesim_cli.terminal.exit_codes import with_exit_codes
from tracesim_cli.terminal.safe_text import visible_message
from tracesim_cli.views.profiles_view import describe_presets, list_presets, list_profiles

EPILOG = """\
Example:
tracesim profiles h100 llama

Exit codes:
0  the profiles are listed, or the profile is valid
2  wrong usage, or there is no such profile, or it has an error"""


@with_exit_codes
def profiles(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME|FILE|WORD]",
            help="Profile to show, a built-in one or a TOML file; or words of the profiles to list.",
            autocompletion=offering(profile_names),
        ),
    ] = None,
) -> None:
    """List the profiles that are built in, find some by words, or check a profile and show its file.

    A profile has settings for a replay: `tracesim replay --profile NAME`. What is shown can be the start of
    your own. Presets are profiles for a model on a kind of GPU.
    """
    width = choose_display(os.environ, sys.stdout).width
    built_in = [load_profile(name) for name in built_in_profiles()]
    if not words:
        lines = [*list_profiles(built_in, width), "", *describe_presets(presets().values(), width)]
    elif len(words) == 1 and _is_profile(words[0]):
        lines = [visible_message(line) for line in load_profile(words[0]).text.splitlines()]
    else:
        wanted = [word.lower() for word in words]
        named = [each for each in built_in if all(word in each.name for word in wanted)]
        found = find_presets(words)
        if not named and not found:
            load_profile(" ".join(words))  # it raises the error with suggestions
        lines = [*list_profiles(named, width), *list_presets(found, width)]
    for line in lines:
        typer.echo(line)


def _is_profile(word: str) -> bool:
    """Return whether a word is the whole name of a profile, or a file."""
    return word.endswith(".toml") or word.lower() in profile_names() or Path(word).is_file()
