"""What a scheduler is to the engine: `schedule` a step, then `update` once its tokens are out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from tracesim.request import Request, RequestState


class Scheduled(NamedTuple):
    """A request's place in a batch: `tokens` tokens after `computed` in the KV cache."""

    state: RequestState
    computed: int
    tokens: int


@dataclass(slots=True)
class StepPlan:
    """One step, as scheduled; every list is in the scheduler's order.

    `cached` are the requests that were admitted with a prefix from the cache, and its tokens. `sampled` are
    the requests whose next token comes out of this step. `refused` can never be scheduled and finish at once
    ("length"), with nothing emitted.
    """

    prefill: list[Scheduled] = field(default_factory=list)
    decode: list[Scheduled] = field(default_factory=list)
    cached: list[tuple[RequestState, int]] = field(default_factory=list)
    sampled: list[RequestState] = field(default_factory=list)
    preempted: list[RequestState] = field(default_factory=list)
    refused: list[RequestState] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Whether anything happens in this step."""
        return bool(self.prefill or self.decode or self.preempted or self.refused)


class Scheduler(Protocol):
    """Decides, step by step, which requests get how many tokens computed."""

    @property
    def running(self) -> Sequence[RequestState]:
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

    def check(self, request: Request) -> None:
        """Raise RequestError for a request that could never run, where vLLM refuses it at the door."""
        ...

    def add_request(self, request: Request) -> RequestState:
        """Queue a request that has arrived."""
        ...

    def abort_request(self, state: RequestState) -> None:
        """Drop a request, wherever it is, and free its blocks. Not during a step."""
        ...

    def schedule(self) -> StepPlan:
        """Plan the next step: who is computed, who makes room for it. Raises StalledError."""
        ...

    def update(self, plan: StepPlan) -> list[RequestState]:
        """Book the tokens that the step's `sampled` requests emitted; return who finished, in order."""
        ...
