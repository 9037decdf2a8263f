"""How a command ends: the exit codes, and the one place that turns what went wrong into one of them."""

from __future__ import annotations

import functools
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import IntEnum
from types import FrameType
from typing import NoReturn, ParamSpec

import typer

from tracesim.errors import ConfigError, StalledError, StepLimitError, TraceError, TracesimError
from tracesim_cli.terminal.safe_text import visible_message
from tracesim_cli.terminal.streams import close_stdout

P = ParamSpec("P")


class ExitCode(IntEnum):
    """What a script can rely on: 1 says that the input was read and is not what it should be.

    A trace is invalid, or steps differ from those expected. A closed pipe (`| head`) is no failure.
    """

    DONE = 0
    INVALID_TRACE = 1
    DIFFERENT = 1
    USAGE = 2
    STOPPED = 3
    INTERRUPTED = 130
    TERMINATED = 143


class UnexpectedStepError(Exception):
    """A step of the run differs from the one expected, or only one of the two is there."""


EPILOG = (
    "Exit codes: 0 done, 1 the trace is invalid or steps differ, 2 wrong usage, "
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
            close_stdout()
            raise typer.Exit(ExitCode.DONE) from None
        except KeyboardInterrupt:
            fail("interrupted", ExitCode.INTERRUPTED)
        except (StepLimitError, StalledError) as error:
            fail(f"stopped: {error}", ExitCode.STOPPED)
        except TraceError as error:
            fail(f"error: {error}", ExitCode.INVALID_TRACE)
        except ConfigError as error:
            fail(f"error: {_by_flag(str(error))}", ExitCode.USAGE)
        except TracesimError as error:
            fail(f"error: {error}", ExitCode.USAGE)
        except OSError as error:
            fail(f"error: {_os_error(error)}", ExitCode.USAGE)

    return wrapper


def fail(message: str, code: ExitCode) -> NoReturn:
    """Say `message` on standard error and end with `code`."""
    _say(message)
    raise typer.Exit(code)


@contextmanager
def unwritable_help() -> Iterator[None]:
    """Let `--help` and `--version` end as commands do where standard output cannot be written."""
    try:
        yield
    except OSError as error:
        close_stdout()
        _say(f"error: {_os_error(error)}")
        sys.exit(ExitCode.USAGE)


def end_on_sigterm() -> None:
    """Let SIGTERM unwind the command, so that no temporary file stays behind."""

    def end(_signal: int, _frame: FrameType | None) -> NoReturn:
        sys.exit(ExitCode.TERMINATED)

    signal.signal(signal.SIGTERM, end)


def _say(message: str) -> None:
    with suppress(OSError):
        for line in message.splitlines():
            print(f"tracesim: {visible_message(line)}", file=sys.stderr)  # noqa: T201


def _by_flag(message: str) -> str:
    """A message about a setting begins with its name; here it is known by its flag too."""
    setting = re.match(r"([a-z_]+)(\.[a-z0-9_]+)? (is|has|gives) ", message)
    if setting is None:
        return message
    return f"--{setting[1].replace('_', '-')}: {message} (tracesim replay --help lists the settings)"


def _os_error(error: OSError) -> str:
    """What went wrong where; files carry their names, so that what has none is standard output."""
    return f"{error.filename or 'standard output'}: {error.strerror or error}"
