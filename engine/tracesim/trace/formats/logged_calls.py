"""Calls of models in the logs of services: when each began and ended, and what it read and wrote."""

from __future__ import annotations

import heapq
import math
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, ClassVar

from tracesim.errors import TraceProblem
from tracesim.trace.formats.interface import Entry, FilesOfOneClock
from tracesim.trace.formats.json_objects import json_objects
from tracesim.trace.formats.openai_api import (
    Answer,
    Usage,
    hidden_prompt_tokens,
    hidden_tokens,
    hidden_tokens_message,
)
from tracesim.trace.input_file import InputFile
from tracesim.trace.problems import Finding
from tracesim.trace.schema import Fields


class LoggedCalls(FilesOfOneClock, ABC):
    """The part of a format that is a log of calls; `finish` yields them in the order in which they began.

    A format keeps in `keep_calls` what is in one JSON object.
    A call of a session is sent after the latest call of the session that had ended before; `delay` is the
    time between. A call that began while the first one of its session ran is not a part of the session.
    """

    ticks_per_second: ClassVar = 10**9

    def __init__(self) -> None:
        super().__init__()
        self._sessions: defaultdict[str, list[tuple[int, int, Fields]]] = defaultdict(list)

    @abstractmethod
    def keep_calls(self, file: str, line: int, fields: dict[str, Any]) -> None:
        """Keep an entry for each call in an object, by `keep_call`, or by `keep` if it is not replayed."""

    def read(self, file: InputFile) -> Iterator[Entry | TraceProblem]:
        """Keep an entry for each call; yield what is wrong with the file itself."""
        for item in json_objects(file):
            if isinstance(item, TraceProblem):
                yield item
            elif item.findings or item.fields is None:
                self.keep(Entry(file.name, item.line, None, item.findings), None)
            else:
                self.keep_calls(file.name, item.line, item.fields)

    def keep_call(self, entry: Entry, session: Any, start: int | None, end: int | None) -> None:
        """Keep a call with the name of its session and its times in nanoseconds."""
        self.keep(entry, start)
        fields = entry.fields or {}
        if isinstance(session, str) and session and start is not None and "id" in fields:
            self._sessions[session].append((start, start if end is None else end, fields))

    def finish(self) -> Iterator[Entry]:
        """Yield all calls, each with its arrival in seconds after the earliest."""
        for session_id, calls in self._sessions.items():
            if len(calls) > 1:
                _follow(session_id, sorted(calls, key=lambda call: call[0]))
        self._kept.sort(key=lambda kept: math.inf if kept[1] is None else kept[1])
        return super().finish()


def _follow(session_id: str, calls: list[tuple[int, int, Fields]]) -> None:
    """Give the calls of a session, which are in the order of their starts, what they wait for."""
    running: list[tuple[int, str]] = []
    last_ended: tuple[int, str] | None = None
    for at, (start, end, fields) in enumerate(calls):
        while running and running[0][0] <= start:
            last_ended = heapq.heappop(running)
        heapq.heappush(running, (end, fields["id"]))
        if last_ended:
            fields["after"], fields["delay"] = last_ended[1], (start - last_ended[0]) / 1e9
        if last_ended or at == 0:
            fields["session_id"] = session_id


def text_or_lengths(prompt: Fields, answer: Answer, usage: Usage) -> tuple[Fields, list[Finding]]:
    """Return a call's texts, or its numbers of tokens where not all text is recorded, and what is wrong."""
    lengths = usage.lengths
    if not prompt or answer.text is None:
        message = "is missing, and so is text; a call has its messages or its numbers of tokens"
        return lengths, [] if lengths else [Finding("missing-field", "input_length", message)]
    field, hidden = "output_length", hidden_tokens(usage, answer)
    if not hidden:
        field, hidden = "input_length", hidden_prompt_tokens(usage, prompt)
    if not hidden:
        return {**prompt, "response": answer.text}, answer.findings
    fields = lengths or {**prompt, "response": answer.text}
    return fields, [Finding("hidden-tokens", field, hidden_tokens_message(hidden, lengths))]
