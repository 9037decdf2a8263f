"""Stride records: what changed in a run, in memory and time that grow with changes, not steps or tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tracesim.engine.progress import RequestProgress
from tracesim.engine.step_records import (
    CachedTokens,
    FinishedRequest,
    ScheduledTokens,
    WaitingFor,
    find_waiting_for,
    finished_requests,
    rejected_requests,
    scheduled_tokens,
)
from tracesim.requests.request import RequestState
from tracesim.scheduler import Scheduler, StepPlan, Stride
from tracesim.timing.clock import PER_SECOND


@dataclass(slots=True)
class StrideRecord:
    """What `steps` consecutive steps did, of which `step` is the number of the first.

    If there is more than one step, all have the same batch, and nothing but tokens changes between them:
    requests finish only in the last one. `prefill` has the entries of the first step. If there are further
    steps, it has at most one entry, and each of them computes as many tokens after these. `num_decodes` is
    the number of decodes in each step, and `num_emitted` that of the tokens that all steps emit. `started`
    has the ids of the requests that emit the first token after their prompt, or after a preemption. From then
    on each of them decodes.

    `running`, `waiting` (both count requests) and `free_blocks` (None if unlimited) are taken after the last
    step or, with asynchronous scheduling, when it was planned and the output of the step before it was taken
    in. `start` and `duration` of all steps together are in seconds, and None without a clock.

    What `waiting_for` says is free was so before the running requests took their blocks for the first step.
    All else is as in `StepRecord`, but `cached` and `discarded` are empty where they are None there.
    """

    step: int
    steps: int
    num_decodes: int
    num_emitted: int
    running: int
    waiting: int
    free_blocks: int | None
    waiting_for: WaitingFor | None = None
    start: float | None = None
    duration: float | None = None
    prefill: Sequence[ScheduledTokens] = ()
    started: Sequence[str] = ()
    finished: Sequence[FinishedRequest] = ()
    rejected: Sequence[str] = ()
    preempted: Sequence[str] = ()
    preempted_for: Sequence[str] = ()
    cached: Sequence[CachedTokens] = ()
    discarded: Sequence[str] = ()
    replica: int | None = None


class StrideRecorder:
    """Calls `on_stride` with the record of each stride, and of each step that is not part of one.

    `requests` are those of the engine, by id. With asynchronous scheduling a record is complete when the
    output of its last step is taken in, which is with the next step or stride.
    """

    def __init__(
        self,
        on_stride: Callable[[StrideRecord], object],
        scheduler: Scheduler,
        requests: Mapping[str, RequestProgress],
        *,
        replica: int | None = None,
    ) -> None:
        self._replica = replica
        self._on_stride = on_stride
        self._scheduler = scheduler
        self._requests = requests
        self._draft: StrideRecord | None = None
        self._number = 0
        self._num_emitted = 0
        self._started: Sequence[str] = ()
        self._waiting_for: WaitingFor | None = None

    def on_plan(self, number: int, plan: StepPlan) -> None:
        """Note what must be noted of step `number` before the scheduler updates its counters."""
        started = [state for state in plan.sampled if state.request.num_output_tokens]
        num_calendar_decodes = plan.num_decodes - len(plan.decode)
        if plan.discarded:
            started = [state for state in started if state not in plan.discarded]
            individually = {entry.state for entry in (*plan.prefill, *plan.decode)}
            num_calendar_decodes -= sum(state not in individually for state in plan.discarded)
        self._number = number
        self._num_emitted = num_calendar_decodes + len(started)
        self._started = [state.id for state in started] if started else ()
        self._waiting_for = find_waiting_for(self._scheduler, plan.waiting_for)

    def on_update(
        self, plan: StepPlan, finished: Sequence[RequestState], time: tuple[int, int] | None
    ) -> None:
        """Record the step of `plan`; `finished` finished with the output that was taken in."""
        draft = None
        if plan:
            draft = self._record(self._number, 1, plan.num_decodes, self._num_emitted, time)
            draft.waiting_for = self._waiting_for
            draft.started = self._started
            if plan.prefill:
                draft.prefill = scheduled_tokens(plan.prefill)
            if plan.preempted:
                draft.preempted = [state.id for state in plan.preempted]
                draft.preempted_for = [state.id for state in plan.preempted_for]
            if plan.cached:
                draft.cached = [CachedTokens(state.id, tokens) for state, tokens in plan.cached]
            if plan.discarded:
                draft.discarded = [state.id for state in plan.discarded]
        self._add(draft, finished)

    def on_stride(self, number: int, stride: Stride, time: tuple[int, int] | None) -> None:
        """Record a stride, whose first step has this number."""
        num_decodes = stride.batch.num_decodes
        num_emitted = (num_decodes - len(stride.discarded)) * stride.steps
        draft = self._record(number, stride.steps, num_decodes, num_emitted, time)
        draft.waiting_for = find_waiting_for(self._scheduler, stride.waiting_for)
        if stride.prefill is not None:
            draft.prefill = scheduled_tokens([stride.prefill])
        if stride.discarded:
            draft.discarded = [state.id for state in stride.discarded]
        self._add(draft, stride.finished)

    def _record(
        self, number: int, steps: int, num_decodes: int, num_emitted: int, time: tuple[int, int] | None
    ) -> StrideRecord:
        scheduler = self._scheduler
        return StrideRecord(
            number,
            steps,
            num_decodes,
            num_emitted,
            len(scheduler.running),
            scheduler.num_waiting,
            scheduler.num_free_blocks,
            start=None if time is None else time[0] / PER_SECOND,
            duration=None if time is None else time[1] / PER_SECOND,
            replica=self._replica,
        )

    def _add(self, draft: StrideRecord | None, finished: Sequence[RequestState]) -> None:
        """Complete the record whose output was taken in: the one before `draft`, if that is planned ahead."""
        record = draft
        if self._scheduler.plans_ahead:
            record, self._draft = self._draft, draft
        if record is None:
            return
        if finished:
            ends = [self._requests[state.id] for state in finished]
            record.finished, record.rejected = finished_requests(ends), rejected_requests(ends)
        self._on_stride(record)
