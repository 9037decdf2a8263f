"""Objects, one a line, for the formats that are JSONL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tracesim.errors import TraceProblem
from tracesim.trace.input_file import TraceFile
from tracesim.trace.lenient_json import read_object
from tracesim.trace.problems import Finding


def json_lines(
    file: TraceFile, known: frozenset[str] = frozenset()
) -> Iterator[tuple[dict[str, Any] | None, list[Finding]] | TraceProblem]:
    """The object of each line that is not blank, None if there is none, and what is wrong with it.

    NaN in a field of another name than the `known` is an error.
    """
    for line in file.lines():
        if isinstance(line, TraceProblem):
            yield line
            continue
        fields, findings = read_object(line, known)
        if fields is not None or findings:
            yield fields, findings
