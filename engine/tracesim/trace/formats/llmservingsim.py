"""LLMServingSim's JSONL: `input_tok_ids`, `output_tok_ids` or their lengths, and `arrival_time_ns`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from tracesim.errors import TraceProblem
from tracesim.trace.formats.interface import Entry, SeparateFiles
from tracesim.trace.formats.json_objects import json_objects
from tracesim.trace.input_file import InputFile
from tracesim.trace.problems import Finding, describe

_IDS = {"prompt_token_ids": "input_tok_ids", "response_token_ids": "output_tok_ids"}
_LENGTHS = {"input_length": "input_toks", "output_length": "output_toks"}


class LLMServingSim(SeparateFiles):
    """Token ids, or lengths where a request does not have the ids of both sides; other fields are ignored."""

    field_names: ClassVar = {**_IDS, **_LENGTHS, "arrival_time": "arrival_time_ns"}

    def read(self, file: InputFile) -> Iterator[Entry | TraceProblem]:
        """Yield an entry for each line."""
        for item in json_objects(file):
            if isinstance(item, TraceProblem):
                yield item
                continue
            line, given, findings = item
            if given is None:
                yield Entry(file.name, line, None, findings)
                continue
            has_ids = all(isinstance(given.get(name), list) for name in _IDS.values())
            names = _IDS if has_ids else _LENGTHS
            fields: dict[str, Any] = {own: given[name] for own, name in names.items() if name in given}
            time = given.get("arrival_time_ns")
            if type(time) is int and time >= 0:
                fields["arrival_time"] = time / 10**9
            elif time is not None:
                message = f"is {describe(time)}; must be an integer of nanoseconds >= 0"
                findings.append(Finding("bad-value", "arrival_time", message))
            yield Entry(file.name, line, fields, findings)
