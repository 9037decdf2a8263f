"""TraceLab's rounds of coding agents: one request per line, with its session, its times and cached tokens."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import count
from typing import ClassVar, NamedTuple

from tracesim.errors import TraceProblem
from tracesim.limits import MAX_HASHED_TOKENS
from tracesim.trace.formats.interface import Entry
from tracesim.trace.formats.json_objects import json_objects
from tracesim.trace.formats.times import nanoseconds
from tracesim.trace.input_file import InputFile
from tracesim.trace.problems import Finding

_BLOCK_SIZE = 64
_INPUT_EVENTS = ("user_message", "tool_result")
_NAMES = {
    "input_length": "input_tokens_total",
    "output_length": "output_tokens",
    "session_id": "session_id",
}


class _Round(NamedTuple):
    """One request: its fields, how many of its prompt tokens were cached, and its times in nanoseconds."""

    entry: Entry
    prefix_tokens: int
    start: int | None
    end: int | None


class TraceLab:
    """Each round is a record, sent `delay` after the round before it in its session has ended.

    A round was sent at the last of its input events, and ended at the last of its output events. Its first
    `prefix_tokens` were cached. They are taken for the tokens that it shares with the round before it, in
    whole blocks of 64 tokens, as `hash_ids` show. In the first round of a session all blocks are new.
    """

    waits_for_all: ClassVar = True
    field_names: ClassVar = _NAMES | {"arrival_time": "timing_events"}

    def __init__(self) -> None:
        self._rounds: list[_Round] = []

    @property
    def num_kept(self) -> int:
        """Return how many rounds were read."""
        return len(self._rounds)

    def read(self, file: InputFile) -> Iterator[Entry | TraceProblem]:
        """Keep every round; yield what is wrong with the file itself."""
        for item in json_objects(file):
            if isinstance(item, TraceProblem):
                yield item
                continue
            given = item.fields or {}
            fields = {name: given[key] for name, key in _NAMES.items() if given.get(key) is not None}
            if isinstance(given.get("session_id"), str) and type(given.get("round_index")) is int:
                fields["id"] = f"{given['session_id']}/{given['round_index']}"
            times: dict[bool, list[int]] = {True: [], False: []}
            findings = list(item.findings)
            events = given.get("timing_events")
            for event in events if isinstance(events, list) else []:
                text = event.get("timestamp") if isinstance(event, dict) else None
                time = nanoseconds(text) if isinstance(text, str) else None
                if time is None:
                    message = "has an event without a time such as 2026-06-01T05:40:20.151Z"
                    findings = [*item.findings, Finding("bad-value", "timing_events", message)]
                else:
                    times[event.get("event_type") in _INPUT_EVENTS].append(time)
            prefix = given.get("prefix_tokens")
            entry = Entry(file.name, item.line, None if item.fields is None else fields, findings)
            start, end = max(times[True], default=None), max(times[False], default=None)
            self._rounds.append(_Round(entry, prefix if type(prefix) is int else 0, start, end))

    def finish(self) -> Iterator[Entry]:
        """Yield the rounds in the order in which they were sent."""
        rounds = sorted(self._rounds, key=lambda each: math.inf if each.start is None else each.start)
        first = next((each.start for each in rounds), None) or 0
        new_id = count().__next__
        last_ids: dict[str, list[int]] = {}
        last_ends: dict[str, int | None] = {}
        for entry, prefix_tokens, start, end in rounds:
            fields = entry.fields or {}
            session, length = fields.get("session_id"), fields.get("input_length")
            if type(length) is int and length > MAX_HASHED_TOKENS:
                message = f"is {length}; must be at most {MAX_HASHED_TOKENS:,}, to have hash_ids"
                entry = entry._replace(
                    findings=[*entry.findings, Finding("bad-value", "input_length", message)]
                )
            elif isinstance(session, str) and type(length) is int:
                shared = last_ids.get(session, [])[: max(0, prefix_tokens) // _BLOCK_SIZE]
                num_new = max(0, -(-length // _BLOCK_SIZE) - len(shared))
                last_ids[session] = fields["hash_ids"] = [*shared, *(new_id() for _ in range(num_new))]
                fields["hash_block_size"] = _BLOCK_SIZE
            if start is not None:
                fields["arrival_time"] = (start - first) / 1e9
                ended = last_ends.get(session) if isinstance(session, str) else None
                if ended is not None:
                    fields["delay"] = max(0, start - ended) / 1e9
            if isinstance(session, str):
                last_ends[session] = end
            yield entry
            fields.pop("hash_ids", None)  # a trace may have far more of them than fit in memory
