"""What a trace format is: it turns a file into entries, which are checked as lines of JSONL are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from tracesim.errors import TraceProblem
from tracesim.trace.input_file import InputFile
from tracesim.trace.problems import Finding


class Entry(NamedTuple):
    """One request as a format found it, by the names of `TraceRecord`; values are not checked yet.

    `findings` are what is wrong that only the format can know. `fields` is None where they leave nothing to
    be read. `line` counts from 1: lines, or in a format that is one JSON document its items.
    """

    file: str
    line: int
    fields: dict[str, Any] | None
    findings: Sequence[Finding] = ()


class TraceFormat(Protocol):
    """Reads the files of one trace, in turn, and remembers between them what it has to.

    `field_names` tells what the format calls the fields of a record, for messages; others keep their name.
    Where it `waits_for_all` files, the entries come with `finish`.
    """

    @property
    def waits_for_all(self) -> bool: ...  # noqa: D102

    @property
    def field_names(self) -> Mapping[str, str]: ...  # noqa: D102

    def read(self, file: InputFile) -> Iterator[Entry | TraceProblem]:
        """The entries of a file, in order; some may have to wait for what other files say."""
        ...

    def finish(self) -> Iterator[Entry | TraceProblem]:
        """After the last file: the entries that had to wait."""
        ...
