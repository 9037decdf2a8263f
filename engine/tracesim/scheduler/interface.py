"""What a scheduler is to the engine: `schedule` a step, then `update` once its tokens are out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, Protocol

from tracesim.requests.batch import Batch
from tracesim.requests.decode_calendar import by_admission
from tracesim.requests.request import Request, RequestState


class Scheduled(NamedTuple):
    """A request's place in a batch: `tokens` tokens after `computed` in the KV cache."""

    state: RequestState
    computed: int
    tokens: int


# What `_make` does, without a Python frame for each entry.
new_scheduled = partial(tuple.__new__, Scheduled)


@dataclass(slots=True)
class StepPlan:
    """One step, as scheduled; every list is in the scheduler's order.

    Requests that decode by the calendar are counted, not listed: `Scheduler.decode_batch` lists them.
    `prefill` and `decode` are those that are scheduled one by one, `sampled` those of them that emit a token.
    `cached` are the requests that were admitted with a prefix from the cache, and its tokens. `skipped`
    requests decode, but not in this step. `refused` can never be scheduled and finish at once ("length"),
    with nothing emitted.
    """

    num_decodes: int = 0
    prefill: list[Scheduled] = field(default_factory=list)
    sampled: list[RequestState] = field(default_factory=list)
    decode: Sequence[Scheduled] = ()
    cached: Sequence[tuple[RequestState, int]] = ()
    skipped: Sequence[RequestState] = ()
    preempted: Sequence[RequestState] = ()
    refused: Sequence[RequestState] = ()

    def emitting(self, decoding: Sequence[RequestState]) -> Sequence[RequestState]:
        """Who emits a token: `decoding`, who decode by the calendar, and those sampled one by one."""
        sampled = [state for state in self.sampled if state.request.num_output_tokens]
        return sorted([*sampled, *decoding], key=by_admission) if sampled else decoding

    def __bool__(self) -> bool:
        """Whether anything happens in this step."""
        return bool(self.prefill or self.num_decodes or self.preempted or self.refused)


class Stride(NamedTuple):
    """Steps that were taken at once: each computed the same batch, and in the last some may have finished.

    `batch` is that of the first; a step later each request that decodes has one token more in the KV cache.
    """

    steps: int
    batch: Batch
    finished: Sequence[RequestState]

    @property
    def num_prefills(self) -> int:
        """Requests whose prompt is computed: none or one."""
        return 1 if self.batch.prefill_tokens else 0


NO_STRIDE = Stride(0, Batch(0, 0, 0), ())

Pace = Callable[[Batch, int], int]
"""Of how many steps of a batch, at most as many as the number says, none begins too late."""


class Scheduler(Protocol):
    """Decides, step by step, which requests get how many tokens computed."""

    @property
    def running(self) -> Collection[RequestState]:
        """The requests that hold KV blocks, in the scheduler's order."""
        ...

    @property
    def num_waiting(self) -> int:
        """How many requests wait, preempted ones included."""
        ...

    @property
    def num_free_blocks(self) -> int | None:
        """KV blocks that nobody holds; None when they are endless."""
        ...

    @property
    def peak_kv_cache_usage(self) -> float | None:
        """The largest part of the KV cache that was skipped at once, up to 1; None when it is endless."""
        ...

    def check(self, request: Request) -> None:
        """Raise RequestError for a request that could never run, where vLLM refuses it at the door."""
        ...

    def add_request(self, state: RequestState) -> None:
        """Queue a request that has arrived."""
        ...

    def abort_request(self, state: RequestState) -> None:
        """Drop a request, wherever it is, and free its blocks. Not during a step."""
        ...

    def schedule(self) -> StepPlan:
        """Plan the next step: who is computed, who makes room for it. Raises StalledError."""
        ...

    def decoding_requests(self, plan: StepPlan) -> list[RequestState]:
        """Who decodes by the calendar in a plan's step, in order; before `update`."""
        ...

    def decode_batch(self, plan: StepPlan) -> list[Scheduled]:
        """The whole decode batch of a plan, in order; before `update`."""
        ...

    def update(self, plan: StepPlan) -> list[RequestState]:
        """Book the tokens that the step emitted; return who finished, in order."""
        ...

    def batch_counts(self, plan: StepPlan) -> Batch:
        """What the step of a plan computes; before `update`."""
        ...

    def stride(self, limit: int, pace: Pace | None = None) -> Stride:
        """Take at once the next steps, `limit` at most, in which nothing but tokens would move; maybe none.

        Requests may finish in the last one. `pace`, where given, may shorten it once its batch is known.
        """
        ...
