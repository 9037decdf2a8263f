"""Keys while a command runs: what a terminal sends, and the terminal as it is left."""

from __future__ import annotations

import io
import os
import pty
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from paths import ROOT
from tracesim_cli.terminal.keys import Key, NoKeys, open_keys, parse_keys

TOUR = str(ROOT / "sample_traces" / "tour.jsonl")


@pytest.mark.parametrize(
    ("typed", "keys"),
    [
        (b" ", ["space"]),
        (b"nNqQ", ["next", "next", "quit", "quit"]),
        (b"\x1b[C\x1bOC", ["right", "right"]),
        (b"\x1b[A\x1b[1;5C\x1b[200~ ", ["space"]),
        (b"xyz\x1b\xe2\x86\x92n", ["next"]),
        (b"\x1b[", []),
        (b"", []),
    ],
)
def test_other_keys_are_skipped(typed: bytes, keys: list[Key]) -> None:
    assert keys == parse_keys(typed)


def test_there_are_no_keys_without_a_terminal() -> None:
    stream = io.StringIO()
    stream.close()

    assert isinstance(open_keys(io.StringIO()), NoKeys)
    assert isinstance(open_keys(stream), NoKeys)
    assert open_keys(io.StringIO()).wait(0) == []


class TerminalProcess:
    """A command in a terminal of its own."""

    def __init__(self, process: int, descriptor: int) -> None:
        self.process = process
        self.descriptor = descriptor
        self.output = b""

    def read_until(self, text: bytes) -> None:
        """Read until the terminal has shown a text, or the command has ended."""
        while text not in self.output:
            try:
                self.output += os.read(self.descriptor, 65536)
            except OSError:  # Linux: the command has ended
                return

    @property
    def has_echo(self) -> bool:
        return bool(termios.tcgetattr(self.descriptor)[3] & termios.ECHO)

    def type(self, keys: bytes) -> None:
        os.write(self.descriptor, keys)

    def exit_code(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])


@contextmanager
def a_terminal(*options: str) -> Iterator[TerminalProcess]:
    """Run a replay in a terminal."""
    process, descriptor = pty.fork()
    if not process:
        environ = {name: value for name, value in os.environ.items() if name not in ("CI", "NO_COLOR")}
        command = [sys.executable, "-m", "tracesim_cli", "replay", TOUR, *options]
        os.execve(sys.executable, command, {**environ, "TERM": "xterm-256color"})
    try:
        yield TerminalProcess(process, descriptor)
    finally:
        os.close(descriptor)


def test_q_ends_a_run_with_its_summary_and_the_terminal_as_it_was() -> None:
    with a_terminal("--delay", "3600") as terminal:
        terminal.read_until(b"next event")

        assert not terminal.has_echo

        terminal.type(b"\x1b[C\x1b[Cq")
        terminal.read_until(b"ended by the user")
        has_echo = terminal.has_echo
        terminal.read_until(b"no such text")

        assert terminal.exit_code() == 3
    assert has_echo
    assert terminal.output.count(b"\x1b[?25l") == terminal.output.count(b"\x1b[?25h") == 1
    assert b"requests       " in terminal.output


def test_ctrl_c_restores_the_terminal() -> None:
    with a_terminal("--delay", "3600") as terminal:
        terminal.read_until(b"next event")
        terminal.type(b"\x03")
        terminal.read_until(b"interrupted")

        assert terminal.has_echo

        terminal.read_until(b"no such text")

        assert terminal.exit_code() == 130
    assert terminal.output.count(b"\x1b[?25l") == terminal.output.count(b"\x1b[?25h") == 1
