"""The errors that tracesim raises on purpose.

    TracesimError
    ├── ConfigError           a setting is not accepted, or in conflict with another; names the setting
    ├── TraceError            records of a trace cannot be used; has their problems, each with file and line
    ├── StepLogError          a file cannot be read as a step log; has the file and the line
    ├── MeasurementError      a file has no measurements, or too few; has the file and the place
    ├── ReportError           a file cannot be read as a report of a run; has the file
    ├── TokenizerError        a tokenizer cannot be loaded, or cannot do what is required
    ├── RequestError          a request cannot be added: its id is taken, or it can never run
    │   └── UnknownPromptError    no recorded response has its prompt; names the most similar prompt
    ├── StepLimitError        the run reached its limit, `max_steps`
    └── StalledError          the schedule can never continue; says what it waits for

Catching `TracesimError` catches all of them. Any other exception is a bug.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

_MAX_QUOTED: Final = 80

Severity = Literal["error", "warning"]


class TraceProblem(NamedTuple):
    """An error or a warning about one place of a trace.

    `line` counts from 1 and is None for the file as a whole, `field` is the JSON field or None, and `code` is
    a stable name to filter by. `message` is a sentence with what was found and what is accepted. It may quote
    the trace, so it is untrusted text.
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


def needs_package(what: str, package: str) -> str:
    """Return the message that something needs a package that is not installed."""
    return f"{what} needs the package {package}; install it with: pip install {package}"


class TracesimError(Exception):
    """The base of all errors that tracesim raises on purpose."""


class ConfigError(TracesimError, ValueError):
    """A setting is not accepted, not known to the engine, or in conflict with another.

    `setting` is its name, with the part that is wrong if it has parts ("clock.base"), and `problem` is what
    is wrong with it. Together they are the message. If no single setting is wrong, `setting` is None and
    `problem` is the whole message.
    """

    def __init__(self, problem: str, *, setting: str | None = None) -> None:
        self.setting, self.problem = setting, problem
        super().__init__(problem if setting is None else f"{setting} {problem}")


class TraceError(TracesimError, ValueError):
    """Records of a trace cannot be used. `problems` has all known problems, in the order of the trace."""

    def __init__(self, problems: Sequence[TraceProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class StepLogError(TracesimError, ValueError):
    """A file cannot be read as a step log. `line` counts from 1 and is None for the file as a whole.

    The message may quote the file, so it is untrusted text.
    """

    def __init__(self, file: str, line: int | None, message: str) -> None:
        self.file, self.line = file, line
        place = file if line is None else f"{file}:{line}"
        super().__init__(f"{place}: {message}")


class MeasurementError(TracesimError, ValueError):
    """A file cannot be read as measurements of a server, or has too few.

    `place` counts from 1: the line, or the request where the file is one JSON document; None for the file as
    a whole. The message may quote the file, so it is untrusted text.
    """

    def __init__(self, file: str, place: int | None, message: str) -> None:
        self.file, self.place = file, place
        super().__init__(f"{file}: {message}" if place is None else f"{file}:{place}: {message}")


class ReportError(TracesimError, ValueError):
    """A file cannot be read as a report of a run. The message may quote the file, so it is untrusted text."""

    def __init__(self, file: str, message: str) -> None:
        self.file = file
        super().__init__(f"{file}: {message}")


class TokenizerError(TracesimError):
    """A tokenizer cannot be loaded, or cannot do what is required."""


class RequestError(TracesimError, ValueError):
    """A request cannot be added: its id is taken, or it can never run."""


class UnknownPromptError(RequestError, LookupError):
    """No unused recorded response has this prompt; the message names the most similar prompt."""


class StepLimitError(TracesimError):
    """The run reached its limit, `max_steps`, before all requests were finished."""


class StalledError(TracesimError):
    """The schedule can never continue: every further step would be like the last."""


def brief(value: object) -> str:
    """Return `repr(value)` as a message quotes it: a long one is cut after 80 characters."""
    if type(value) is int and abs(value) > 10**_MAX_QUOTED:
        return f"an integer of over {_MAX_QUOTED} digits"  # Python refuses to write thousands of them
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # it is nested too deeply, or has such an integer
        return f"a value of the type {type(value).__name__}"
    return text if len(text) <= _MAX_QUOTED else f"{text[:_MAX_QUOTED]}..."
