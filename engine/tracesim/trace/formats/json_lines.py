"""Objects, one per line, for the formats that are JSONL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tracesim.errors import TraceProblem
from tracesim.trace.input_file import InputFile
from tracesim.trace.json_object import read_object
from tracesim.trace.problems import Finding


def json_lines(
    file: InputFile,
) -> Iterator[tuple[dict[str, Any] | None, list[Finding]] | TraceProblem]:
    """Yield the object of each line that is not blank, None if there is none, and what is wrong with it."""
    for line in file.lines():
        if isinstance(line, TraceProblem):
            yield line
            continue
        fields, findings = read_object(line)
        if fields is not None or findings:
            yield fields, findings
