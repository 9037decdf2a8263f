"""A line on a terminal that says how far something is which shows nothing yet, gone when it is done."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TextIO, TypeVar

from tracesim.errors import TraceProblem
from tracesim_cli.terminal.display import choose_display
from tracesim_cli.terminal.safe_text import visible
from tracesim_cli.terminal.text import counted

T = TypeVar("T")

PATIENCE_SECONDS = 0.5
REFRESH_SECONDS = 0.1

_CLEAR_LINE = "\r\x1b[2K"


def with_status(
    records: Iterable[T],
    doing: str,
    stream: TextIO | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterable[T]:
    """`records` and the problems between them, as they are; a terminal is told how many, where it takes long.

    `doing` says what is done with them: "reading trace.jsonl". The stream is standard error by default.
    """
    stream = stream or sys.stderr
    display = choose_display(os.environ, stream)
    if not display.live:
        return records
    return _told(records, visible(doing), display.width, stream, clock)


def _told(
    records: Iterable[T], doing: str, width: int, stream: TextIO, clock: Callable[[], float]
) -> Iterator[T]:
    from tracesim_cli.terminal.text import clip

    due = clock() + PATIENCE_SECONDS
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


def _write(stream: TextIO, text: str) -> None:
    stream.write(text)
    stream.flush()
