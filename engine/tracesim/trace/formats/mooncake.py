"""Mooncake's JSONL, and what aiperf and Dynamo added to it: times in milliseconds, hash ids, and sessions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from tracesim.errors import TraceProblem
from tracesim.trace.formats.interface import Entry, SeparateFiles, in_seconds
from tracesim.trace.formats.json_objects import json_objects
from tracesim.trace.input_file import InputFile
from tracesim.trace.problems import Finding

_ALIASES = {"input_tokens": "input_length", "output_tokens": "output_length", "text_input": "prompt"}
_TIMES = {"timestamp": "arrival_time", "delay": "delay"}

_NO_SESSION = Finding(
    "no-arrival-time",
    "delay",
    "is ignored: it counts from an earlier turn, and the record has no session_id that says of which session",
)


class Mooncake(SeparateFiles):
    """Lengths with `hash_ids`, one for each 512 prompt tokens.

    `timestamp` and `delay` are in milliseconds: a turn of a session arrives at its `timestamp`, or `delay`
    after the turn before it has finished. A prompt's text is ignored if only the length of its response is
    known: it cannot stand beside a length.
    """

    field_names: ClassVar = {"arrival_time": "timestamp"}

    def read(self, file: InputFile) -> Iterator[Entry | TraceProblem]:
        """Yield an entry for each line."""
        warned = False
        for item in json_objects(file):
            if isinstance(item, TraceProblem):
                yield item
                continue
            line, fields, findings = item
            if fields is not None:
                findings += _rename(fields)
                if "delay" in fields and fields.get("session_id") is None and fields.get("after") is None:
                    del fields["delay"]
                    findings += [] if warned else [_NO_SESSION]
                    warned = True
            yield Entry(file.name, line, fields, findings)


def _rename(fields: dict[str, Any]) -> Iterator[Finding]:
    """Give the fields the names and units of a trace record; yield what is wrong with them."""
    for alias, name in _ALIASES.items():
        if fields.get(alias) is None:
            continue
        value = fields.pop(alias)
        if fields.get(name) is not None:
            yield Finding("mixed-fields", alias, f"cannot stand together with {name}; give one")
        else:
            fields[name] = value
    if "output_length" in fields and fields.get("response") is None:
        for name in ("prompt", "messages"):
            fields.pop(name, None)
    for time, name in _TIMES.items():
        value = fields.pop(time, None)
        if value is None:
            continue
        if fields.get(name) is not None:
            yield Finding("mixed-fields", time, f"cannot stand together with {name}; give one")
            continue
        seconds = in_seconds(value, "milliseconds")
        if isinstance(seconds, float):
            fields[name] = seconds
        else:
            yield Finding(seconds[0], time, seconds[1])
