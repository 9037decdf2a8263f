"""Write the page of every command and option from the commands themselves.

python tools/make_cli_reference.py docs/reference/command-line.md
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

from tracesim_cli.main import app

INTRODUCTION = """\
# Command line

This page is made from the commands themselves: it is what `tracesim COMMAND --help` prints. An option
overrides the trace's own field. [Exit codes](exit-codes.md) are the same for every command.
"""


def option_panels(command: Any) -> dict[str, list[Any]]:
    """Return the options of a command by the panel that its help shows them in, in the help's order."""
    panels: dict[str, list[Any]] = {}
    for parameter in command.params:
        if parameter.param_type_name == "option" and not parameter.hidden:
            panel = getattr(parameter, "rich_help_panel", None)
            panels.setdefault(panel or "Options", []).append(parameter)
    return panels


def definition(name: str, meaning: str) -> str:
    """Return a Markdown definition of an argument or option."""
    return f"`{' '.join(name.split())}`\n:   {escape(' '.join(meaning.split()))}\n"


def escape(text: str) -> str:
    """Return help text with the characters escaped that Markdown would take as markup."""
    return text.replace("*", "\\*").replace("_", "\\_").replace("<", "&lt;").replace("[", "\\[")


def describe(name: str, command: Any) -> str:
    """Return the section of one command: its usage, its arguments, and its options by panel."""
    context = command.make_context(f"tracesim {name}", [], resilient_parsing=True)
    usage = " ".join(command.collect_usage_pieces(context))
    parts = [f"## tracesim {name}\n", f"{escape(command.help)}\n", f"```sh\ntracesim {name} {usage}\n```\n"]
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    parts += [definition(*argument.get_help_record(context)) for argument in arguments]
    for panel, options in option_panels(command).items():
        parts.append(f"### {panel} {{ #{name}-{panel.lower().replace(' ', '-')} }}\n")
        parts += [definition(*option.get_help_record(context)) for option in options]
    return "\n".join([*parts, *notes(command)])


def notes(command: Any) -> Iterator[str]:
    """Yield the notes below the options, such as the example and the exit codes, each under its title."""
    for note in (command.epilog or "").split("\n\n"):
        title, _, lines = note.partition("\n")
        if lines:
            yield f"**{title}**\n\n```text\n{lines}\n```\n"


def main() -> None:
    """Write the page to the file that the command line names."""
    os.environ["COLUMNS"] = "100"
    group: Any = get_command(app)
    commands = {name: group.get_command(None, name) for name in group.list_commands(None)}
    sections = [describe(name, command) for name, command in commands.items()]
    Path(sys.argv[1]).write_text("\n".join([INTRODUCTION, *sections]), encoding="utf-8")


if __name__ == "__main__":
    main()
