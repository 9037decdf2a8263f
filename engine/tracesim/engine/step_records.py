"""Step records: everything that one step of the engine did, as objects."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tracesim.engine.progress import RequestProgress
from tracesim.requests.request import RequestState
from tracesim.scheduler import BatchEntry, Cause, Scheduler, StepPlan
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
class LaunchedFigures:
    """Requests and free blocks (None if unlimited) right after a step was planned."""

    running: int
    waiting: int
    free_blocks: int | None


@dataclass(frozen=True, slots=True)
class WaitingFor:
    """Why the first request of the waiting queue, `id`, was not admitted, and with it none of the others.

    `needs` and `free` count KV blocks or tokens of the budget, as `Scheduler.shortage` does. They are None
    for causes that are not a matter of numbers.
    """

    id: str
    cause: Cause
    needs: int | None
    free: int | None


@dataclass(frozen=True, slots=True)
class StepRecord:
    """Everything that one engine step did; lists are in the scheduler's order.

    `running`, `waiting` (both count requests) and `free_blocks` (None if unlimited) are taken after the step.
    `cached` is None without prefix caching, `start` and `duration`, in seconds, without a clock. `rejected`
    has the ids of the `finished` requests that could never run, for which vLLM gives the reason "length".
    `discarded` has the ids of requests that were computed in vain, as the scheduler did not know of their end
    yet; it is None without asynchronous scheduling and `stop_delay`. With asynchronous scheduling `launched`
    has the figures right after the step was planned, and the figures after the step are those right after its
    output was taken in, when the next step is planned already.

    `preempted_for` has, for each of `preempted`, the id of the request that needed its blocks, which may be
    itself. `waiting_for` is why the step left requests waiting when it was planned, None if it left none. The
    log of a real vLLM has no causes, and there `preempted_for` is None, too. `replica` is the number of the
    engine that made the step, from 0; None where there is only one.

    The JSON of a record is a public format, documented as `tracesim.step/1`.
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
    discarded: Sequence[str] | None = None
    launched: LaunchedFigures | None = None
    preempted_for: Sequence[str] | None = None
    waiting_for: WaitingFor | None = None
    start: float | None = None
    duration: float | None = None
    replica: int | None = None


class StepObserver(Protocol):
    """Follows an engine step by step, from both sides of `Scheduler.update`."""

    def on_plan(self, number: int, plan: StepPlan) -> None:
        """Note what step `number` computes and emits, before the scheduler updates its counters."""
        ...

    def on_update(
        self, plan: StepPlan, finished: Sequence[RequestState], time: tuple[int, int] | None
    ) -> None:
        """Note the step's `time`, its start and duration in femtoseconds, and who `finished` in an output."""
        ...


@dataclass(slots=True)
class _Draft:
    """A step whose output was not taken in yet: its plan, and what had to be noted before the update."""

    number: int
    plan: StepPlan
    prefill: Any
    decode: Any
    emitted: Any
    launched: LaunchedFigures | None
    waiting_for: WaitingFor | None
    time: tuple[int, int] | None = None


class StepRecorder:
    """Calls `on_step` with the record of each step. `requests` are those of the engine, by id."""

    def __init__(
        self,
        on_step: Callable[[StepRecord], object],
        scheduler: Scheduler,
        requests: Mapping[str, RequestProgress],
        *,
        prefix_caching: bool,
        replica: int | None = None,
    ) -> None:
        self._replica = replica
        self._on_step = on_step
        self._scheduler = scheduler
        self._requests = requests
        self._prefix_caching = prefix_caching
        self._drafts: deque[_Draft] = deque()

    def on_plan(self, number: int, plan: StepPlan) -> None:
        """Note what step `number` computes and emits, before the scheduler updates its counters."""
        if not plan:
            return
        scheduler = self._scheduler
        launched = None
        if scheduler.plans_ahead:
            launched = LaunchedFigures(
                len(scheduler.running), scheduler.num_waiting, scheduler.num_free_blocks
            )
        waiting_for = find_waiting_for(scheduler, plan.waiting_for)
        self._drafts.append(_Draft(number, plan, *self._batch_of(plan), launched, waiting_for))

    def on_update(
        self, plan: StepPlan, finished: Sequence[RequestState], time: tuple[int, int] | None
    ) -> None:
        """Note the step's time; call `on_step` with the record of the step whose output was taken in."""
        if plan:
            self._drafts[-1].time = time
            if len(self._drafts) <= self._scheduler.plans_ahead:
                return
        elif not self._drafts:
            return
        draft = self._drafts.popleft()
        plan, time = draft.plan, draft.time
        ends = [self._requests[state.id] for state in finished]
        cached = [CachedTokens(state.id, tokens) for state, tokens in plan.cached]
        record = StepRecord(
            step=draft.number,
            prefill=draft.prefill,
            decode=draft.decode,
            emitted=draft.emitted,
            finished=finished_requests(ends),
            preempted=[state.id for state in plan.preempted],
            running=len(self._scheduler.running),
            waiting=self._scheduler.num_waiting,
            free_blocks=self._scheduler.num_free_blocks,
            cached=cached if self._prefix_caching else None,
            rejected=rejected_requests(ends),
            discarded=[state.id for state in plan.discarded] if self._scheduler.discards else None,
            launched=draft.launched,
            preempted_for=[state.id for state in plan.preempted_for],
            waiting_for=draft.waiting_for,
            start=None if time is None else time[0] / PER_SECOND,
            duration=None if time is None else time[1] / PER_SECOND,
            replica=self._replica,
        )
        self._on_step(record)

    def _batch_of(self, plan: StepPlan) -> tuple[Any, Any, Any]:
        """Return the prefill entries, the decode entries and the emitted tokens of a step."""
        emitted = []
        for state in plan.emitting(self._scheduler.decoding_requests(plan)):
            response, position = self._requests[state.id].response, state.num_output_tokens
            emitted.append(EmittedToken(state.id, response.token_id(position), response.piece(position)))
        return scheduled_tokens(plan.prefill), scheduled_tokens(self._scheduler.decode_batch(plan)), emitted


def find_waiting_for(scheduler: Scheduler, cause: Cause | None) -> WaitingFor | None:
    """Return why the first request of the waiting queue was not admitted; None if there is no cause."""
    if cause is None:
        return None
    needs, free = scheduler.shortage or (None, None)
    return WaitingFor(scheduler.first_waiting.id, cause, needs, free)


def finished_requests(ends: Sequence[RequestProgress]) -> list[FinishedRequest]:
    """Return why requests finished, as vLLM words it."""
    return [
        FinishedRequest(each.request.id, each.vllm_finish_reason or "", each.stop_reason) for each in ends
    ]


def rejected_requests(ends: Sequence[RequestProgress]) -> list[str]:
    """Return the ids of those finished requests that could never run."""
    return [each.request.id for each in ends if each.is_rejected]


def scheduled_tokens(batch: Sequence[BatchEntry]) -> list[ScheduledTokens]:
    """Return the entries of a batch for a record."""
    return [ScheduledTokens(entry.state.id, entry.computed, entry.tokens) for entry in batch]
