"""The JSON that `vllm bench serve --save-result --save-detailed` writes: a list for each quantity."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar

from tracesim.errors import TraceProblem
from tracesim.trace.formats.interface import Entry, SeparateFiles
from tracesim.trace.formats.json_items import json_items
from tracesim.trace.input_file import InputFile
from tracesim.trace.problems import Finding, describe, problem, quote

_NEEDED = ("input_lens", "output_lens")
_OPTIONAL = ("start_times", "errors")


class VLLMBench(SeparateFiles):
    """Lengths, and start times counted from the earliest of the first result.

    Prompts are not recorded, so `generated_texts` are ignored: text cannot stand beside a length.
    A request with an error failed, and is skipped. Several results may follow each other (--append-result).
    """

    field_names: ClassVar = {
        "input_length": "input_lens",
        "output_length": "output_lens",
        "arrival_time": "start_times",
    }

    def __init__(self) -> None:
        self._first: float | None = None

    def read(self, file: InputFile) -> Iterator[Entry | TraceProblem]:
        """Yield an entry for each request; its line is its number in the file."""
        number = 0
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
                number += 1
                yield entry._replace(file=file.name, line=number)

    def _requests(self, result: dict[str, Any]) -> Iterator[Entry]:
        columns = [result[name] for name in _NEEDED]
        size = len(columns[0])
        columns += [result.get(name) or [None] * size for name in _OPTIONAL]
        times = [time for time in columns[2] if _is_time(time)]
        if times and self._first is None:
            self._first = min(times)
        for input_length, output_length, time, failure in zip(*columns, strict=True):
            if failure:
                text = failure.strip().rpartition("\n")[2] if isinstance(failure, str) else None
                found = describe(failure) if text is None else quote(text)
                message = f"is {found}: the request failed, and is skipped"
                yield Entry("", 0, None, [Finding("failed-request", "errors", message)])
                continue
            fields = {"input_length": input_length, "output_length": output_length}
            findings: list[Finding] = []
            if time is not None:
                fields.update(self._arrival(time, findings))
            yield Entry("", 0, fields, findings)

    def _arrival(self, time: Any, findings: list[Finding]) -> dict[str, float]:
        if not _is_time(time) or self._first is None:
            message = f"is {describe(time)}; must be a number of seconds"
            findings.append(Finding("wrong-type", "start_times", message))
        elif time < self._first:
            first = f"the earliest of the first result, {self._first!r}"
            message = f"is {time!r}, before {first}; give the earlier result first"
            findings.append(Finding("bad-value", "start_times", message))
        else:
            return {"arrival_time": time - self._first}
        return {}


def _is_time(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _faults(result: dict[str, Any]) -> Iterator[Finding]:
    for name in (*_NEEDED, *_OPTIONAL):
        value = result.get(name)
        if value is None and name in _NEEDED:
            message = "is missing; run vllm bench serve with --save-result --save-detailed"
            yield Finding("missing-field", name, message)
        elif value is not None and not isinstance(value, list):
            yield Finding(
                "wrong-type", name, f"is {describe(value)}; must be a list with one item per request"
            )
    sizes = {name: len(result[name]) for name in (*_NEEDED, *_OPTIONAL) if isinstance(result.get(name), list)}
    for name, size in sizes.items():
        most = max(sizes.values())
        if size != most and (size or name in _NEEDED):
            longest = max(sizes, key=sizes.__getitem__)
            yield Finding("bad-value", name, f"has {size} items; must have {most}, as {longest}")
