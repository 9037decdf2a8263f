"""A run over time: what each step did, and in which phase each request was when."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Literal, NamedTuple

from tracesim.engine.step_records import StepRecord

Unit = Literal["steps", "s"]

UNLIMITED: Final = -1
"""Stands in `StepColumns.free_blocks` for an unlimited KV cache."""


class Phase(IntEnum):
    """What a request waits for or gets.

    QUEUED until its first tokens are computed, PREFILL until its prompt is computed, DECODE while it emits
    tokens, PREEMPTED from the loss of its KV cache until it is computed again, which is PREFILL once more.
    DISCARDED after its end, in steps that compute it in vain.
    """

    QUEUED = 0
    PREFILL = 1
    DECODE = 2
    PREEMPTED = 3
    DISCARDED = 4


class Span(NamedTuple):
    """The time of a request in one phase. `request` is its index in the order of `Timeline.requests`."""

    request: int
    phase: Phase
    start: float
    end: float


class StepColumns:
    """The steps as columns with one entry per step, 80 bytes per step in total, whatever the batch.

    `start` and `duration` are in the timeline's unit; `running`, `waiting` and `free_blocks` hold after the
    step. `discarded_decodes` of the `decode_requests` are computed in vain.
    """

    def __init__(self) -> None:
        self.number = array("q")
        self.start = array("d")
        self.duration = array("d")
        self.prefill_requests = array("q")
        self.prefill_tokens = array("q")
        self.decode_requests = array("q")
        self.discarded_decodes = array("q")
        self.running = array("q")
        self.waiting = array("q")
        self.free_blocks = array("q")

    def __len__(self) -> int:
        return len(self.number)

    def add(self, record: StepRecord, start: float, duration: float) -> None:
        """Append one step."""
        self.number.append(record.step)
        self.start.append(start)
        self.duration.append(duration)
        self.prefill_requests.append(len(record.prefill))
        self.prefill_tokens.append(sum([entry.tokens for entry in record.prefill]))
        self.decode_requests.append(len(record.decode))
        discarded = record.discarded
        self.discarded_decodes.append(
            sum([entry.id in discarded for entry in record.decode]) if discarded else 0
        )
        self.running.append(record.running)
        self.waiting.append(record.waiting)
        self.free_blocks.append(UNLIMITED if record.free_blocks is None else record.free_blocks)


@dataclass(slots=True)
class TimelineRequest:
    """What a timeline knows of one request, beside its spans.

    `prompt_tokens` is 0 until the prompt is computed, `finish_reason` None until the end, `admitted` the time
    at which the request left the queue.
    """

    index: int
    id: str
    arrival: float
    phase: Phase = Phase.QUEUED
    prompt_tokens: int = 0
    output_tokens: int = 0
    preemptions: int = 0
    finish_reason: str | None = None
    admitted: float | None = None
    _since: float = 0.0
    _computed_at: float = 0.0


class Timeline:
    """Collects step records for charts, in memory that grows with steps and spans, not with tokens.

    `unit` is the unit of all times: "s", or "steps" without a clock, where a step is one long and starts at
    its number.
    """

    def __init__(self, unit: Unit = "steps") -> None:
        self.unit: Unit = unit
        self.steps = StepColumns()
        self.requests: dict[str, TimelineRequest] = {}
        self._of = array("q")
        self._phases = array("b")
        self._starts = array("d")
        self._ends = array("d")

    @property
    def start(self) -> float:
        """When the first step began or the first request arrived; 0 if there is neither."""
        first_arrival = min((request.arrival for request in self.requests.values()), default=None)
        if not len(self.steps):
            return first_arrival or 0.0
        first_step = self.steps.start[0]
        return first_step if first_arrival is None else min(first_step, first_arrival)

    @property
    def end(self) -> float:
        """When the last step ended."""
        return self.steps.start[-1] + self.steps.duration[-1] if len(self.steps) else self.start

    def arrived(self, request_id: str, time: float) -> None:
        """Set the arrival of a request; without it, a request arrives with the first step that names it."""
        self._request(request_id, time).arrival = time

    def add(self, record: StepRecord, start: float, duration: float) -> None:
        """Add the next step; all steps must be added in order, from the first one on."""
        end, requests = start + duration, self.requests
        self.steps.add(record, start, duration)
        for request_id in record.preempted:
            request = self._request(request_id, start)
            request.preemptions += 1
            if request.finish_reason is None:
                self._enter(request, Phase.PREEMPTED, start)
        discarded = record.discarded or ()
        self._discard(discarded, start, end)
        for entry in [entry for entry in record.prefill if entry.id not in discarded]:
            request = self._request(entry.id, start)
            if request.phase is not Phase.PREFILL:
                self._enter(request, Phase.PREFILL, start)
            if not request.output_tokens:
                request.prompt_tokens = entry.computed + entry.tokens
            request._computed_at = end
        for token in record.emitted:
            request = requests[token.id]
            request.output_tokens += 1
            if request.phase is Phase.PREFILL:
                self._enter(request, Phase.DECODE, request._computed_at)
        for finished in record.finished:
            request = self._request(finished.id, start)
            is_rejected = finished.id in record.rejected
            request.finish_reason = "rejected" if is_rejected else finished.finish_reason
            self._enter(request, request.phase, end)

    def _discard(self, discarded: Sequence[str], start: float, end: float) -> None:
        """Add the spans of requests that a step computes in vain."""
        for request_id in discarded:
            request = self._request(request_id, start)
            request.phase, request._since = Phase.DISCARDED, start
            self._enter(request, Phase.DISCARDED, end)

    @property
    def phases(self) -> list[Phase]:
        """The phases of a request; DISCARDED only if there is any."""
        return [phase for phase in Phase if phase is not Phase.DISCARDED or phase in self._phases]

    def spans(self) -> Iterator[Span]:
        """Yield the time of every request in every phase, those of one request in order.

        A phase that has not ended by the last step ends with it; phases of no duration are omitted.
        """
        last_end = self.end
        for request in self.requests.values():
            end = last_end if request.admitted is None else request.admitted
            if request.arrival < end:
                yield Span(request.index, Phase.QUEUED, request.arrival, end)
        for of, phase, start, end in zip(self._of, self._phases, self._starts, self._ends, strict=True):
            yield Span(of, Phase(phase), start, end)
        for request in self.requests.values():
            if request.finish_reason is None and request.admitted is not None and request._since < last_end:
                yield Span(request.index, request.phase, request._since, last_end)

    def spans_by_request(self) -> list[list[Span]]:
        """Return the spans of each request, in the order of `requests`."""
        spans: list[list[Span]] = [[] for _ in self.requests]
        for span in self.spans():
            spans[span.request].append(span)
        return spans

    def _request(self, request_id: str, now: float) -> TimelineRequest:
        request = self.requests.get(request_id)
        if request is None:
            request = self.requests[request_id] = TimelineRequest(len(self.requests), request_id, now)
        return request

    def _enter(self, request: TimelineRequest, phase: Phase, now: float) -> None:
        if request.admitted is None:
            request.admitted = now
        elif now > request._since:
            self._of.append(request.index)
            self._phases.append(request.phase)
            self._starts.append(request._since)
            self._ends.append(now)
        request.phase, request._since = phase, now
