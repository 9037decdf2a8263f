"""Lines of styled fragments, as Rich text or as plain text."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TextIO

from rich.cells import cell_len

from tracesim_cli.terminal.display import Display, open_console
from tracesim_cli.terminal.text import clip

if TYPE_CHECKING:
    from rich.text import Text

Fragment = tuple[str, str]
"""A piece of a line and its Rich style; "" is the style of the terminal."""


def rich_text(line: Iterable[Fragment]) -> Text:
    """Return a line as Rich text without wrapping and without a newline."""
    from rich.text import Text

    text = Text(no_wrap=True, overflow="crop", end="")
    for piece, style in line:
        text.append(piece, style or None)
    return text


def plain_text(line: Iterable[Fragment]) -> str:
    """Return a line without its styles."""
    return "".join([piece for piece, _ in line])


def clip_line(line: Iterable[Fragment], width: int) -> list[Fragment]:
    """Return a line cut to `width` cells, with an ellipsis where it is cut."""
    shown: list[Fragment] = []
    for text, style in line:
        if width <= 0:
            break
        piece = clip(text, width)
        shown.append((piece, style))
        width -= cell_len(piece)
    return shown


def print_lines(stream: TextIO, display: Display, lines: Iterable[Sequence[Fragment]]) -> None:
    """Print lines on `stream`, in colour or as plain text, as `display` wants it."""
    stream.write(styled_lines(display, lines))


def styled_lines(display: Display, lines: Iterable[Sequence[Fragment]]) -> str:
    """Return lines as they are printed: with the codes for colours, or as plain text."""
    if not display.color:
        return "".join([plain_text(line).rstrip() + "\n" for line in lines])
    text = io.StringIO()
    console = open_console(text, width=display.width)
    for line in lines:
        console.print(rich_text(line))
    return text.getvalue()
