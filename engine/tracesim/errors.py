"""Everything that tracesim raises on purpose.

    TracesimError
    ├── ConfigError           a setting is out of range, unknown to the engine, or in conflict
    ├── TraceError            trace records cannot be used; carries their problems, each with file and line
    ├── StepLogError          a step log cannot be read or is none; with its file and line
    ├── TokenizerError        a tokenizer cannot be loaded or lacks what is asked of it
    ├── RequestError          a request cannot be added: its id is taken, or it can never run
    │   └── UnknownPromptError    no recorded response has its prompt; names the nearest that there is
    ├── StepLimitError        the run reached its guard, `max_steps`
    └── StalledError          the schedule can never move again, with what it waits for

Catching `TracesimError` catches all of them; anything else that escapes is a bug.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

Severity = Literal["error", "warning"]


class TraceProblem(NamedTuple):
    """One thing that is wrong, or looks wrong, at one place of a trace.

    `line` counts from 1 and is None when the file as a whole is meant; `field` is the JSON field or None;
    `code` is a stable name to filter by; `message` is a sentence: what was found, what is accepted.
    The message may quote the trace, so it is untrusted text.
    """

    code: str
    severity: Severity
    file: str
    line: int | None
    field: str | None
    message: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        field = "" if self.field is None else f" {self.field}:"
        return f"{place}:{field} {self.message} [{self.code}]"


class TracesimError(Exception):
    """The root of the tree."""


class ConfigError(TracesimError, ValueError):
    """A setting is out of range, unknown to the engine, or in conflict with another.

    `setting` is the name of the setting, with the part of it that is wrong where it has parts ("clock.base"),
    and `problem` what is wrong with it: together they are the message. `setting` is None, and `problem` the
    whole message, where no single setting is at fault.
    """

    def __init__(self, problem: str, *, setting: str | None = None) -> None:
        self.setting, self.problem = setting, problem
        super().__init__(problem if setting is None else f"{setting} {problem}")


class TraceError(TracesimError, ValueError):
    """Records of a trace cannot be used. `problems` has every one that is known, in trace order."""

    def __init__(self, problems: Sequence[TraceProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class StepLogError(TracesimError, ValueError):
    """A step log cannot be read, or is none. `line` is None when the file as a whole is meant.

    The message may quote the file, so it is untrusted text.
    """

    def __init__(self, file: str, line: int | None, message: str) -> None:
        self.file, self.line = file, line
        place = file if line is None else f"{file}:{line}"
        super().__init__(f"{place}: {message}")


class TokenizerError(TracesimError):
    """A tokenizer cannot be loaded or lacks what is asked of it."""


class RequestError(TracesimError, ValueError):
    """A request cannot be added: its id is taken, or it can never run."""


class UnknownPromptError(RequestError, LookupError):
    """No recorded response is left for a prompt; the message names the nearest prompt that there is."""


class StepLimitError(TracesimError):
    """The run reached its guard, `max_steps`, with requests unfinished."""


class StalledError(TracesimError):
    """The schedule can never move again: every further step would be like the last."""
