"""Step records of what vLLM's own scheduler did, written in tracesim's format."""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import orjson

from tracesim.engine.step_json import json_list, step_to_json
from tracesim.engine.step_records import (
    CachedTokens,
    FinishedRequest,
    LaunchedFigures,
    StepRecord,
)
from tracesim.vllm.served_plan import ServedEntry, entries_of
from tracesim.vllm.step_times import StepTimes


class Counts(NamedTuple):
    """Requests and free blocks at some moment."""

    running: int
    waiting: int
    free_blocks: int


class LoggedRequest(Protocol):
    """A request in vLLM: what a step record has of it."""

    @property
    def name(self) -> str:
        """The id of the request in the log."""
        ...

    @property
    def num_prompt_tokens(self) -> int:
        """The number of its prompt tokens."""
        ...

    def emit(self, first: int, output: Any) -> Iterable[tuple[int | None, str | None]]:
        """Return the tokens of an `EngineCoreOutput`, which is output token `first` and those after it.

        Each is its id and its text, None where it is not known.
        """
        ...

    def completed_stop(self, num_tokens: int) -> str | None:
        """Return the stop string that is complete in the first `num_tokens` output tokens, if any."""
        ...


class LineSink(Protocol):
    """Where the lines of a log are written to."""

    def write(self, line: bytes, /) -> object:
        """Take a line."""
        ...

    def close(self) -> object:
        """Take no more lines."""
        ...


class _Draft(NamedTuple):
    """A planned step: the part of its record that is known, its batch, and the names of its requests."""

    record: StepRecord
    entries: Sequence[ServedEntry]
    names: Mapping[str, str]


