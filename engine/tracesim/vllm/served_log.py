"""Step records of what vLLM's own scheduler did, written in tracesim's format."""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from tracesim.engine.step_json import step_to_json
from tracesim.engine.step_records import (
    CachedTokens,
    EmittedToken,
    FinishedRequest,
    LaunchedFigures,
    ScheduledTokens,
    StepRecord,
)
from tracesim.vllm.answers import ServedRequest
from tracesim.vllm.served_plan import ServedEntry, entries_of


class Counts(NamedTuple):
    """Requests and free blocks at some moment."""

    running: int
    waiting: int
    free_blocks: int


class _Draft(NamedTuple):
    """A planned step: the part of its record that is known, its batch, and the names of its requests."""

    record: StepRecord
    entries: Sequence[ServedEntry]
    names: Mapping[str, str]


class ServedLog:
    """Writes a line for each step in which something was scheduled or preempted, numbered from 0.

    With asynchronous scheduling a step is planned before the output of the one before is taken in, and a
    step in which nothing happens uses up its number, as in a replay.

    vLLM's front end finds stop strings, and then aborts the request. If engine and front end share a
    process, it does so before the next step is planned, and the abort belongs to the step whose token
    completed the stop string; so a step is written when the next is planned, or when the log is closed. In a
    server the request is scheduled once or more in vain, and ends in the step that runs when the abort
    comes.
    """

    def __init__(
        self,
        path: str,
        requests: Mapping[str, ServedRequest],
        *,
        prefix_caching: bool,
        async_scheduling: bool,
    ) -> None:
        """Log the requests in `requests`, by vLLM's ids. Raises OSError if `path` cannot be written."""
        self._file = Path(path).open("wb")  # noqa: SIM115 - open as long as the engine lives
        self._requests = requests
        self._prefix_caching = prefix_caching
        self._async_scheduling = async_scheduling
        self._number = 0
        self._drafts: deque[_Draft] = deque()
        self._record: StepRecord | None = None
        self._aborted: list[FinishedRequest] = []
        self._num_emitted: dict[str, int] = {}
        self._order: dict[str, int] = {}

    def planned(self, plan: Any, preempted: Sequence[str], counts: Counts) -> None:
        """Record what a step computes: vLLM's `SchedulerOutput`, the ids it preempted, and the counts now."""
        entries = entries_of(plan, self._requests)
        names = {entry.request_id: self._requests[entry.request_id].name for entry in entries}
        cached = None
        if self._prefix_caching:
            # Requests admitted in this step, for the first time or again, with a prefix from the cache.
            resumed = plan.scheduled_cached_reqs.resumed_req_ids
            admitted = {new.req_id for new in plan.scheduled_new_reqs} | resumed
            hits = [each for each in entries if each.request_id in admitted and each.computed]
            cached = [CachedTokens(names[each.request_id], each.computed) for each in hits]
        batch = [
            (entry.decodes, ScheduledTokens(names[entry.request_id], entry.computed, entry.tokens))
            for entry in entries
        ]
        record = StepRecord(
            step=self._number,
            prefill=[tokens for decodes, tokens in batch if not decodes],
            decode=[tokens for decodes, tokens in batch if decodes],
            emitted=[],
            finished=[],
            preempted=[self._requests[request_id].name for request_id in preempted],
            cached=cached,
            launched=LaunchedFigures(*counts) if self._async_scheduling else None,
            **counts._asdict(),
        )
        self._drafts.append(_Draft(record, entries, names))
        self._number += self._async_scheduling or bool(entries)

    def computed(self, outputs: Iterable[Any], discarded: Sequence[str], counts: Counts) -> None:
        """Record the output of the oldest step that has none yet: vLLM's `EngineCoreOutput`s.

        Requests whose ids are in `discarded` had ended before.
        """
        self.write()
        record, entries, names = self._drafts.popleft()
        if not entries and not record.preempted:
            return
        by_id = {output.request_id: output for output in outputs}
        self._order = {name: place for place, name in enumerate(names.values())}
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
        self._record = replace(
            record,
            emitted=emitted,
            finished=finished,
            discarded=[names[each] for each in discarded] if self._async_scheduling else None,
            **counts._asdict(),
        )
        self._add_aborted(counts)

    def aborted(self, request_ids: Iterable[str], counts: Counts) -> None:
        """Record requests that the front end aborted, after the step recorded last or during the next."""
        self._aborted += [self._ending(each, "abort", None) for each in request_ids if each in self._requests]
        if self._record is not None:
            self._add_aborted(counts)

    def write(self) -> None:
        """Write the step that was recorded last, to which nothing more can happen."""
        if self._record is not None:
            self._file.write(step_to_json(self._record))
            self._file.flush()
            self._record = None

    def close(self, alive: Container[str], counts: Counts) -> None:
        """Write what is left and close the file; it may be called again.

        A batch that computes nothing for requests that are still `alive` is complete: nobody may wait for
        its output.
        """
        if self._file.closed:
            return
        for draft in list(self._drafts):
            if not any(request_id in alive for request_id in draft.names):
                self.computed([], list(draft.names), counts)
        self.write()
        self._file.close()

    def _add_aborted(self, counts: Counts) -> None:
        """Move the aborted requests into the step recorded last."""
        assert self._record is not None
        endings = [*self._record.finished, *self._aborted]
        endings.sort(key=lambda ending: self._order.get(ending.id, len(self._order)))
        self._record = replace(self._record, finished=endings, **counts._asdict())
        self._aborted = []

    def _ending(self, request_id: str, finish_reason: str, stop_reason: object) -> FinishedRequest:
        """Return how a request ended: by a stop string, which the front end finds, or as vLLM reports."""
        name, _, response = self._requests[request_id]
        num_emitted = self._num_emitted.pop(request_id, 0)
        if response.stop_reason is not None and num_emitted >= response.num_tokens:
            return FinishedRequest(name, "stop", response.stop_reason)
        return FinishedRequest(name, finish_reason, None if stop_reason is None else str(stop_reason))
