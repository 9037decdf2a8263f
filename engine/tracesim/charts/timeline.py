"""A run over time: what each stride did, and in which phase each request was when."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, Literal, NamedTuple

from tracesim.engine.stride_records import StrideRecord

Unit = Literal["steps", "s"]

UNLIMITED: Final = -1
"""Stands in `StrideColumns.free_blocks` for an unlimited KV cache."""

_ROUNDING: Final = 1e-9


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


class Chunks(NamedTuple):
    """`number` consecutive chunks of a prompt, of which each has `tokens` tokens."""

    number: int
    tokens: int


class Preemption(NamedTuple):
    """The loss of a KV cache, because the request `needed_by`, maybe the same one, needed the blocks."""

    time: float
    needed_by: str


class StrideColumns:
    """The strides as columns with one entry per stride, 88 bytes per stride in total.

    A stride is a number of consecutive steps with the same batch. `number` is that of its first step. `start`
    and `end` are in the timeline's unit. `prefill_requests`, `prefill_tokens`, `decode_requests` and
    `discarded_decodes`, which are computed in vain, are those of each step. `running` counts the requests
    that are admitted, and neither preempted nor finished, and those that are computed in vain; `waiting`
    counts those in the queue. `free_blocks` is taken after the last step.
    """

    def __init__(self) -> None:
        self.number = array("q")
        self.steps = array("q")
        self.start = array("d")
        self.end = array("d")
        self.prefill_requests = array("q")
        self.prefill_tokens = array("q")
        self.decode_requests = array("q")
        self.discarded_decodes = array("q")
        self.running = array("q")
        self.waiting = array("q")
        self.free_blocks = array("q")

    def __len__(self) -> int:
        return len(self.number)


@dataclass(slots=True)
class TimelineRequest:
    """What a timeline knows of one request; `spans` has its phases after the queue, as far as they ended.

    Times are in the timeline's unit, and None until they are known; so is `admitted`, when the request left
    the queue. `chunks` has the chunks of its prompt, those after a preemption included. What strides do not
    have (tokens, `first_token`, the reasons of the end) is set by whoever makes the timeline.
    """

    index: int
    id: str
    arrival: float
    phase: Phase = Phase.QUEUED
    spans: list[Span] = field(default_factory=list)
    chunks: list[Chunks] = field(default_factory=list)
    preemptions: list[Preemption] = field(default_factory=list)
    admitted: float | None = None
    ended: bool = False
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    first_token: float | None = None
    finish_reason: str | None = None
    stop_reason: str | None = None
    _since: float = 0.0
    _computed_at: float = 0.0

    def enter(self, phase: Phase, now: float) -> None:
        """End the phase so far; phases of no duration are omitted."""
        if self.admitted is None:
            self.admitted = now
        elif is_later(now, self._since):
            self.spans.append(Span(self.index, self.phase, self._since, now))
        self.phase, self._since = phase, now

    def compute_chunks(self, chunks: Chunks, start: float, end: float) -> None:
        """Compute chunks of the prompt from `start` to `end`."""
        if self.phase is not Phase.PREFILL:
            self.enter(Phase.PREFILL, start)
        elif self.chunks and self.chunks[-1].tokens == chunks.tokens:
            chunks = Chunks(self.chunks.pop().number + chunks.number, chunks.tokens)
        self.chunks.append(chunks)
        self._computed_at = end

    def start_decoding(self, now: float) -> None:
        """Decode from the end of the prefill on; where nothing had to be computed again, from now on."""
        self.enter(Phase.DECODE, self._computed_at if self.phase is Phase.PREFILL else now)

    def discard(self, start: float, end: float) -> None:
        """Compute the request, which has ended, in vain."""
        if self.spans and self.spans[-1].phase is Phase.DISCARDED and not is_later(start, self.spans[-1].end):
            start = self.spans.pop().start
        self.spans.append(Span(self.index, Phase.DISCARDED, start, end))

    def all_spans(self, now: float) -> list[Span]:
        """Return the spans in order, from the arrival on; a phase that has not ended ends `now`."""
        admitted = now if self.admitted is None else self.admitted
        spans = [Span(self.index, Phase.QUEUED, self.arrival, admitted)] if self.arrival < admitted else []
        spans += self.spans
        if self.admitted is not None and not self.ended and is_later(now, self._since):
            spans.append(Span(self.index, self.phase, self._since, now))
        return spans


class Timeline:
    """Collects stride records for charts, in memory that grows with strides and phases, not with steps.

    Stride records of consecutive steps with the same batch become one stride, so that a run that makes a
    record for each step has the same timeline as one that strides.

    `unit` is the unit of all times: "s", or "steps" without a clock, where a step is one long and starts at
    its number. `causes` has when what kept requests waiting changed, and the cause from then on, None while
    nobody waited; `WaitingIntervals` has the same. Whoever makes the timeline sets it.
    """

    def __init__(self, unit: Unit = "steps") -> None:
        self.unit: Unit = unit
        self.strides = StrideColumns()
        self.requests: dict[str, TimelineRequest] = {}
        self.causes: Sequence[tuple[float, str | None]] = ()
        self._num_running = 0
        self._prefill: tuple[tuple[str, int], ...] = ()
        self._is_open = False

    @property
    def start(self) -> float:
        """When the first step began or the first request arrived; 0 if there is neither."""
        first_arrival = min((request.arrival for request in self.requests.values()), default=None)
        if not len(self.strides):
            return first_arrival or 0.0
        first_step = self.strides.start[0]
        return first_step if first_arrival is None else min(first_step, first_arrival)

    @property
    def end(self) -> float:
        """When the last step ended."""
        return self.strides.end[-1] if len(self.strides) else self.start

    @property
    def num_steps(self) -> int:
        """The number of steps of all strides."""
        return sum(self.strides.steps)

    @property
    def has_discarded(self) -> bool:
        """Whether anything was computed in vain."""
        return any(self.strides.discarded_decodes) or any(
            span.phase is Phase.DISCARDED for request in self.requests.values() for span in request.spans
        )

    @property
    def phases(self) -> list[Phase]:
        """The phases of a request; DISCARDED only if there is any."""
        return [phase for phase in Phase if phase is not Phase.DISCARDED or self.has_discarded]

    def request(self, request_id: str, arrival: float) -> TimelineRequest:
        """Return a request; one that is not known yet arrives at `arrival`."""
        request = self.requests.get(request_id)
        if request is None:
            request = self.requests[request_id] = TimelineRequest(len(self.requests), request_id, arrival)
        return request

    def add(self, record: StrideRecord, start: float, end: float) -> None:
        """Add the next stride; all must be added in order, from the first step on."""
        discarded = record.discarded
        for request_id, needed_by in zip(record.preempted, record.preempted_for, strict=True):
            request = self.request(request_id, start)
            request.preemptions.append(Preemption(start, needed_by))
            if not request.ended:
                self._num_running -= _is_running(request)
                request.enter(Phase.PREEMPTED, start)
        for request_id in discarded:
            self.request(request_id, start).discard(start, end)
        for entry in record.prefill:
            if entry.id not in discarded:
                request = self.request(entry.id, start)
                self._num_running += not _is_running(request)
                request.compute_chunks(Chunks(record.steps, entry.tokens), start, end)
        for request_id in record.started:
            request = self.request(request_id, start)
            if request.phase is not Phase.DECODE:
                self._num_running += not _is_running(request)
                request.start_decoding(start)
        self._add_columns(record, start, end)
        for finished in record.finished:
            request = self.request(finished.id, start)
            self._num_running -= _is_running(request)
            request.enter(request.phase, end)
            request.ended = True

    def _add_columns(self, record: StrideRecord, start: float, end: float) -> None:
        """Add a stride to the columns, or its steps to the last stride, if that has the same batch."""
        strides = self.strides
        prefill = tuple([(entry.id, entry.tokens) for entry in record.prefill])
        has_changes = bool(record.started or record.preempted or record.cached or record.discarded)
        is_same = (
            self._is_open
            and not has_changes
            and prefill == self._prefill
            and record.num_decodes == strides.decode_requests[-1]
            and record.waiting == strides.waiting[-1]
            and record.step == strides.number[-1] + strides.steps[-1]
            and not is_later(start, strides.end[-1])
        )
        self._prefill, self._is_open = prefill, not (record.finished or record.discarded)
        free_blocks = UNLIMITED if record.free_blocks is None else record.free_blocks
        if is_same:
            strides.steps[-1] += record.steps
            strides.end[-1] = end
            strides.free_blocks[-1] = free_blocks
            return
        strides.number.append(record.step)
        strides.steps.append(record.steps)
        strides.start.append(start)
        strides.end.append(end)
        strides.prefill_requests.append(len(prefill))
        strides.prefill_tokens.append(sum([tokens for _, tokens in prefill]))
        strides.decode_requests.append(record.num_decodes)
        strides.discarded_decodes.append(self._num_discarded_decodes(record))
        strides.running.append(self._num_running + len(record.discarded))
        strides.waiting.append(record.waiting)
        strides.free_blocks.append(free_blocks)

    def _num_discarded_decodes(self, record: StrideRecord) -> int:
        """Return how many of the decodes of a stride are computed in vain."""
        if not record.discarded:
            return 0
        in_prefill = {entry.id for entry in record.prefill}
        return sum([request_id not in in_prefill for request_id in record.discarded])

    def spans_by_request(self) -> list[list[Span]]:
        """Return the spans of each request, in the order of `requests`."""
        end = self.end
        return [request.all_spans(end) for request in self.requests.values()]


def is_later(time: float, before: float) -> bool:
    """Whether `time` is after `before` by more than a rounding error, which is no time."""
    return time - before > _ROUNDING * max(1.0, abs(time))


def _is_running(request: TimelineRequest) -> bool:
    """Whether a request is admitted and neither preempted nor finished."""
    return not request.ended and request.phase in (Phase.PREFILL, Phase.DECODE)
