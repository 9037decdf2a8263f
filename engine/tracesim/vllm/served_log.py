"""Step records of what vLLM's own scheduler did: its objects in, lines of tracesim's format out."""

from __future__ import annotations

import atexit
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from tracesim.outputs import CachedTokens, EmittedToken, FinishedRequest, ScheduledTokens, StepRecord
from tracesim.report import step_to_json
from tracesim.vllm.answers import ServedRequest


class Counts(NamedTuple):
    """Requests and blocks after a step."""

    running: int
    waiting: int
    free_blocks: int


class ServedLog:
    """Writes a line for each step in which something was scheduled, numbered from 0.

    A stop string is found by vLLM's front end, which then aborts the request. In its user's own process it
    does so before the next step is planned: that belongs to the step whose token completed the stop string,
    so a step is written when the next is planned, or when the log is closed. In a server the request is
    scheduled once or more in vain, and it ends in the step that is at work when the abort comes.
    """

    def __init__(self, path: str, requests: Mapping[str, ServedRequest], *, prefix_caching: bool) -> None:
        """`requests` are those that are in vLLM, by its ids. Raises OSError when `path` cannot be written."""
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
        """Take down a step: vLLM's `SchedulerOutput`, the `EngineCoreOutput`s, and the ids preempted."""
        self.write()
        if not plan.num_scheduled_tokens:
            return
        entries = list(self._entries(plan))
        by_id = {output.request_id: output for output in outputs}
        in_order = [by_id[request_id] for request_id in plan.num_scheduled_tokens if request_id in by_id]
        before = _num_output_tokens(plan)
        self._order = {entry.id: place for place, (entry, _) in enumerate(entries)}
        for output in in_order:
            self._num_emitted[output.request_id] = before[output.request_id] + len(output.new_token_ids)
        self._record = StepRecord(
            step=self._number,
            prefill=[entry for entry, decodes in entries if not decodes],
            decode=[entry for entry, decodes in entries if decodes],
            emitted=[token for output in in_order for token in self._tokens(output, before)],
            finished=[
                self._ending(output.request_id, str(output.finish_reason), output.stop_reason)
                for output in in_order
                if output.finish_reason is not None
            ],
            preempted=[self._requests[request_id].name for request_id in preempted],
            cached=self._cached(plan) if self._prefix_caching else None,
            **counts._asdict(),
        )
        self._number += 1
        dropped, self._dropped = self._dropped, []
        self.aborted(dropped, counts)

    def aborted(self, request_ids: Iterable[str], counts: Counts) -> None:
        """Take down requests that the front end dropped, after the step noted last or during the next."""
        if self._record is None:
            self._dropped += request_ids
            return
        dropped = [self._ending(each, "abort", None) for each in request_ids if each in self._requests]
        endings = [*self._record.finished, *dropped]
        endings.sort(key=lambda ending: self._order.get(ending.id, len(self._order)))
        self._record = replace(self._record, finished=endings, **counts._asdict())

    def write(self) -> None:
        """Write the step that was noted last: nothing more can happen to it."""
        if self._record is not None:
            self._file.write(step_to_json(self._record))
            self._file.flush()
            self._record = None

    def close(self) -> None:
        """Write what is left and close the file; may be called again."""
        if not self._file.closed:
            self.write()
            self._file.close()

    def _entries(self, plan: Any) -> Iterable[tuple[ScheduledTokens, bool]]:
        """Who was scheduled, in the scheduler's order, and whether it decodes."""
        computed, before = _num_computed_tokens(plan), _num_output_tokens(plan)
        for request_id, tokens in plan.num_scheduled_tokens.items():
            request = self._requests[request_id]
            total = request.num_prompt_tokens + before[request_id]
            decodes = tokens == 1 and before[request_id] > 0 and computed[request_id] + 1 == total
            yield ScheduledTokens(request.name, computed[request_id], tokens), decodes

    def _cached(self, plan: Any) -> list[CachedTokens]:
        """Who was admitted, for the first time or again, with a prefix from the cache."""
        computed = _num_computed_tokens(plan)
        admitted = {
            new.req_id for new in plan.scheduled_new_reqs
        } | plan.scheduled_cached_reqs.resumed_req_ids
        return [
            CachedTokens(self._requests[each].name, computed[each])
            for each in plan.num_scheduled_tokens
            if each in admitted and computed[each]
        ]

    def _tokens(self, output: Any, before: Mapping[str, int]) -> Iterable[EmittedToken]:
        name, _, cursor = self._requests[output.request_id]
        for position, _ in enumerate(output.new_token_ids, before[output.request_id]):
            yield EmittedToken(name, cursor.token_id(position), cursor.piece(position))

    def _ending(self, request_id: str, finish_reason: str, stop_reason: object) -> FinishedRequest:
        """How a request ended: by a stop string, which only the front end knows of, or as vLLM says."""
        name, _, cursor = self._requests[request_id]
        num_emitted = self._num_emitted.pop(request_id, 0)
        if cursor.stop_reason is not None and num_emitted >= cursor.num_tokens:
            return FinishedRequest(name, "stop", cursor.stop_reason)
        return FinishedRequest(name, finish_reason, None if stop_reason is None else str(stop_reason))


def _num_computed_tokens(plan: Any) -> dict[str, int]:
    """Tokens of each scheduled request that were in the KV cache before the step."""
    cached = plan.scheduled_cached_reqs
    new = {request.req_id: request.num_computed_tokens for request in plan.scheduled_new_reqs}
    return new | dict(zip(cached.req_ids, cached.num_computed_tokens, strict=True))


def _num_output_tokens(plan: Any) -> dict[str, int]:
    """Tokens that each scheduled request had emitted before the step."""
    cached = plan.scheduled_cached_reqs
    new = {request.req_id: 0 for request in plan.scheduled_new_reqs}
    return new | dict(zip(cached.req_ids, cached.num_output_tokens, strict=True))
