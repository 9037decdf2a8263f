"""How a command ends: the exit codes, and the one place that turns what went wrong into one of them."""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from enum import IntEnum
from types import FrameType
from typing import NoReturn, ParamSpec

import typer

from tracesim.errors import ConfigError, StalledError, StepLimitError, TraceError, TracesimError
from tracesim_cli.safe_text import visible_message

P = ParamSpec("P")


class ExitCode(IntEnum):
    """What a script can rely on. A closed pipe (`| head`) is no failure."""

    DONE = 0
    INVALID_TRACE = 1
    USAGE = 2
    STOPPED = 3
    INTERRUPTED = 130
    TERMINATED = 143


EPILOG = (
    "Exit codes: 0 done, 1 the trace is invalid, 2 wrong usage, "
    "3 stopped before the end (--max-steps, or a schedule that cannot move), 130 interrupted."
)


def with_exit_codes(command: Callable[P, None]) -> Callable[P, None]:
    """Let `command` end quietly and with its exit code, whatever comes out of it."""

    @functools.wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
            sys.stdout.flush()
        except BrokenPipeError:
            _close_stdout()
            raise typer.Exit(ExitCode.DONE) from None
        except KeyboardInterrupt:
            fail("interrupted", ExitCode.INTERRUPTED)
        except (StepLimitError, StalledError) as error:
            fail(f"stopped: {error}", ExitCode.STOPPED)
        except TraceError as error:
            fail(f"error: {error}", ExitCode.INVALID_TRACE)
        except TracesimError as error:
            fail(f"error: {error}{_hint(error)}", ExitCode.USAGE)
        except OSError as error:
            name = f"{error.filename}: " if error.filename else ""
            fail(f"error: {name}{error.strerror or error}", ExitCode.USAGE)

    return wrapper


def fail(message: str, code: ExitCode) -> NoReturn:
    """Say `message` on standard error and end with `code`."""
    with suppress(BrokenPipeError):
        for line in message.splitlines():
            print(f"tracesim: {visible_message(line)}", file=sys.stderr)  # noqa: T201
    raise typer.Exit(code)


def end_on_sigterm() -> None:
    """Let SIGTERM unwind the command, so that no temporary file stays behind."""

    def end(_signal: int, _frame: FrameType | None) -> NoReturn:
        sys.exit(ExitCode.TERMINATED)

    signal.signal(signal.SIGTERM, end)


def _hint(error: TracesimError) -> str:
    return " (tracesim replay --help lists the settings)" if isinstance(error, ConfigError) else ""


def _close_stdout() -> None:
    """Nobody reads any more: let what is still buffered go nowhere, without a word at exit."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
