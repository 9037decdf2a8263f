"""The help of a command: its usage, and its arguments, options and notes in panels."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tracesim_cli.terminal.lines import Fragment

Line = list[Fragment]

_GAP = 2
_MIN_WIDTH = 40
_MAX_CHOICES = 25
_MAX_COLUMN = 34
_OPTION = re.compile(r"(-[^\s,]+(?:, -[^\s,]+)*)(.*)")
_NO_BREAK = str.maketrans(" ", "\u00a0")


@dataclass(frozen=True)
class Panel:
    """Rows with a title: a term, such as an option, and its description, which may be empty."""

    title: str
    rows: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class HelpPage:
    """The help of one command; empty lines separate the paragraphs of `text`.

    All descriptions in the panels of a group begin in the same column.
    """

    usage: str
    text: str
    groups: Sequence[Sequence[Panel]]


def help_page(command: Any, context: Any) -> HelpPage:
    """Return the help of a Typer command: its commands, its arguments, its options by panel, and its epilog.

    Each paragraph of the epilog is a panel: a title with a colon, then a line per row, with two spaces
    between term and description.
    """
    groups: list[list[Panel]] = []
    if hasattr(command, "list_commands"):
        names = command.list_commands(context)
        summaries = [command.get_command(context, name).help.split("\n\n")[0] for name in names]
        groups.append([Panel("Commands", list(zip(names, summaries, strict=True)))])
    panels: dict[str, list[tuple[str, str]]] = {}
    for parameter in command.get_params(context):
        if parameter.param_type_name == "argument":
            panels.setdefault("Arguments", []).append((parameter.metavar, parameter.help))
        else:
            panel = panels.setdefault(getattr(parameter, "rich_help_panel", None) or "Options", [])
            panel.append((_option_term(parameter), _option_description(parameter)))
    groups.append([Panel(title, rows) for title, rows in panels.items()])
    for paragraph in command.epilog.split("\n\n"):
        title, *lines = paragraph.split("\n")
        parts = [line.partition("  ") for line in lines]
        rows = [(term, description.strip()) for term, _, description in parts]
        groups.append([Panel(title.removesuffix(":"), rows)])
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    return HelpPage(usage, command.help, groups)


def format_help(page: HelpPage, width: int, *, boxed: bool) -> list[Line]:
    """Return the lines of a help page, at least 40 cells wide; panels have a box, or only a title."""
    width = max(width, _MIN_WIDTH)
    lines: list[Line] = [[("Usage: ", "bold"), (page.usage, "")], []]
    for paragraph in page.text.split("\n\n"):
        lines += [[(line, "")] for line in textwrap.wrap(paragraph, width)]
        lines.append([])
    for panels in page.groups:
        lines += _format_panels(panels, width, boxed=boxed)
    return lines


def _option_term(option: Any) -> str:
    """Return the names of an option and the word for its value, such as "--block-size N"."""
    names = ", ".join(sorted(option.opts, key=len))
    if option.is_flag:
        return f"--[no-]{names.removeprefix('--')}" if option.secondary_opts else names
    words = {"int": "N", "flo": "NUMBER"}
    return f"{names} {option.metavar or _short_choices(option) or words.get(option.type.name[:3], 'NAME')}"


def _option_description(option: Any) -> str:
    """Return the help of an option, with its choices if they are too many for the term, and its default."""
    parts = [option.help]
    choices = getattr(option.type, "choices", ())
    if choices and not _short_choices(option):
        parts.append(f"One of {', '.join(choices)}.")
    if option.default and option.default is not True:
        parts.append(f"[default: {option.default}]")
    return " ".join(parts)


def _short_choices(option: Any) -> str:
    """Return the choices of an option, such as "table|json", if they are few enough for its term."""
    text = "|".join(getattr(option.type, "choices", ()))
    return text if len(text) <= _MAX_CHOICES else ""


def _format_panels(panels: Sequence[Panel], width: int, *, boxed: bool) -> Iterator[Line]:
    """Yield the lines of panels whose descriptions begin in one column."""
    inner = width - (4 if boxed else _GAP)
    terms = [len(term) for panel in panels for term, description in panel.rows if description]
    column = max([length for length in terms if length <= min(inner * 2 // 5, _MAX_COLUMN)], default=0) + _GAP
    for panel in panels:
        rows = [line for term, description in panel.rows for line in _row(term, description, column, inner)]
        if boxed:
            yield from _boxed(panel.title, rows, width)
        else:
            yield [(f"{panel.title}:", "bold")]
            yield from ([(" " * _GAP, ""), *row] for row in rows)
            yield []


def _row(term: str, description: str, column: int, width: int) -> Iterator[Line]:
    """Yield the lines of a row. Its description is beside the term, or below a term that is too long."""
    if not description:
        yield from ([(line, "")] for line in textwrap.wrap(term, width, subsequent_indent="    "))
        return
    lines = _description(description, width - column)
    option = _OPTION.fullmatch(term)
    shown = [(option[1], "bold cyan"), (option[2], "cyan")] if option else [(term, "bold cyan")]
    if len(term) + _GAP > column:
        yield shown
    else:
        yield [*shown, (" " * (column - len(term)), ""), *next(lines)]
    for line in lines:
        yield [(" " * column, ""), *line]


def _description(text: str, width: int) -> Iterator[Line]:
    """Yield the lines of a description, with the note in brackets at its end in a dim style."""
    note = text.rfind("[") if text.endswith("]") else len(text)
    start = 0
    unbroken = text[:note] + text[note:].translate(_NO_BREAK)
    for line in textwrap.wrap(unbroken, width, break_on_hyphens=False):
        plain = max(0, note - start)
        yield [(line[:plain], ""), (line[plain:].replace("\u00a0", " "), "dim")]
        start += len(line) + 1


def _boxed(title: str, rows: Sequence[Line], width: int) -> Iterator[Line]:
    yield [("╭─ ", "dim"), (title, "bold"), (f" {'─' * (width - len(title) - 5)}╮", "dim")]
    for row in rows:
        space = " " * (width - 4 - sum(len(text) for text, _ in row))
        yield [("│ ", "dim"), *row, (f"{space} │", "dim")]
    yield [(f"╰{'─' * (width - 2)}╯", "dim")]
