"""A problem of a trace in one line, and how many there are."""

from __future__ import annotations

import typer

from tracesim.errors import TraceProblem
from tracesim_cli.terminal.safe_text import visible, visible_message

_COLORS = {"error": "red", "warning": "yellow"}


def format_problem(problem: TraceProblem, *, color: bool = False) -> str:
    """`file:line: error: field: message [code]`, safe to show on a terminal."""
    place = visible(problem.file) if problem.line is None else f"{visible(problem.file)}:{problem.line}"
    severity: str = problem.severity
    if color:
        severity = typer.style(severity, fg=_COLORS[severity], bold=True)
    return f"{place}: {severity}: {sentence(problem)} [{problem.code}]"


def sentence(problem: TraceProblem) -> str:
    """`field: message`, safe to show on a terminal."""
    message = visible_message(problem.message)
    return message if problem.field is None else f"{visible(problem.field)}: {message}"
