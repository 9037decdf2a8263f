"""What a command draws on: a terminal in colour, or anything else in plain text unless colour is forced."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, TextIO

if TYPE_CHECKING:
    from rich.console import Console

UNKNOWN_WIDTH = 100

_FALSE = ("", "0", "false")
_DUMB = ("dumb", "unknown")


class Display(NamedTuple):
    """A stream to draw on, `width` cells wide: with redraws if it is `live`, and with or without colour."""

    live: bool
    width: int
    color: bool


def choose_display(environ: Mapping[str, str], stream: TextIO) -> Display:
    """Return how to draw on `stream`: plain if it is not a terminal, or with NO_COLOR, CI or TERM=dumb.

    With FORCE_COLOR there is colour in any case but NO_COLOR, and redraws as without it.
    """
    no_color = environ.get("NO_COLOR", "") != ""
    live = (
        stream.isatty()
        and not no_color
        and environ.get("CI", "").lower() in _FALSE
        and environ.get("TERM", "").lower() not in _DUMB
    )
    is_forced = environ.get("FORCE_COLOR", "").lower() not in _FALSE
    return Display(live, _width(environ, stream), color=live or (is_forced and not no_color))


def open_console(stream: TextIO, width: int | None = None) -> Console:
    """Return a Rich console in colour, as wide as the terminal is if `width` is None.

    It does not interpret markup, and raises errors.
    """
    from rich.console import Console

    class QuietConsole(Console):
        def on_broken_pipe(self) -> None:
            raise  # the BrokenPipeError that is handled here, where Rich would exit with code 1

    is_dumb = os.environ.get("TERM", "").lower() in _DUMB  # Rich gives such a terminal no colour by itself
    return QuietConsole(
        file=stream,
        width=width,
        color_system="standard" if is_dumb else "auto",
        force_terminal=True,
        markup=False,
        emoji=False,
        highlight=False,
    )


def _width(environ: Mapping[str, str], stream: TextIO) -> int:
    columns = environ.get("COLUMNS", "")
    if columns.isascii() and columns.isdigit() and int(columns) > 0:
        return int(columns)
    with suppress(OSError, ValueError, AttributeError):
        return os.get_terminal_size(stream.fileno()).columns or UNKNOWN_WIDTH
    return UNKNOWN_WIDTH
