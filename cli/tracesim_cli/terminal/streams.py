"""The standard streams: open in any case, and no reason for a command to stop."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


def prepare_streams() -> None:
    """Replace a closed output stream by the null device, and escape characters that an encoding lacks.

    A closed standard input stays None, so that reading from it is an error.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def close_stdout() -> None:
    """Redirect standard output to the null device, so that flushing it at exit cannot fail."""
    with suppress(OSError, ValueError):
        _redirect_to_null(sys.stdout.fileno())


@contextmanager
def ignoring_closed_pipe() -> Iterator[None]:
    """Redirect standard output to the null device, instead of failing, once nobody reads it (`| head`)."""
    stdout = sys.stdout
    try:
        file = _RedirectingFile(stdout.fileno(), "wb", closefd=False)
    except (OSError, ValueError):  # a stream without a file descriptor, as in a test
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


class _RedirectingFile(io.FileIO):
    """A pipe that is redirected to the null device once nobody reads it."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            _redirect_to_null(self.fileno())
            return len(data)


def _redirect_to_null(descriptor: int) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)
