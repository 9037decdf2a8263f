"""Step records: everything that one step of the engine did, as objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tracesim.engine.progress import RequestProgress
from tracesim.requests.request import RequestState
from tracesim.scheduler import BatchEntry, Scheduler, StepPlan
from tracesim.timing.clock import PER_SECOND


@dataclass(frozen=True, slots=True)
class ScheduledTokens:
    """`tokens` tokens of request `id` were in the batch, after `computed` that were in the KV cache."""

    id: str
    computed: int
    tokens: int


@dataclass(frozen=True, slots=True)
class CachedTokens:
    """Request `id` was admitted with `tokens` tokens that were in the prefix cache."""

    id: str
    tokens: int


@dataclass(frozen=True, slots=True)
class EmittedToken:
    """Request `id` emitted a token, which added `text` to its output.

    `token_id` is None where only lengths are known, and for an end-of-sequence token; `text` is None where
    only ids or lengths are known.
    """

    id: str
    token_id: int | None
    text: str | None


@dataclass(frozen=True, slots=True)
class FinishedRequest:
    """Request `id` finished: "stop" or "length"; `stop_reason` is the stop string that ended it, if any."""

    id: str
    finish_reason: str
    stop_reason: str | None


@dataclass(frozen=True, slots=True)
class StepRecord:
    """Everything that one engine step did; lists are in the scheduler's order.

    `running`, `waiting` (both count requests) and `free_blocks` (None if unlimited) are taken after the step.
    `cached` is None without prefix caching, `start` and `duration`, in seconds, without a clock. `rejected`
    has the ids of the `finished` requests that could never run, for which vLLM gives the reason "length".
    Its JSON is a public format, documented as `tracesim.step/1`.
    """

    step: int
    prefill: Sequence[ScheduledTokens]
    decode: Sequence[ScheduledTokens]
    emitted: Sequence[EmittedToken]
    finished: Sequence[FinishedRequest]
    preempted: Sequence[str]
    running: int
    waiting: int
    free_blocks: int | None
    cached: Sequence[CachedTokens] | None = None
    rejected: Sequence[str] = ()
    start: float | None = None
    duration: float | None = None


class StepObserver(Protocol):
    """Follows an engine step by step, from both sides of `Scheduler.update`."""

    def on_plan(self, plan: StepPlan) -> None:
        """Note what the step computes and emits, before the scheduler updates its counters."""
        ...

    def on_update(
        self, number: int, plan: StepPlan, finished: Sequence[RequestState], time: tuple[int, int] | None
    ) -> None:
        """Note the rest of step `number`; `time` is its start and duration in picoseconds, with a clock."""
        ...


class StepRecorder:
    """Calls `on_step` with the record of each step. `requests` are those of the engine, by id."""

    def __init__(
        self,
        on_step: Callable[[StepRecord], object],
        scheduler: Scheduler,
        requests: Mapping[str, RequestProgress],
        *,
        prefix_caching: bool,
    ) -> None:
        self._on_step = on_step
        self._scheduler = scheduler
        self._requests = requests
        self._prefix_caching = prefix_caching
        self._prefill: list[ScheduledTokens] = []
        self._decode: list[ScheduledTokens] = []
        self._emitted: list[EmittedToken] = []

    def on_plan(self, plan: StepPlan) -> None:
        """Note what the step computes and emits, before the scheduler updates its counters."""
        self._prefill = _scheduled(plan.prefill)
        self._decode = _scheduled(self._scheduler.decode_batch(plan))
        self._emitted = []
        for state in plan.emitting(self._scheduler.decoding_requests(plan)):
            response, position = self._requests[state.id].response, state.num_output_tokens
            self._emitted.append(
                EmittedToken(state.id, response.token_id(position), response.piece(position))
            )

    def on_update(
        self, number: int, plan: StepPlan, finished: Sequence[RequestState], time: tuple[int, int] | None
    ) -> None:
        """Note the rest of step `number`, and call `on_step` with its record."""
        ends = [self._requests[state.id] for state in finished]
        cached = [CachedTokens(state.id, tokens) for state, tokens in plan.cached]
        record = StepRecord(
            step=number,
            prefill=self._prefill,
            decode=self._decode,
            emitted=self._emitted,
            finished=[FinishedRequest(e.request.id, e.vllm_finish_reason or "", e.stop_reason) for e in ends],
            preempted=[state.id for state in plan.preempted],
            running=len(self._scheduler.running),
            waiting=self._scheduler.num_waiting,
            free_blocks=self._scheduler.num_free_blocks,
            cached=cached if self._prefix_caching else None,
            rejected=[each.request.id for each in ends if each.is_rejected],
            start=None if time is None else time[0] / PER_SECOND,
            duration=None if time is None else time[1] / PER_SECOND,
        )
        self._on_step(record)


def _scheduled(batch: Sequence[BatchEntry]) -> list[ScheduledTokens]:
    return [ScheduledTokens(entry.state.id, entry.computed, entry.tokens) for entry in batch]
