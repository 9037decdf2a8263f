"""From a step of the engine to what is handed out: its `StepRecord`, and a client's `RequestOutput`s."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tracesim.clock import PER_SECOND
from tracesim.outputs import (
    CachedTokens,
    CompletionOutput,
    EmittedToken,
    FinishedRequest,
    RequestOutput,
    ScheduledTokens,
    StepRecord,
)
from tracesim.progress import RequestProgress
from tracesim.request import RequestState
from tracesim.scheduler import Scheduled, Scheduler, StepPlan
from tracesim.simulator import SimulatedToken


class EngineStep(NamedTuple):
    """All that one step did, as the engine has it; `decodes` is the whole decode batch."""

    number: int
    plan: StepPlan
    decodes: Sequence[Scheduled]
    emitted: Sequence[SimulatedToken]
    finished: Sequence[RequestState]
    time: tuple[int, int] | None = None


def record_of(
    step: EngineStep,
    scheduler: Scheduler,
    requests: Mapping[str, RequestProgress],
    *,
    prefix_caching: bool,
) -> StepRecord:
    """The record of a step that has just been updated; `requests` are the engine's, by id."""
    endings = [requests[state.id] for state in step.finished]
    cached = [CachedTokens(state.id, tokens) for state, tokens in step.plan.cached]
    return StepRecord(
        step=step.number,
        prefill=_entries(step.plan.prefill),
        decode=_entries(step.decodes),
        emitted=[EmittedToken(token.request_id, token.token_id, token.text) for token in step.emitted],
        finished=[
            FinishedRequest(end.request.id, end.finish_reason or "", end.stop_reason) for end in endings
        ],
        preempted=[state.id for state in step.plan.preempted],
        running=len(scheduler.running),
        waiting=scheduler.num_waiting,
        free_blocks=scheduler.num_free_blocks,
        cached=cached if prefix_caching else None,
        start=None if step.time is None else step.time[0] / PER_SECOND,
        duration=None if step.time is None else step.time[1] / PER_SECOND,
    )


def output_of(progress: RequestProgress) -> RequestOutput:
    """A request as a client sees it now."""
    request = progress.request
    completion = CompletionOutput(
        index=0,
        finish_reason=progress.finish_reason,
        stop_reason=progress.stop_reason,
        cursor=progress.cursor,
        num_tokens=progress.state.num_output_tokens,
    )
    return RequestOutput(
        request.id, progress.prompt, request.prompt_token_ids, [completion], completion.finished()
    )


def _entries(batch: Sequence[Scheduled]) -> list[ScheduledTokens]:
    return [ScheduledTokens(entry.state.id, entry.computed, entry.tokens) for entry in batch]
