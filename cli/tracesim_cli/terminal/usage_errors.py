"""Errors in a command line, as found by Typer, in the style of all other errors: one line, exit code 2."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import typer

from tracesim_cli.terminal.exit_codes import ExitCode, fail

_USAGE_ERROR: Final[Any] = typer.BadParameter.__mro__[1]  # Typer exports no other name of it
_MAX_QUOTED: Final = 60
_NUMBERS: Final = {"int": "an integer", "float": "a number"}


@contextmanager
def reporting_usage_errors(commands: Sequence[str]) -> Iterator[None]:
    """End the command with the message of `describe` if the block raises a usage error."""
    try:
        yield
    except _USAGE_ERROR as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # it shows the help
            raise
        fail(f"error: {describe(error, commands)}", code=ExitCode.USAGE)


def describe(error: Any, commands: Sequence[str]) -> str:
    """Return what is wrong with a command line, and what is accepted; `commands` are all that there are.

    A BadParameter of this package has a message that follows the name of its option: "is empty; must be ...".
    """
    context = error.ctx
    kind = type(error).__name__
    if kind == "NoSuchOption":
        from difflib import get_close_matches

        names = [name for each in context.command.params for name in [*each.opts, *each.secondary_opts]]
        close = get_close_matches(error.option_name, names, cutoff=0.7)
        hint = f"did you mean {' or '.join(close)}?" if close else f"see {context.command_path} --help"
        return f"there is no option {error.option_name}; {hint}"
    if kind == "BadOptionUsage":
        return f"{error.option_name} {'takes no' if 'not take' in error.message else 'needs a'} value"
    if kind == "MissingParameter":
        return f"{_name(error)} is missing; usage: {_usage(context)}"
    if kind == "BadParameter":
        return f"{_name(error)} {_problem(error)}"
    if error.message.startswith("Got unexpected extra argument"):
        extra = error.message.partition("(")[2].partition("(")[2].removesuffix(")")
        return f"unexpected argument {extra!r}; usage: {_usage(context)}"
    if hasattr(context.command, "list_commands"):
        unknown = error.message.partition("No such command ")[2].removesuffix(".").strip("'")
        problem = f"there is no command {unknown!r}" if unknown else "a command is missing"
        return f"{problem}; the commands are {', '.join(commands)}"
    return str(error.message)


def _name(error: Any) -> str:
    """Return the option or the argument of a BadParameter as it is written on the command line."""
    if error.param_hint or error.param is None:
        return str(error.param_hint)
    if error.param.param_type_name == "argument":
        return str(error.param.metavar)
    return str(max(error.param.opts, key=len))


def _problem(error: Any) -> str:
    """Return the message of a BadParameter; of a number or a choice, with the words that settings have."""
    option = error.param
    kind = option.type.name.removesuffix(" range") if option else ""
    choices = getattr(option and option.type, "choices", ())
    if not choices and kind not in _NUMBERS:
        return str(error.message)
    from tracesim.config import all_settings

    found = error.message.partition(" is not ")[0]
    if len(found) > _MAX_QUOTED:
        found = f"{found[:_MAX_QUOTED]}..."
    if setting := all_settings().get(option.name):
        return f"is {found}; must be {setting.accepted}"
    if choices:
        return f"is {found}; must be one of {', '.join(choices)}"
    least, most = getattr(option.type, "min", None), getattr(option.type, "max", None)
    limits = "" if least is None else f" >= {least}"
    return f"is {found}; must be {_NUMBERS[kind]}{limits}{'' if most is None else f' and at most {most:,}'}"


def _usage(context: Any) -> str:
    return " ".join([context.command_path, *context.command.collect_usage_pieces(context)])
