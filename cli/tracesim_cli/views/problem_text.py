"""Problems of a trace as lines of text: each with its place, repeated ones grouped and counted by code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import typer

from tracesim.errors import TraceProblem
from tracesim.trace.problems import NO_RECORDS
from tracesim_cli.terminal.exit_codes import ExitCode
from tracesim_cli.terminal.safe_text import visible, visible_message
from tracesim_cli.terminal.text import counted

SHOWN_PER_CODE = 5
_WITHOUT_EFFECT = frozenset({"duplicate-prompt", "bom", "no-final-newline"})
_COUNTED = frozenset({"failed-request", "no-request"})

_COLORS = {"error": "red", "warning": "yellow"}


def format_problem(problem: TraceProblem, *, color: bool = False) -> str:
    """Return `file:line: error: field: message [code]`, safe to show on a terminal."""
    place = visible(problem.file) if problem.line is None else f"{visible(problem.file)}:{problem.line}"
    severity: str = problem.severity
    if color:
        severity = typer.style(severity, fg=_COLORS[severity], bold=True)
    return f"{place}: {severity}: {sentence(problem)} [{problem.code}]"


def sentence(problem: TraceProblem) -> str:
    """Return `field: message`, safe to show on a terminal."""
    message = visible_message(problem.message)
    return message if problem.field is None else f"{visible(problem.field)}: {message}"


class ProblemList:
    """Problems as they are found: all are counted, and the first `shown_per_code` of each code are kept.

    0 keeps all of them. `omitted_by_file` counts those that are not kept, by file and code.
    """

    def __init__(self, shown_per_code: int = SHOWN_PER_CODE) -> None:
        self.kept: list[TraceProblem] = []
        self.by_severity: Counter[str] = Counter()
        self.by_code: Counter[str] = Counter()
        self.omitted_by_file: Counter[tuple[str, str]] = Counter()
        self._shown_per_code = shown_per_code

    @property
    def num_errors(self) -> int:
        """How many errors were found."""
        return self.by_severity["error"]

    @property
    def omitted(self) -> Counter[str]:
        """How many problems of each code were counted and not kept."""
        counts: Counter[str] = Counter()
        for (_, code), count in self.omitted_by_file.items():
            counts[code] += count
        return counts

    @property
    def exit_code(self) -> ExitCode:
        """What a command ends with: a file that cannot be read is wrong usage, an error an invalid trace."""
        if not NO_RECORDS.isdisjoint(self.by_code):
            return ExitCode.USAGE
        return ExitCode.INVALID_TRACE if self.num_errors else ExitCode.DONE

    def add(self, problem: TraceProblem) -> None:
        """Count a problem, and keep it if it is one of the first of its code."""
        self.by_severity[problem.severity] += 1
        self.by_code[problem.code] += 1
        if not self._shown_per_code or self.by_code[problem.code] <= self._shown_per_code:
            self.kept.append(problem)
        else:
            self.omitted_by_file[problem.file, problem.code] += 1

    def in_order(self) -> list[TraceProblem]:
        """Return the kept problems by file and line; files are in the order in which problems were found."""
        files = {file: at for at, file in enumerate(dict.fromkeys([problem.file for problem in self.kept]))}
        return sorted(self.kept, key=lambda each: (files[each.file], each.line or 0))

    def lines(
        self,
        *,
        color: bool = False,
        show_all: str = "tracesim validate",
        without: frozenset[str] = frozenset(),
    ) -> Iterator[str]:
        """Yield the kept problems by file and line, then how many more there are of each code.

        `show_all` is the command that shows those; problems with a code in `without` are skipped.
        """
        for problem in self.in_order():
            if problem.code not in without:
                yield format_problem(problem, color=color)
        for code, count in self.omitted.items():
            if code not in without:
                pointer = "" if code == "cannot-run" else f" ({show_all} shows them)"  # of a replay alone
                yield f"... and {count:,} more [{code}]{pointer}"


def notes_on_warnings(warnings: ProblemList) -> Iterator[str]:
    """Yield what a command that uses a trace reports of its warnings: those that change what is used."""
    yield from warnings.lines(without=_WITHOUT_EFFECT | _COUNTED)
    if failed := warnings.by_code["failed-request"]:
        yield f"skipped {counted(failed, 'request')} that failed when recorded"
    if unanswered := warnings.by_code["no-request"]:
        yield f"skipped {counted(unanswered, 'conversation')} without an answer to replay"
