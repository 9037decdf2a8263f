"""What the engine asks of a scheduler: `schedule` plans a step, `update` takes in the tokens it emitted.

Where nothing but tokens would change, `stride` takes many steps at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tracesim.kv_cache.block_accounting import KVCache
from tracesim.requests.batch import Batch
from tracesim.requests.decode_calendar import by_admission
from tracesim.requests.request import Request, RequestState
from tracesim.scheduler.waiting import Cause


@dataclass(slots=True)
class BatchEntry:
    """A request's part in a batch: `tokens` tokens after `computed` that are in the KV cache."""

    state: RequestState
    computed: int
    tokens: int


@dataclass(slots=True)
class StepPlan:
    """What a step does; every list is in the scheduler's order.

    `num_decodes` counts all decodes of the step. Requests that decode by the calendar are not listed here,
    because there are many; `Scheduler.decode_batch` lists them. `prefill` and `decode` are the entries of the
    other requests, and `sampled` those of them that emit a token, or finish where an empty response ends;
    `unsampled` are the others.

    `cached` has the requests admitted with a prefix from the cache, and its length in tokens. `waiting_for`
    is why others are not admitted; None if nobody waits. `preempted` returned to the waiting queue, each
    because the request at its place in `preempted_for`, maybe itself, needed its blocks. `skipped` are
    decoding requests that get no token in this step. `refused` are requests that can never be scheduled:
    they finish at once, with nothing emitted. `discarded` are computed in vain: they have emitted their last
    token, and the scheduler does not know that yet, or their abort has not come yet.
    """

    num_decodes: int = 0
    prefill: list[BatchEntry] = field(default_factory=list)
    sampled: list[RequestState] = field(default_factory=list)
    decode: Sequence[BatchEntry] = ()
    unsampled: Sequence[RequestState] = ()
    cached: Sequence[tuple[RequestState, int]] = ()
    skipped: Sequence[RequestState] = ()
    preempted: Sequence[RequestState] = ()
    preempted_for: Sequence[RequestState] = ()
    refused: Sequence[RequestState] = ()
    discarded: Sequence[RequestState] = ()
    waiting_for: Cause | None = None

    def emitting(self, decoding: Sequence[RequestState]) -> Sequence[RequestState]:
        """Return who emits a token: `decoding`, which are those in the calendar, and the sampled ones."""
        sampled = [state for state in self.sampled if state.request.num_output_tokens]
        if self.discarded:
            decoding = [state for state in decoding if state not in self.discarded]
            sampled = [state for state in sampled if state not in self.discarded]
        return sorted([*sampled, *decoding], key=by_admission) if sampled else decoding

    def __bool__(self) -> bool:
        """Whether anything happens in this step."""
        return bool(self.prefill or self.num_decodes or self.preempted or self.refused)


@dataclass(slots=True)
class Stride:
    """Consecutive steps with the same batch, taken at once; requests may have finished in the last one.

    `batch` is that of the first step; `Batch.after` gives those of the steps after it. `prefill` is the part
    of the one prompt that is computed, in the first step: each further step computes as many tokens after
    these. `waiting_for` is why requests wait, for the same cause in each step; None if nobody does.
    `discarded` are decodes in vain; then it is a single step. `ends_requests` is true if the last step
    emitted the last token of a request. With asynchronous scheduling that finishes one step later: where this
    step was taken at once, too, it is the stride `then`.
    """

    steps: int
    batch: Batch
    finished: Sequence[RequestState]
    prefill: BatchEntry | None = None
    waiting_for: Cause | None = None
    discarded: Sequence[RequestState] = ()
    ends_requests: bool = False
    then: Stride | None = None

    @property
    def num_prefills(self) -> int:
        """Requests whose prompt is computed: none or one."""
        return 0 if self.prefill is None else 1


StepsBeforeArrival = Callable[[Batch, int], int]
"""Returns how many steps of this batch, up to the limit, start before the next arrival."""


class Scheduler(Protocol):
    """Decides, step by step, for which requests how many tokens are computed."""

    @property
    def running(self) -> Collection[RequestState]:
        """The requests that were admitted and hold KV blocks, in the scheduler's order."""
        ...

    @property
    def num_waiting(self) -> int:
        """How many requests wait, preempted ones included."""
        ...

    @property
    def first_waiting(self) -> RequestState:
        """The request that is next in the waiting queue, which must not be empty."""
        ...

    @property
    def shortage(self) -> tuple[int, int] | None:
        """What the first waiting request needed and what was free when the last step was planned.

        Both count KV blocks where these are the cause, those that the watermark keeps free needed as well, or
        tokens of the budget where the prompt must not be cut. None where the cause is not one of numbers.
        """
        ...

    @property
    def num_free_blocks(self) -> int | None:
        """KV blocks that no request holds; None when they are unlimited."""
        ...

    @property
    def peak_kv_cache_usage(self) -> float | None:
        """The largest fraction of the KV blocks that was in use at once; None when they are unlimited."""
        ...

    @property
    def plans_ahead(self) -> int:
        """How many plans are made before the output of a batch is taken in: 1 asynchronously, else 0."""
        ...

    @property
    def discards(self) -> bool:
        """Whether a step may compute tokens in vain."""
        ...

    records_strides: bool
    """Whether somebody asks for the scheduler's figures after each stride.

    Then `stride` does not take the step after a last token as well, see `Stride.then`, and it does not take
    the first step of a wait for KV blocks: `schedule` finds how many blocks are needed and free in it.
    """

    @property
    def awaits_output(self) -> bool:
        """Whether an output or an abort is due, which the next `update` takes in, even with an empty plan."""
        ...

    @property
    def cache(self) -> KVCache:
        """The KV cache, to look at."""
        ...

    def least_steps(self, least_output: int) -> int:
        """Return in how many steps a request can finish at the earliest; 0 if a last token is in flight.

        None of the requests so far has fewer than `least_output` output tokens.
        """
        ...

    def check(self, request: Request) -> None:
        """Raise RequestError for a request that vLLM refuses on arrival because it can never run."""
        ...

    def add_request(self, state: RequestState) -> None:
        """Put a request that has arrived in the waiting queue."""
        ...

    def abort_request(self, state: RequestState) -> None:
        """Drop a waiting or running request and free its blocks. Not between `schedule` and `update`."""
        ...

    def schedule(self) -> StepPlan:
        """Plan the next step. Raises StalledError where no step will ever do anything again."""
        ...

    def decoding_requests(self, plan: StepPlan) -> list[RequestState]:
        """Return who decodes by the calendar in a plan's step, in order; call it before `update`."""
        ...

    def decode_batch(self, plan: StepPlan) -> list[BatchEntry]:
        """Return all decodes of a plan's step, in order; call it before `update`."""
        ...

    def batch_of(self, plan: StepPlan) -> Batch:
        """Return what a plan's step computes; call it before `update`."""
        ...

    def update(self, plan: StepPlan) -> list[RequestState]:
        """Count the tokens that the step emits; return who finished, in order.

        With asynchronous scheduling these are the requests that finished in the step before. One that a stop
        string ends finishes with the token that completes the string, but runs until its abort comes.
        """
        ...

    def stride(self, limit: int, steps_before_arrival: StepsBeforeArrival | None = None) -> Stride | None:
        """Take the next steps at once if nothing but tokens changes in them, at most `limit`.

        Requests may finish in the last one. Return None where the next step has to be scheduled by itself.
        `steps_before_arrival` is called when the batch is known; None if no request will arrive.
        """
        ...
