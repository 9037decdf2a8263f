"""The standard streams as a command wants them: always there, and never in the way of the work."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


def prepare_streams() -> None:
    """Let a closed stream go nowhere, and no stream fail for a character that its encoding lacks.

    A closed standard input stays None: to read from it is an error.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def close_stdout() -> None:
    """Nobody reads any more: let what is still buffered go nowhere, without a word at exit."""
    with suppress(OSError, ValueError):
        _lead_nowhere(sys.stdout.fileno())


@contextmanager
def outliving_the_reader() -> Iterator[None]:
    """Let writing to standard output go on, to nowhere, when its reader has gone (`| head`)."""
    stdout = sys.stdout
    try:
        file = _Unread(stdout.fileno(), "wb", closefd=False)
    except (OSError, ValueError):  # no real stream, as in a test
        yield
        return
    stdout.flush()
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(file), stdout.encoding, stdout.errors, line_buffering=stdout.isatty()
    )
    try:
        yield
    finally:
        try:
            sys.stdout.flush()
        finally:
            sys.stdout = stdout


class _Unread(io.FileIO):
    """A pipe that leads nowhere once nobody reads from it."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            _lead_nowhere(self.fileno())
            return len(data)


def _lead_nowhere(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
