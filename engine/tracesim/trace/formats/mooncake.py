"""Mooncake's JSONL, and what aiperf and Dynamo added to it: times in milliseconds, hash ids, and sessions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from tracesim.errors import TraceProblem
from tracesim.trace.formats.interface import Entry, SeparateFiles, in_seconds
from tracesim.trace.formats.json_objects import json_objects
from tracesim.trace.formats.openai_api import joined_messages
from tracesim.trace.input_file import InputFile
from tracesim.trace.problems import Finding

_ALIASES = {"input_tokens": "input_length", "output_tokens": "output_length", "text_input": "prompt"}
_TIMES = {"timestamp": "arrival_time", "delay": "delay"}

_NO_SESSION = Finding(
    "no-arrival-time",
    "delay",
    "is ignored: it counts from an earlier turn, and the record has no session_id that says of which session",
)

_IN_SECONDS = Finding(
    "time-unit",
    "timestamp",
    "is read as milliseconds; it may be Unix time in seconds: multiply it by 1000 if it is",
)

_FRACTION = Finding(
    "time-unit",
    "timestamp",
    "is read as milliseconds, which are whole in this format; multiply it by 1000 if it is in seconds",
)


class Mooncake(SeparateFiles):
    """Lengths with `hash_ids`, one for each 512 prompt tokens, or the text of a prompt and an output length.

    `timestamp` and `delay` are in milliseconds: a turn of a session arrives at its `timestamp`, or `delay`
    after the turn before it has finished. The text of a prompt, `text_input` or `messages`, is ignored beside
    its length.
    """

    field_names: ClassVar = {"arrival_time": "timestamp", "prompt": "text_input"}

    def read(self, file: InputFile) -> Iterator[Entry | TraceProblem]:
        """Yield an entry for each line."""
        has_warned, has_time, has_unit_warning = False, False, False
        for item in json_objects(file):
            if isinstance(item, TraceProblem):
                yield item
                continue
            line, fields, findings = item
            if fields is not None:
                time, has_delay = fields.get("timestamp"), fields.get("delay") is not None
                findings += _rename(fields)
                if unread := _read_prompt(fields):
                    yield Entry(file.name, line, None, [*findings, *unread])
                    continue
                if type(fields.get("session_id")) is int:
                    fields["session_id"] = str(fields["session_id"])
                if time is not None and not has_time:
                    has_time = True
                    is_unix_seconds = type(time) in (int, float) and 10**9 <= time < 10**10
                    findings += [_IN_SECONDS] if is_unix_seconds else []
                    has_unit_warning = is_unix_seconds
                if type(time) is float and not has_unit_warning and 0 < time < 10**9 and time % 1:
                    has_unit_warning = True
                    findings += [_FRACTION]
                if has_delay and fields.get("session_id") is None and fields.get("after") is None:
                    fields.pop("delay", None)
                    findings += [] if has_warned else [_NO_SESSION]
                    has_warned = True
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


def _read_prompt(fields: dict[str, Any]) -> list[Finding]:
    """Make one prompt of messages; drop a prompt whose length is known as well. Return what is wrong."""
    messages = fields.pop("messages", None)
    if fields.get("input_length") is not None and fields.get("output_length") is not None:
        fields.pop("prompt", None)
    elif messages is not None and fields.get("prompt") is None and fields.get("prompt_token_ids") is None:
        prompt, findings = joined_messages(messages, "messages")
        fields.update(prompt)
        return findings
    return []
