"""A request as it was asked, and the scheduler's counters for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto


class RequestStatus(Enum):
    """Where a request is in its life."""

    WAITING = auto()
    RUNNING = auto()
    PREEMPTED = auto()
    FINISHED = auto()
    FINISHED_IGNORED = auto()
    """It could never be scheduled, as vLLM's V0 finds out when its turn comes."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a scheduler may know of a request; never its text.

    `num_output_tokens` is how many tokens the recording will give: it is known before the first step.
    A lower `priority` runs earlier. `prompt_token_ids` is None when only the prompt's length is known.
    """

    id: str
    num_prompt_tokens: int
    num_output_tokens: int
    arrival_step: int = 0
    priority: int = 0
    prompt_token_ids: Sequence[int] | None = None


class RequestState:
    """A request's counters, kept by its scheduler.

    `num_tokens` counts the prompt and the output so far, `num_computed_tokens` those of them in the KV
    cache, and `num_blocks` the KV blocks held.
    """

    __slots__ = (
        "num_blocks",
        "num_computed_tokens",
        "num_preemptions",
        "num_tokens",
        "request",
        "status",
        "total_tokens",
    )

    def __init__(self, request: Request) -> None:
        self.request = request
        self.status = RequestStatus.WAITING
        self.num_tokens = request.num_prompt_tokens
        self.total_tokens = request.num_prompt_tokens + request.num_output_tokens
        self.num_computed_tokens = 0
        self.num_blocks = 0
        self.num_preemptions = 0

    @property
    def id(self) -> str:
        """The request's id."""
        return self.request.id

    @property
    def num_output_tokens(self) -> int:
        """Tokens emitted so far."""
        return self.num_tokens - self.request.num_prompt_tokens

    def __repr__(self) -> str:
        return (
            f"<{self.id} {self.status.name} {self.num_computed_tokens}/{self.num_tokens}/{self.total_tokens}>"
        )