class StepLogger:
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
        file: LineSink,
        requests: Mapping[str, LoggedRequest],
        *,
        prefix_caching: bool,
        async_scheduling: bool,
        times: StepTimes | None = None,
    ) -> None:
        """Log the requests in `requests`, by vLLM's ids, in JSON; with `times` steps have durations."""
        self._file = file
        self._requests = requests
        self._prefix_caching = prefix_caching
        self._async_scheduling = async_scheduling
        self._times = times
        self.number = 0
        self._drafts: deque[_Draft] = deque()
        self._record: StepRecord | None = None
        self._aborted: list[FinishedRequest] = []
        self._num_emitted: dict[str, int] = {}
        self._order: Sequence[str] = ()
        self._starts: dict[str, str] = {}  # what the entries of each request begin with in JSON

    def added(self, request: Any) -> None:
        """Do nothing: a request appears in the log with its first step."""

    def planned(self, plan: Any, preempted: Sequence[str], counts: Counts, moment: int) -> None:
        """Record what a step computes: vLLM's `SchedulerOutput`, the ids it preempted, and the counts now.

        The plan was begun at `moment`. The step whose output came last is complete, and is written.
        """
        self._write_record()
        if self._times:
            self._times.planned(moment)
        entries = entries_of(plan, self._requests)
        names = {entry.request_id: self._requests[entry.request_id].name for entry in entries}
        cached = None
        if self._prefix_caching:
            # Requests admitted in this step, for the first time or again, with a prefix from the cache.
            resumed = plan.scheduled_cached_reqs.resumed_req_ids
            admitted = {new.req_id for new in plan.scheduled_new_reqs} | resumed
            hits = [each for each in entries if each.request_id in admitted and each.computed]
            cached = [CachedTokens(names[each.request_id], each.computed) for each in hits]
        record = StepRecord(
            step=self.number,
            prefill=self._batch_of(entry for entry in entries if not entry.decodes),
            decode=self._batch_of(entry for entry in entries if entry.decodes),
            emitted=[],
            finished=[],
            preempted=[self._requests[request_id].name for request_id in preempted],
            cached=cached,
            launched=LaunchedFigures(*counts) if self._async_scheduling else None,
            **counts._asdict(),
        )
        self._drafts.append(_Draft(record, entries, names))
        self.number += self._async_scheduling or bool(entries)

    def computed(
        self,
        outputs: Iterable[Any],
        discarded: Sequence[str],
        counts: Counts,
        moment: int | None,
    ) -> None:
        """Record the output of the oldest step that has none yet: vLLM's `EngineCoreOutput`s.

        Requests whose ids are in `discarded` had ended before. The output was there at `moment`, which is
        None if nobody waited for it.
        """
        self._write_record()
        start, duration = None, None
        if self._times and moment is not None:
            start, duration = self._times.computed(moment)
        self._note_idle(counts)
        record, entries, names = self._drafts.popleft()
        if not entries and not record.preempted:
            return
        by_id = {output.request_id: output for output in outputs}
        self._order = list(names.values())
        emitted: list[str] = []
        finished = []
        for entry in entries:
            if (output := by_id.get(entry.request_id)) is None:
                continue
            start_of_item = self._starts[entry.request_id]
            for token_id, text in self._requests[entry.request_id].emit(entry.emitted, output):
                token = "null" if token_id is None else token_id
                emitted.append(f'{start_of_item}"token_id":{token},"text":{_json(text)}}}')
            self._num_emitted[entry.request_id] = entry.emitted + len(output.new_token_ids)
            if output.finish_reason is not None:
                reason = str(output.finish_reason)
                finished.append(self._ending(entry.request_id, reason, output.stop_reason))
        self._record = replace(
            record,
            emitted=json_list(emitted),
            finished=finished,
            discarded=[names[each] for each in discarded] if self._async_scheduling else None,
            start=start,
            duration=duration,
            **counts._asdict(),
        )
        self._add_aborted(counts)

    def aborted(self, request_ids: Iterable[str], counts: Counts) -> None:
        """Record requests that the front end aborted, after the step recorded last or during the next."""
        self._note_idle(counts)
        self._aborted += [self._ending(each, "abort", None) for each in request_ids if each in self._requests]
        if self._record is not None:
            self._add_aborted(counts)

    def close(self, alive: Container[str], counts: Counts) -> None:
        """Write what is left, and close the file.

        A batch that computes nothing for requests that are still `alive` is complete: nobody may wait for
        its output.
        """
        for draft in list(self._drafts):
            if not any(request_id in alive for request_id in draft.names):
                self.computed([], list(draft.names), counts, None)
        self._write_record()
        self._file.close()

    def _batch_of(self, entries: Iterable[ServedEntry]) -> Any:
        """Return entries in JSON, which is several times faster than records of them."""
        starts = self._starts
        items = []
        for entry in entries:
            start = starts.get(entry.request_id)
            if start is None:
                start = f'{{"id":{_json(self._requests[entry.request_id].name)},'
                starts[entry.request_id] = start
            items.append(f'{start}"computed":{entry.computed},"tokens":{entry.tokens}}}')
        return json_list(items)

    def _write_record(self) -> None:
        """Write the step that was recorded last, to which nothing more can happen."""
        if self._record is not None:
            self._file.write(step_to_json(self._record))
            self._record = None

    def _note_idle(self, counts: Counts) -> None:
        if self._times and not (counts.running or counts.waiting):
            self._times.idle()

    def _add_aborted(self, counts: Counts) -> None:
        """Move the aborted requests into the step recorded last."""
        assert self._record is not None
        endings = [*self._record.finished, *self._aborted]
        if len(endings) > 1:
            places = {name: place for place, name in enumerate(self._order)}
            endings.sort(key=lambda ending: places.get(ending.id, len(places)))
        self._record = replace(self._record, finished=endings, **counts._asdict())
        self._aborted = []

    def _ending(self, request_id: str, finish_reason: str, stop_reason: object) -> FinishedRequest:
        """Return how a request ended: by a stop string, which the front end finds, or as vLLM reports."""
        request = self._requests[request_id]
        self._starts.pop(request_id, None)
        completed = request.completed_stop(self._num_emitted.pop(request_id, 0))
        if completed is not None:
            return FinishedRequest(request.name, "stop", completed)
        # A stop token is no stop string: vLLM names it by its id.
        return FinishedRequest(
            request.name, finish_reason, stop_reason if isinstance(stop_reason, str) else None
        )


def _json(text: str | None) -> str:
    return "null" if text is None else orjson.dumps(text).decode()
