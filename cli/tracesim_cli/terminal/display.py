"""What a command draws on: a terminal in colour, or anything else in plain text."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, TextIO

if TYPE_CHECKING:
    from rich.console import Console

UNKNOWN_WIDTH = 100

_FALSE = ("", "0", "false")


class Display(NamedTuple):
    """A stream to draw on: with colours and redraws if it is `live`, else plain text; `width` cells wide."""

    live: bool
    width: int


def choose_display(environ: Mapping[str, str], stream: TextIO) -> Display:
    """Return how to draw on `stream`: plain if it is not a terminal, or with NO_COLOR, CI or TERM=dumb."""
    plain = (
        not stream.isatty()
        or environ.get("NO_COLOR", "") != ""
        or environ.get("CI", "").lower() not in _FALSE
        or environ.get("TERM", "").lower() in ("dumb", "unknown")
    )
    return Display(live=not plain, width=_width(environ, stream))


def open_console(stream: TextIO, width: int | None = None) -> Console:
    """Return a Rich console for a terminal, as wide as the terminal is if `width` is None.

    It does not interpret markup, and raises errors.
    """
    from rich.console import Console

    class QuietConsole(Console):
        def on_broken_pipe(self) -> None:
            raise  # the BrokenPipeError that is handled here, where Rich would exit with code 1

    return QuietConsole(
        file=stream, width=width, force_terminal=True, markup=False, emoji=False, highlight=False
    )


def _width(environ: Mapping[str, str], stream: TextIO) -> int:
    columns = environ.get("COLUMNS", "")
    if columns.isascii() and columns.isdigit() and int(columns) > 0:
        return int(columns)
    with suppress(OSError, ValueError, AttributeError):
        return os.get_terminal_size(stream.fileno()).columns or UNKNOWN_WIDTH
    return UNKNOWN_WIDTH
