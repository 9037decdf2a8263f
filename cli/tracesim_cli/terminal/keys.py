"""Single keys from the keyboard of a terminal, while a command runs.

The terminal passes on each key at once and does not echo it, until `restore`. Ctrl-C and Ctrl-Z do what they
always do. Where there is no such terminal (standard input is a file or a pipe, the process is in the
background, or the system has no termios) there are no keys, and that is no error.
"""

from __future__ import annotations

import os
import select
import sys
import time
from contextlib import suppress
from typing import Any, Final, Literal, Protocol, TextIO

try:
    import termios
except ImportError:  # Windows
    termios = None  # type: ignore[assignment]

Key = Literal["space", "right", "next", "quit"]

_KEYS: Final[dict[bytes, Key]] = {
    b" ": "space",
    b"\x1b[C": "right",
    b"\x1bOC": "right",
    b"n": "next",
    b"N": "next",
    b"q": "quit",
    b"Q": "quit",
}
_MAX_READ: Final = 64


class KeySource(Protocol):
    """Where keys come from."""

    is_active: bool

    def begin(self) -> None:
        """Start to pass on keys, or start again after the process was stopped."""
        ...

    def wait(self, seconds: float) -> list[Key]:
        """Return the keys that were pressed; if there are none, wait for one, at most so long."""
        ...

    def restore(self) -> None:
        """Let the terminal be as it was before `begin`."""
        ...


class NoKeys:
    """No keyboard: waiting is all that it does."""

    is_active = False

    def begin(self) -> None:
        """Do nothing."""

    def wait(self, seconds: float) -> list[Key]:
        """Wait, and return no keys."""
        if seconds > 0:
            time.sleep(seconds)
        return []

    def restore(self) -> None:
        """Do nothing."""


class TerminalKeys:
    """The keyboard of the terminal that is open under a file descriptor."""

    def __init__(self, descriptor: int) -> None:
        self.is_active = False
        self._descriptor = descriptor
        self._saved: list[Any] | None = None

    def begin(self) -> None:
        """Start to pass on keys, unless the process is in the background, where that would stop it."""
        self.is_active = False
        if not self._is_in_foreground():
            return
        with suppress(termios.error):
            mode = termios.tcgetattr(self._descriptor)
            if self._saved is None:
                self._saved = [*mode[:6], list(mode[6])]
            mode[3] &= ~(termios.ECHO | termios.ICANON)
            mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, mode)
            self.is_active = True

    def wait(self, seconds: float) -> list[Key]:
        """Return the keys that were pressed; if there are none, wait for one, at most so long."""
        if not self.is_active or not self._is_in_foreground():
            time.sleep(max(0.0, seconds))
            return []
        ready, _, _ = select.select([self._descriptor], [], [], max(0.0, seconds))
        if not ready:
            return []
        with suppress(OSError):
            if typed := os.read(self._descriptor, _MAX_READ):
                return parse_keys(typed)
        self.is_active = False  # the terminal is gone
        return []

    def restore(self) -> None:
        """Let the terminal be as it was before `begin`."""
        if self._saved is not None and self._is_in_foreground():
            with suppress(termios.error):
                termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._saved)
        self.is_active = False

    def _is_in_foreground(self) -> bool:
        with suppress(OSError):
            return os.tcgetpgrp(self._descriptor) == os.getpgrp()
        return False


def open_keys(stream: TextIO | None = None) -> KeySource:
    """Return the keyboard of standard input, or of `stream`; without keys if that is no terminal."""
    stream = sys.stdin if stream is None else stream
    if termios is None or stream is None:
        return NoKeys()
    try:
        return TerminalKeys(stream.fileno()) if stream.isatty() else NoKeys()
    except (OSError, ValueError):  # a stream that is closed or has no file descriptor
        return NoKeys()


def parse_keys(typed: bytes) -> list[Key]:
    """Return the keys in what a terminal sent; all others are skipped."""
    keys: list[Key] = []
    while typed:
        sequence = next((each for each in _KEYS if typed.startswith(each)), None)
        if sequence is not None:
            keys.append(_KEYS[sequence])
        elif typed.startswith((b"\x1b[", b"\x1bO")):  # another key with a sequence of its own, up to a letter
            end = next((i for i in range(2, len(typed)) if 0x40 <= typed[i] <= 0x7E), len(typed) - 1)
            sequence = typed[: end + 1]
        typed = typed[len(sequence or b"x") :]
    return keys
