"""Lines made of fragments, each in a style: as Rich text, as plain text, and on a stream."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TextIO

from tracesim_cli.terminal.display import Display, open_console

if TYPE_CHECKING:
    from rich.text import Text

Fragment = tuple[str, str]
"""A piece of a line and its Rich style; "" is the terminal's own."""


def rich_text(line: Iterable[Fragment]) -> Text:
    """Return a line as Rich text that neither wraps nor ends in a newline."""
    from rich.text import Text

    text = Text(no_wrap=True, overflow="crop", end="")
    for piece, style in line:
        text.append(piece, style or None)
    return text


def plain_text(line: Iterable[Fragment]) -> str:
    """Return a line without its styles."""
    return "".join([piece for piece, _ in line])


def print_lines(stream: TextIO, display: Display, lines: Iterable[Sequence[Fragment]]) -> None:
    """Print lines: in colour on a live display, else as plain text."""
    if not display.live:
        stream.write("".join([plain_text(line).rstrip() + "\n" for line in lines]))
        return
    console = open_console(stream)
    for line in lines:
        console.print(rich_text(line))
