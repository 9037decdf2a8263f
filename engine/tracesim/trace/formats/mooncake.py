"""Mooncake's JSONL: `timestamp` in milliseconds, `input_length`, `output_length` and `hash_ids`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar

from tracesim.errors import TraceProblem
from tracesim.trace.formats.interface import Entry
from tracesim.trace.formats.json_lines import json_lines
from tracesim.trace.input_file import InputFile
from tracesim.trace.problems import Finding, describe


class Mooncake:
    """The own format, but for the arrival; `session_id` is left alone.

    A turn with a `delay` in place of a `timestamp` is sent that long after the turn before it was answered.
    When that is, no trace can tell.
    """

    waits_for_all: ClassVar = False
    field_names: ClassVar = {"arrival_time": "timestamp"}

    def read(self, file: InputFile) -> Iterator[Entry | TraceProblem]:
        """An entry a line."""
        told = False
        for item in json_lines(file):
            if isinstance(item, TraceProblem):
                yield item
                continue
            fields, findings = item
            if fields is not None:
                findings += _take_timestamp(fields)
                if not told and _waits(fields):
                    told = True
                    findings.append(_WAITS)
            yield Entry(file.name, file.line_number, fields, findings)

    def finish(self) -> Iterator[Entry]:
        """Nothing."""
        return iter(())


_WAITS = Finding(
    "no-arrival-time",
    "delay",
    "counts from an earlier response and is left alone: without a timestamp, the record has no arrival_time",
)


def _waits(fields: dict[str, Any]) -> bool:
    return fields.get("delay") is not None and fields.get("arrival_time") is None


def _take_timestamp(fields: dict[str, Any]) -> Iterator[Finding]:
    """Turn the timestamp into seconds."""
    value = fields.pop("timestamp", None)
    if value is None:
        return
    if fields.get("arrival_time") is not None:
        yield Finding("mixed-fields", "timestamp", "cannot stand together with arrival_time; give one")
    elif type(value) in (int, float) and 0 <= value < math.inf:
        fields["arrival_time"] = value / 1000
    else:
        code = "bad-value" if type(value) in (int, float, bool) else "wrong-type"
        say = f"is {describe(value)}; must be a number of milliseconds >= 0"
        yield Finding(code, "timestamp", say)
