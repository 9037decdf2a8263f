"""From a step of the engine to what is handed out: its `StepRecord`, and a client's `RequestOutput`s."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tracesim.engine.outputs import (
    CachedTokens,
    CompletionOutput,
    EmittedToken,
    FinishedRequest,
    RequestOutput,
    ScheduledTokens,
    StepRecord,
)
from tracesim.engine.progress import RequestProgress
from tracesim.requests.request import RequestState
from tracesim.responses.simulator import SimulatedToken
from tracesim.scheduler import Scheduled, Scheduler, StepPlan
from tracesim.timing.clock import PER_SECOND


class EngineStep(NamedTuple):
    """All that one step did, as the engine has it; `decode_batch` is the whole decode batch."""

    number: int
    plan: StepPlan
    decode_batch: Sequence[Scheduled]
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
        decode=_entries(step.decode_batch),
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
        response=progress.response,
        num_tokens=progress.state.num_output_tokens,
    )
    return RequestOutput(
        request.id, progress.prompt, request.prompt_token_ids, [completion], completion.finished()
    )


def _entries(batch: Sequence[Scheduled]) -> list[ScheduledTokens]:
    return [ScheduledTokens(entry.state.id, entry.computed, entry.tokens) for entry in batch]
