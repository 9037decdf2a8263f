"""Weka's agentic coding sessions: one JSON object per session, with nested sub-agents and hash ids."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any, ClassVar, NamedTuple

from tracesim.errors import TraceProblem
from tracesim.trace.formats.interface import Entry, SeparateFiles, in_seconds
from tracesim.trace.formats.json_objects import document_objects
from tracesim.trace.input_file import InputFile
from tracesim.trace.problems import Finding, absent_or_wrong, describe

_ROUNDING_S = 1.0
"""Times are rounded to seconds, so that a request may seem to start before what it waits for has ended."""


class Weka(SeparateFiles):
    """Each request of a session or of one of its sub-agents is a record; a sub-agent is a session of its own.

    A request is sent when the one before it has ended, and every sub-agent that has ended by then; `delay` is
    the time since the last of these ends. The scope of a hash id is its session, unless `hash_id_scope` is
    "global", so ids are numbered anew. Prompt tokens after the last whole block have no hash id in the file,
    and get one that no other block has.
    """

    field_names: ClassVar = {"input_length": "in", "output_length": "out", "arrival_time": "t"}

    def __init__(self) -> None:
        self._new_hash_id = count().__next__
        self._global_ids: defaultdict[int, int] = defaultdict(self._new_hash_id)
        self._num_sessions = 0

    def read(self, file: InputFile) -> Iterator[Entry | TraceProblem]:
        """Yield an entry for each request; its line is its number in the file."""
        line = 0
        for item in document_objects(file):
            if isinstance(item, TraceProblem):
                yield item
                continue
            self._num_sessions += 1
            session = item.fields or {}
            requests, block_size = session.get("requests"), session.get("block_size")
            findings = item.findings
            if not findings and not isinstance(requests, list):
                findings = [absent_or_wrong("requests", requests, "a list of requests")]
            if not findings and (type(block_size) is not int or block_size < 1):
                findings = [absent_or_wrong("block_size", block_size, "an integer >= 1")]
            if findings:
                line += 1
                yield Entry(file.name, line, None, findings)
                continue
            is_global = session.get("hash_id_scope") == "global"
            ids = self._global_ids if is_global else defaultdict(self._new_hash_id)
            tree = _SessionTree(int(block_size or 0), ids, self._new_hash_id)
            name = session.get("id")
            session_id = name if isinstance(name, str) and name else f"session-{self._num_sessions}"
            for fields, findings in tree.requests(requests or [], session_id, 0.0, []):
                line += 1
                yield Entry(file.name, line, fields, findings)


class _Sent(NamedTuple):
    """A request that others may wait for: its id, and when it has started and ended."""

    id: str
    start: float
    end: float


class _SessionTree:
    """Makes records of the requests of one session and of its sub-agents."""

    def __init__(self, block_size: int, ids: defaultdict[int, int], new_hash_id: Callable[[], int]) -> None:
        self._block_size, self._ids, self._new_hash_id = block_size, ids, new_hash_id
        self._last: _Sent | None = None

    def requests(
        self, requests: Sequence[Any], session_id: str, base: float, before: list[_Sent]
    ) -> Iterator[tuple[dict[str, Any] | None, list[Finding]]]:
        """Yield the fields of each request and what is wrong with it.

        Times count from `base`. The first request waits for those in `before`.
        """
        previous, running, number = before, list[_Sent](), 0
        for at, request in enumerate(requests, 1):
            if not isinstance(request, dict):
                message = f"item {at} is {describe(request)}; must be an object"
                yield None, [Finding("wrong-type", "requests", message)]
                continue
            if request.get("type") == "subagent":
                children = request.get("requests")
                children = children if isinstance(children, list) else []
                child_base = base_of(request, children, base, previous)
                name = f"{session_id}/{request.get('agent_id', at)}"
                self._last = None
                yield from self.requests(children, name, child_base, previous[:1])
                running += [self._last] if self._last else []
                continue
            number += 1
            fields, findings = self._fields(request, f"{session_id}/{number}", session_id)
            seconds = in_seconds(request.get("t"), "seconds")
            if not isinstance(seconds, float):
                yield fields, [*findings, Finding(seconds[0], "t", seconds[1])]
                continue
            start = base + seconds
            ended = [sent for sent in running if sent.end <= start + _ROUNDING_S]
            running = [sent for sent in running if sent not in ended]
            if waits_for := [*previous, *ended]:
                fields["after"] = [sent.id for sent in waits_for]
                fields["delay"] = max(0.0, round(start - max(sent.end for sent in waits_for), 6))
            fields["arrival_time"] = start
            duration = in_seconds(request.get("api_time", 0), "seconds")
            end = start + (duration if isinstance(duration, float) else 0.0)
            previous = [_Sent(fields["id"], start, end)]
            self._last = previous[0]
            yield fields, findings

    def _fields(
        self, request: dict[str, Any], record_id: str, session_id: str
    ) -> tuple[dict[str, Any], list[Finding]]:
        """Return the fields of a request, except for its time."""
        fields: dict[str, Any] = {"id": record_id, "session_id": session_id}
        names = {"input_length": "in", "output_length": "out", "hash_ids": "hash_ids"}
        fields.update({name: request[key] for name, key in names.items() if request.get(key) is not None})
        hash_ids, length = fields.get("hash_ids"), fields.get("input_length")
        if hash_ids is None:
            return fields, []
        fields["hash_block_size"] = self._block_size
        if isinstance(hash_ids, list) and all(type(each) is int for each in hash_ids):
            fields["hash_ids"] = [self._ids[each] for each in hash_ids]
            whole_blocks, rest = divmod(length, self._block_size) if type(length) is int else (0, 0)
            if rest and len(hash_ids) == whole_blocks:
                fields["hash_ids"].append(self._new_hash_id())
        return fields, []


def base_of(subagent: dict[str, Any], children: Sequence[Any], base: float, previous: list[_Sent]) -> float:
    """Return what the times of a sub-agent's requests count from: its own start, or that of the session.

    Files have its `t` as the time of its end or of its start; it is its end if the sub-agent, which lasted
    `duration_ms`, then did not start before the request before it.
    """
    times = [in_seconds(child.get("t"), "seconds") for child in children if isinstance(child, dict)]
    first = min([time for time in times if isinstance(time, float)], default=0.0)
    marked = in_seconds(subagent.get("t"), "seconds")
    duration = in_seconds(subagent.get("duration_ms"), "milliseconds")
    start = base + (marked if isinstance(marked, float) else 0.0)
    earliest = previous[-1].start if previous else 0.0
    if isinstance(duration, float) and start - duration >= earliest - _ROUNDING_S:
        start = max(earliest, start - duration)
    return 0.0 if first > 0 and first >= start - _ROUNDING_S else start
