"""How a command ends: its exit codes, and the one place that turns errors into them."""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager, suppress
from enum import IntEnum
from inspect import signature
from typing import NoReturn, ParamSpec

import typer

from tracesim.errors import ConfigError, StalledError, StepLimitError, TraceError, TracesimError
from tracesim_cli.terminal.safe_text import visible_message
from tracesim_cli.terminal.streams import close_stdout

P = ParamSpec("P")


TRACEBACK_VARIABLE = "TRACESIM_TRACEBACK"
"""With the value 1 it shows the traceback of an exception that is a defect."""

_MAX_QUOTED = 200


class ExitCode(IntEnum):
    """The exit codes that scripts can rely on. A closed pipe (`| head`) is not an error.

    What a command finds out about its input, such as that two logs differ, is its exit code all the same.
    """

    DONE = 0
    INVALID_TRACE = 1
    DIFFERENT = 1
    NOT_MET = 1
    USAGE = 2
    STOPPED = 3
    BUG = 70
    OUT_OF_MEMORY = 71
    INTERRUPTED = 130
    TERMINATED = 143


class UnexpectedStepError(Exception):
    """A step of the run differs from the expected one, or only one of the two exists."""


class StoppedByUserError(Exception):
    """The user has ended the run with a key, and wants its summary."""


def with_exit_codes(command: Callable[P, None]) -> Callable[P, None]:
    """Return `command` with every error that it may raise turned into a message and an exit code."""
    options = signature(command).parameters

    @functools.wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
            sys.stdout.flush()
        except BrokenPipeError:
            close_stdout()
            raise typer.Exit(ExitCode.DONE) from None
        except KeyboardInterrupt:
            fail("interrupted", code=ExitCode.INTERRUPTED)
        except UnexpectedStepError:
            raise typer.Exit(ExitCode.DIFFERENT) from None
        except (StepLimitError, StalledError, StoppedByUserError) as error:
            fail(f"stopped: {error}", code=ExitCode.STOPPED)
        except TraceError as error:
            fail(*(f"error: {problem}" for problem in error.problems), code=ExitCode.INVALID_TRACE)
        except ConfigError as error:
            fail(f"error: {name_option(error, options)}", code=ExitCode.USAGE)
        except TracesimError as error:
            fail(f"error: {error}", code=ExitCode.USAGE)
        except OSError as error:
            fail(f"error: {describe_os_error(error)}", code=ExitCode.USAGE)

    return wrapper


def fail(*lines: str, code: ExitCode) -> NoReturn:
    """Print a message on standard error and end the command with `code`."""
    print_message(*lines)
    raise typer.Exit(code)


def print_message(*lines: str) -> None:
    """Print the lines of a message on standard error, if that can be written, each after "tracesim: ".

    A line break within one of them is part of a name or a quotation, and is escaped.
    """
    with suppress(OSError):
        for line in lines:
            print(f"tracesim: {visible_message(line)}", file=sys.stderr)  # noqa: T201


def name_option(error: ConfigError, options: Container[str]) -> str:
    """Return the message of `error`, with the option in place of the setting if that is one of `options`."""
    setting = re.match(r"\w*", error.setting or "")[0]  # type: ignore[index]  # it always matches
    if error.setting is None or setting not in options:
        return str(error)
    option, part = f"--{setting.replace('_', '-')}", error.setting[len(setting) :].lstrip(".: ")
    return f"{option}: {part} {error.problem}" if part else f"{option} {error.problem}"


def describe_os_error(error: OSError) -> str:
    """Return which file failed and why. An error of standard output is the only one without a file name."""
    return f"{error.filename or 'standard output'}: {error.strerror or error}"


@contextmanager
def report_closed_stdout() -> Iterator[None]:
    """End `--help` and `--version` as commands end if standard output cannot be written."""
    try:
        yield
    except BrokenPipeError:
        close_stdout()
        sys.exit(ExitCode.DONE)
    except OSError as error:
        close_stdout()
        print_message(f"error: {describe_os_error(error)}")
        sys.exit(ExitCode.USAGE)


@contextmanager
def report_bugs() -> Iterator[None]:
    """Turn an exception that nothing else has handled into a sentence and an exit code of its own."""
    try:
        yield
    except (SystemExit, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # a library in Rust may raise what is no Exception
        if os.environ.get(TRACEBACK_VARIABLE) == "1":
            import traceback

            with suppress(OSError):
                traceback.print_exception(error)
        if isinstance(error, MemoryError):
            print_message("error: the memory is used up; replay fewer records at once, with --limit")
            sys.exit(ExitCode.OUT_OF_MEMORY)
        found = " ".join(f"{type(error).__name__}: {error}".split())
        if len(found) > _MAX_QUOTED:
            found = f"{found[:_MAX_QUOTED]}..."
        print_message(
            f"error: this is a defect of tracesim, not of your input: {found}",
            "please open an issue with the command, its input, and what it prints with "
            f"{TRACEBACK_VARIABLE}=1 set",
        )
        sys.exit(ExitCode.BUG)
