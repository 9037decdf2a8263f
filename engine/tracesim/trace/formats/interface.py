"""What a trace format is: it turns a file into entries, which are then checked as lines of JSONL are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

from tracesim.errors import TraceProblem
from tracesim.trace.input_file import InputFile
from tracesim.trace.problems import Finding, describe
from tracesim.trace.schema import Fault


class Entry(NamedTuple):
    """One request as a format found it: its fields by the names of `TraceRecord`, not checked yet.

    `findings` are problems that only the format can know; `fields` is None if they leave nothing to read.
    `line` counts from 1: the line of the file or, in a format that is one JSON document, the item.
    """

    file: str
    line: int
    fields: dict[str, Any] | None
    findings: Sequence[Finding] = ()


class TraceFormat(Protocol):
    """Reads the files of one trace in turn, and keeps between them what it needs.

    `field_names` has what the format calls a field of a record, for messages; other fields keep their names.
    A format that `waits_for_all` files yields its entries in `finish`.
    """

    @property
    def waits_for_all(self) -> bool: ...  # noqa: D102

    @property
    def field_names(self) -> Mapping[str, str]: ...  # noqa: D102

    def read(self, file: InputFile) -> Iterator[Entry | TraceProblem]:
        """Yield the entries of a file in order, except those that depend on other files."""
        ...

    def finish(self) -> Iterator[Entry | TraceProblem]:
        """Yield, after the last file, the entries that depended on other files."""
        ...


class SeparateFiles:
    """The part of a format whose entries never depend on other files."""

    waits_for_all: ClassVar = False

    def finish(self) -> Iterator[Entry]:
        """Yield nothing: no entry depends on another file."""
        return iter(())


def milliseconds(value: object) -> float | Fault:
    """Return a number of milliseconds in seconds, or what is wrong with it."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf:
        return value / 1000
    code = "bad-value" if isinstance(value, (int, float)) else "wrong-type"
    return code, f"is {describe(value)}; must be a number of milliseconds >= 0"
