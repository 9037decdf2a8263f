"""A command run in this process, in limited time, and what is wrong with how it ended."""

from __future__ import annotations

import io
import os
import re
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple
from unittest import mock

SECONDS: Final = 10
MEGABYTES: Final = 300
"""What a command may take of time, and of memory beyond what the process has."""

CODES: Final = frozenset([0, 1, 2, 3])
_CONTROLS: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_SCREEN_CODES: Final = re.compile(r"\x1b\[[0-9;]*[mKJABCDHG]|\x1b\[\?(?:25|7|2026)[hl]|\r\n|\r|\n")


class TimeUpError(BaseException):
    """The command takes too long; no exception of a command is its base."""


class Outcome(NamedTuple):
    """How a command ended; `megabytes` is by how much it made the largest size of the process larger."""

    code: object
    stdout: bytes
    stderr: bytes
    seconds: float
    megabytes: float


def run_here(
    arguments: Sequence[str],
    stdin: bytes = b"",
    *,
    on_terminal: bool = False,
    environ: dict[str, str] | None = None,
) -> Outcome:
    """Run `tracesim` with these arguments in this process, with its streams in memory or on a terminal."""
    from tracesim_cli.main import main

    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    usual = {"TRACESIM_TRACEBACK": "1", "COLUMNS": "80", "TERM": "xterm-256color", "CI": "", "NO_COLOR": ""}
    code: object = None
    with (
        _terminal_streams() if on_terminal else _memory_streams() as (streams, collect),
        mock.patch.object(sys, "argv", ["tracesim", *arguments]),
        mock.patch.object(sys, "unraisablehook", sys.unraisablehook),
        mock.patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin))),
        mock.patch.object(sys, "stdout", streams[0]),
        mock.patch.object(sys, "stderr", streams[1]),
        mock.patch.dict(os.environ, usual | (environ or {})),
        _limited_time(),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code
        except BaseException as error:
            code = f"{type(error).__name__}: {error}"
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        stdout, stderr = collect()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return Outcome(code, stdout, stderr, time.monotonic() - started, grown / 1024)


def faults_of(outcome: Outcome, *, shown: str) -> list[str]:
    """Return what is wrong with how a command ended; `shown` is "text", "json" or "screen": its output."""
    faults = []
    if outcome.code not in CODES:
        faults.append(f"exit code {outcome.code}: {_last_line(outcome.stderr) or _last_line(outcome.stdout)}")
    if outcome.seconds > SECONDS:
        faults.append(f"{outcome.seconds:.1f} seconds")
    if outcome.megabytes > MEGABYTES:
        faults.append(f"{outcome.megabytes:.0f} MB more")
    if b"Traceback" in outcome.stderr:
        faults.append(f"a traceback: {_last_line(outcome.stderr)}")
    if shown == "screen":
        text = _SCREEN_CODES.sub("", (outcome.stdout + outcome.stderr).decode("utf-8", "replace"))
        if bad := _CONTROLS.search(text):
            faults.append(f"{bad[0]!r} on the screen: {text[max(0, bad.start() - 40) : bad.end() + 20]!r}")
        return faults
    faults += _faults_of_text("stderr", outcome.stderr)
    return faults if shown == "json" else faults + _faults_of_text("stdout", outcome.stdout)


def _faults_of_text(name: str, data: bytes) -> list[str]:
    """Return what is wrong with text for people: it is not UTF-8, or has control characters."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        return [f"{name} is not UTF-8: {error}"]
    bad = _CONTROLS.search(text)
    return [f"{bad[0]!r} in {name}: {text[max(0, bad.start() - 40) : bad.end() + 20]!r}"] if bad else []


def _last_line(text: bytes) -> str:
    """Return the exception of a traceback, or else the first line."""
    lines = text.decode("utf-8", "replace").splitlines()
    named = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Exit|Interrupt|Warning)\b", line)]
    places = [line.strip() for line in lines if line.startswith('  File "') and "/tracesim" in line]
    return " at ".join([*named[-1:], *places[-1:]]) or "".join(lines[:1])


@contextmanager
def _limited_time() -> Iterator[None]:
    def end(*_: object) -> None:
        raise TimeUpError

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    before[signal.SIGALRM] = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, 2 * SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _memory_streams() -> Iterator[tuple[list[Any], Any]]:
    buffers = [io.BytesIO(), io.BytesIO()]
    streams = [io.TextIOWrapper(buffer, encoding="utf-8") for buffer in buffers]
    yield streams, lambda: [buffer.getvalue() for buffer in buffers]
    for stream in streams:
        stream.detach()


@contextmanager
def _terminal_streams() -> Iterator[tuple[list[Any], Any]]:
    """Yield both output streams on one pseudo-terminal, which a thread reads."""
    reader, writer = os.openpty()
    received: list[bytes] = []

    def read() -> None:
        try:
            while data := os.read(reader, 65536):
                received.append(data)
        except OSError:
            pass  # how a terminal ends

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    streams = [
        io.TextIOWrapper(io.FileIO(os.dup(writer), "w"), encoding="utf-8", write_through=True)
        for _ in range(2)
    ]

    def collect() -> list[bytes]:
        for stream in streams:
            stream.close()
        os.close(writer)
        thread.join(SECONDS)
        return [b"".join(received), b""]

    try:
        yield streams, collect
    finally:
        os.close(reader)
