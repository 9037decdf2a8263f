"""Step records of what vLLM's own scheduler did, written in tracesim's format."""

from __future__ import annotations

import atexit
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from tracesim.engine.step_json import step_to_json
from tracesim.engine.step_records import (
    CachedTokens,
    EmittedToken,
    FinishedRequest,
    ScheduledTokens,
    StepRecord,
)
from tracesim.vllm.answers import ServedRequest
from tracesim.vllm.served_plan import ServedEntry, entries_of


class Counts(NamedTuple):
    """Requests and blocks after a step."""

    running: int
    waiting: int
    free_blocks: int


class ServedLog:
    """Writes a line for each step in which something was scheduled, numbered from 0.

    vLLM's front end finds stop strings, and then aborts the request. If engine and front end share a
    process, it does so before the next step is planned, and the abort belongs to the step whose token
    completed the stop string; so a step is written when the next is planned, or when the log is closed. In a
    server the request is scheduled once or more in vain, and ends in the step that runs when the abort
    comes.
    """

    def __init__(self, path: str, requests: Mapping[str, ServedRequest], *, prefix_caching: bool) -> None:
        """Log the requests in `requests`, by vLLM's ids. Raises OSError if `path` cannot be written."""
        self._file = Path(path).open("wb")  # noqa: SIM115 - open as long as the engine lives
        self._requests = requests
        self._prefix_caching = prefix_caching
        self._number = 0
        self._record: StepRecord | None = None
        self._dropped: list[str] = []
        self._num_emitted: dict[str, int] = {}
        self._order: dict[str, int] = {}
        atexit.register(self.close)  # an engine in its user's own process is rarely shut down

    def note(self, plan: Any, outputs: Iterable[Any], preempted: Sequence[str], counts: Counts) -> None:
        """Record a step: vLLM's `SchedulerOutput`, its `EngineCoreOutput`s, and the preempted ids."""
        self.write()
        if not plan.num_scheduled_tokens:
            return
        entries = entries_of(plan, self._requests)
        by_id = {output.request_id: output for output in outputs}
        self._order = {self._name(entry.request_id): place for place, entry in enumerate(entries)}
        emitted, finished = [], []
        for entry in entries:
            if (output := by_id.get(entry.request_id)) is None:
                continue
            name, _, response = self._requests[entry.request_id]
            end = self._num_emitted[entry.request_id] = entry.emitted + len(output.new_token_ids)
            emitted += [
                EmittedToken(name, response.token_id(position), response.piece(position))
                for position in range(entry.emitted, end)
            ]
            if output.finish_reason is not None:
                reason = str(output.finish_reason)
                finished.append(self._ending(entry.request_id, reason, output.stop_reason))
        cached = None
        if self._prefix_caching:
            # Requests admitted in this step, for the first time or again, with a prefix from the cache.
            resumed = plan.scheduled_cached_reqs.resumed_req_ids
            admitted = {new.req_id for new in plan.scheduled_new_reqs} | resumed
            hits = [each for each in entries if each.request_id in admitted and each.computed]
            cached = [CachedTokens(self._name(each.request_id), each.computed) for each in hits]
        self._record = StepRecord(
            step=self._number,
            prefill=[self._scheduled(entry) for entry in entries if not entry.decodes],
            decode=[self._scheduled(entry) for entry in entries if entry.decodes],
            emitted=emitted,
            finished=finished,
            preempted=[self._name(request_id) for request_id in preempted],
            cached=cached,
            **counts._asdict(),
        )
        self._number += 1
        dropped, self._dropped = self._dropped, []
        self.aborted(dropped, counts)

    def aborted(self, request_ids: Iterable[str], counts: Counts) -> None:
        """Record requests that the front end aborted, after the step recorded last or during the next."""
        if self._record is None:
            self._dropped += request_ids
            return
        dropped = [self._ending(each, "abort", None) for each in request_ids if each in self._requests]
        endings = [*self._record.finished, *dropped]
        endings.sort(key=lambda ending: self._order.get(ending.id, len(self._order)))
        self._record = replace(self._record, finished=endings, **counts._asdict())

    def write(self) -> None:
        """Write the step that was recorded last, to which nothing more can happen."""
        if self._record is not None:
            self._file.write(step_to_json(self._record))
            self._file.flush()
            self._record = None

    def close(self) -> None:
        """Write what is left and close the file; it may be called again."""
        if not self._file.closed:
            self.write()
            self._file.close()

    def _name(self, request_id: str) -> str:
        return self._requests[request_id].name

    def _scheduled(self, entry: ServedEntry) -> ScheduledTokens:
        return ScheduledTokens(self._name(entry.request_id), entry.computed, entry.tokens)

    def _ending(self, request_id: str, finish_reason: str, stop_reason: object) -> FinishedRequest:
        """Return how a request ended: by a stop string, which the front end finds, or as vLLM reports."""
        name, _, response = self._requests[request_id]
        num_emitted = self._num_emitted.pop(request_id, 0)
        if response.stop_reason is not None and num_emitted >= response.num_tokens:
            return FinishedRequest(name, "stop", response.stop_reason)
        return FinishedRequest(name, finish_reason, None if stop_reason is None else str(stop_reason))
