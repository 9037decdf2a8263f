"""The JSON that `vllm bench serve --save-result --save-detailed` writes: a list for each quantity."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar

from tracesim.errors import TraceProblem
from tracesim.trace.formats.interface import Entry
from tracesim.trace.formats.json_items import json_items
from tracesim.trace.input_file import InputFile
from tracesim.trace.problems import Finding, describe, problem, quote

_NEEDED = ("input_lens", "output_lens")
_OPTIONAL = ("start_times", "errors")


class VLLMBench:
    """Lengths, and start times counted from the earliest of the first result.

    The prompts are not in it, so `generated_texts` are left alone: a text cannot stand beside a length.
    A request with an error failed, and is left out. Several results may follow each other (--append-result).
    """

    waits_for_all: ClassVar = False
    field_names: ClassVar = {
        "input_length": "input_lens",
        "output_length": "output_lens",
        "arrival_time": "start_times",
    }

    def __init__(self) -> None:
        self._first: float | None = None

    def read(self, file: InputFile) -> Iterator[Entry | TraceProblem]:
        """An entry a request; their lines count the requests of the file."""
        before = 0
        for item in json_items(file):
            if isinstance(item, TraceProblem):
                yield item
                continue
            result, findings = item
            findings = findings or list(_faults(result or {}))
            if findings:
                for finding in findings:
                    yield problem(finding.code, file.name, None, finding.field, finding.message)
                continue
            for entry in self._requests(result or {}):
                before += 1
                yield entry._replace(file=file.name, line=before)

    def finish(self) -> Iterator[Entry]:
        """Nothing."""
        return iter(())

    def _requests(self, result: dict[str, Any]) -> Iterator[Entry]:
        columns = [result[name] for name in _NEEDED]
        size = len(columns[0])
        columns += [result.get(name) or [None] * size for name in _OPTIONAL]
        times = [time for time in columns[2] if _is_time(time)]
        if times and self._first is None:
            self._first = min(times)
        for input_length, output_length, time, failure in zip(*columns, strict=True):
            if failure:
                yield Entry("", 0, None, [_failed(failure)])
                continue
            fields = {"input_length": input_length, "output_length": output_length}
            findings: list[Finding] = []
            if time is not None:
                fields.update(self._arrival(time, findings))
            yield Entry("", 0, fields, findings)

    def _arrival(self, time: Any, findings: list[Finding]) -> dict[str, float]:
        if not _is_time(time) or self._first is None:
            say = f"is {describe(time)}; must be a number of seconds"
            findings.append(Finding("wrong-type", "start_times", say))
        elif time < self._first:
            say = f"is {time!r}, before the earliest of the first result, {self._first!r}; give that first"
            findings.append(Finding("bad-value", "start_times", say))
        else:
            return {"arrival_time": time - self._first}
        return {}


def _is_time(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _faults(result: dict[str, Any]) -> Iterator[Finding]:
    for name in (*_NEEDED, *_OPTIONAL):
        value = result.get(name)
        if value is None and name in _NEEDED:
            say = "is missing; run vllm bench serve with --save-result --save-detailed"
            yield Finding("missing-field", name, say)
        elif value is not None and not isinstance(value, list):
            yield Finding("wrong-type", name, f"is {describe(value)}; must be a list with an item a request")
    sizes = {name: len(result[name]) for name in (*_NEEDED, *_OPTIONAL) if isinstance(result.get(name), list)}
    for name, size in sizes.items():
        most = max(sizes.values())
        if size != most and (size or name in _NEEDED):
            say = f"counts {size}; must count {most}, as {max(sizes, key=sizes.__getitem__)}"
            yield Finding("bad-value", name, say)


def _failed(failure: Any) -> Finding:
    said = quote(failure.strip().rpartition("\n")[2]) if isinstance(failure, str) else describe(failure)
    return Finding("failed-request", "errors", f"is {said}: the request failed, and is left out")
