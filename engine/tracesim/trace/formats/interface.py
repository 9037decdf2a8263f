"""What a trace format is: it turns a file into entries, which are then checked as lines of JSONL are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

from tracesim.errors import TraceProblem
from tracesim.trace.input_file import InputFile
from tracesim.trace.problems import WARNINGS, Finding, describe, problem
from tracesim.trace.schema import Fault, check_seconds, seconds_of_finer_unit


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
    A format that `waits_for_all` files yields its entries in `finish`; `num_kept` counts those that it keeps
    until then.
    """

    @property
    def waits_for_all(self) -> bool: ...  # noqa: D102

    @property
    def num_kept(self) -> int: ...  # noqa: D102

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
    num_kept: ClassVar = 0

    def finish(self) -> Iterator[Entry]:
        """Yield nothing: no entry depends on another file."""
        return iter(())


class FilesOfOneClock:
    """The part of a format with absolute times, which become seconds after the earliest of all files.

    So files and requests may be in any order; entries are kept until the last file was read.
    """

    waits_for_all: ClassVar = True
    ticks_per_second: ClassVar[int] = 1

    def __init__(self) -> None:
        self.num_kept = 0
        self._kept: list[tuple[Entry, float | None]] = []

    def keep(self, entry: Entry, time: float | None) -> None:
        """Keep an entry; `time` is its arrival in ticks, None if it has none."""
        self._kept.append((entry, time))
        self.num_kept += entry.fields is not None or any(each.code not in WARNINGS for each in entry.findings)

    def finish(self) -> Iterator[Entry]:
        """Yield all entries, each with its arrival in seconds after the earliest."""
        earliest = min((time for _, time in self._kept if time is not None), default=0)
        for entry, time in self._kept:
            if entry.fields is not None and time is not None:
                entry.fields["arrival_time"] = (time - earliest) / self.ticks_per_second
            yield entry


def no_records(file: InputFile, num_skipped: int = 0) -> TraceProblem:
    """Return the problem of a file in which there is no record, or of which all were skipped."""
    found = f"has no records, as all {num_skipped:,} were skipped" if num_skipped > 1 else "has no records"
    return problem("empty-file", file.name, None, None, f"{found}; a trace needs at least one")


def in_seconds(value: object, unit: Literal["seconds", "milliseconds"]) -> float | Fault:
    """Return a number of seconds or milliseconds in seconds, or what is wrong with it.

    Unix time in a finer unit is returned as it is: the reader makes seconds of it, with a warning.
    """
    if type(value) in (int, float) and 0 <= value < math.inf:  # type: ignore[operator]  # they are numbers
        seconds = value / 1000 if unit == "milliseconds" else value  # type: ignore[operator]
        fault = None if seconds_of_finer_unit(seconds) else check_seconds(seconds)
        return fault or float(seconds)  # type: ignore[arg-type]
    code = "bad-value" if isinstance(value, (int, float)) else "wrong-type"
    return code, f"is {describe(value)}; must be a number of {unit} >= 0"
