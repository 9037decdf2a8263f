"""A line of progress on a terminal, while there is no other output; it is removed at the end."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TextIO, TypeVar

from tracesim.errors import TraceProblem
from tracesim_cli.terminal.display import choose_display
from tracesim_cli.terminal.safe_text import visible
from tracesim_cli.terminal.text import clip, counted

T = TypeVar("T")

FIRST_AFTER_SECONDS = 0.5
REFRESH_SECONDS = 0.1

_CLEAR_LINE = "\r\x1b[2K"


def with_status(
    records: Iterable[T],
    doing: str,
    stream: TextIO | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterable[T]:
    """Return `records` and the problems between them; a terminal shows their number if this takes a while.

    `doing` is what is done with them, such as "reading trace.jsonl". `stream` is standard error by default.
    """
    stream = stream or sys.stderr
    display = choose_display(os.environ, stream)
    if not display.live:
        return records
    return _count_on(records, visible(doing), display.width, stream, clock)


@contextmanager
def status_line(doing: str, stream: TextIO | None = None, *, is_shown: bool = True) -> Iterator[None]:
    """Show on a terminal, standard error by default, what is done in the block: "drawing the charts"."""
    stream = stream or sys.stderr
    display = choose_display(os.environ, stream)
    if not (is_shown and display.live):
        yield
        return
    _write(stream, _CLEAR_LINE + clip(f"{visible(doing)} ...", display.width - 1))
    try:
        yield
    finally:
        _write(stream, _CLEAR_LINE)


def _count_on(
    records: Iterable[T], doing: str, width: int, stream: TextIO, clock: Callable[[], float]
) -> Iterator[T]:
    due = clock() + FIRST_AFTER_SECONDS
    number, shown = 0, ""
    try:
        for record in records:
            number += not isinstance(record, TraceProblem)
            if clock() >= due:
                shown = clip(f"{doing} ... {counted(number, 'record')}", width - 1)
                _write(stream, _CLEAR_LINE + shown)
                due = clock() + REFRESH_SECONDS
            yield record
    finally:
        if shown:
            _write(stream, _CLEAR_LINE)


@contextmanager
def counting_status(
    doing: str, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[int], None]]:
    """Give a function that shows a number after `doing`, on a terminal, if it has taken a while.

    The line is removed at the end of the block.
    """
    stream = stream or sys.stderr
    display = choose_display(os.environ, stream)
    due, shown = clock() + FIRST_AFTER_SECONDS, ""

    def show(number: int) -> None:
        nonlocal due, shown
        if display.live and clock() >= due:
            shown = clip(f"{doing} {number:,}", display.width - 1)
            _write(stream, _CLEAR_LINE + shown)
            due = clock() + REFRESH_SECONDS

    try:
        yield show
    finally:
        if shown:
            _write(stream, _CLEAR_LINE)


def _write(stream: TextIO, text: str) -> None:
    stream.write(text)
    stream.flush()
