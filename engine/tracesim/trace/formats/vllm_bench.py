"""The JSON that `vllm bench serve --save-result --save-detailed` writes: a list for each quantity."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar

from tracesim.errors import TraceProblem
from tracesim.trace.formats.interface import Entry, FilesOfOneClock
from tracesim.trace.formats.json_objects import document_objects
from tracesim.trace.input_file import InputFile
from tracesim.trace.problems import Finding, describe, problem, quote

_NEEDED = ("input_lens", "output_lens")
_OPTIONAL = ("start_times", "errors")


class VLLMBench(FilesOfOneClock):
    """Lengths, and start times counted from the earliest of all results.

    Prompts are not recorded, so `generated_texts` are ignored: text cannot stand beside a length.
    A request with an error failed, and is skipped. Several results may follow each other (--append-result).
    """

    field_names: ClassVar = {
        "input_length": "input_lens",
        "output_length": "output_lens",
        "arrival_time": "start_times",
    }

    def read(self, file: InputFile) -> Iterator[Entry | TraceProblem]:
        """Keep an entry for each request, whose line is its number in the file; yield what is wrong."""
        number = 0
        for item in document_objects(file, {*_NEEDED, *_OPTIONAL}):
            if isinstance(item, TraceProblem):
                yield item
                continue
            result = item.fields or {}
            findings = item.findings or list(_faults(result))
            for finding in findings:
                yield problem(finding.code, file.name, None, finding.field, finding.message)
            if findings:
                continue
            columns = [result[name] for name in _NEEDED]
            columns += [result.get(name) or [None] * len(columns[0]) for name in _OPTIONAL]
            for row in zip(*columns, strict=True):
                number += 1
                self._keep_request(file.name, number, *row)

    def _keep_request(
        self, file: str, line: int, input_length: Any, output_length: Any, time: Any, error: Any
    ) -> None:
        if error:
            text = error.strip().rpartition("\n")[2] if isinstance(error, str) else None
            found = describe(error) if text is None else quote(text)
            message = f"is {found}: the request failed, and is skipped"
            self.keep(Entry(file, line, None, [Finding("failed-request", "errors", message)]), None)
            return
        findings = []
        is_time = type(time) in (int, float) and math.isfinite(time)
        if time is not None and not is_time:
            message = f"is {describe(time)}; must be a number of seconds"
            findings.append(Finding("wrong-type", "start_times", message))
        fields = {"input_length": input_length, "output_length": output_length}
        self.keep(Entry(file, line, fields, findings), time if is_time else None)


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
