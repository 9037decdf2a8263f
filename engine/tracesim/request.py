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
    A lower `priority` runs earlier. `order` counts the requests as they were added. Token ids are None when
    only lengths are known; `hash_ids` then tell equal prompts, one id for each 512 tokens. Only prefix
    caching looks at them.
    """

    id: str
    num_prompt_tokens: int
    num_output_tokens: int
    arrival_step: int = 0
    priority: int = 0
    order: int = 0
    prompt_token_ids: Sequence[int] | None = None
    output_token_ids: Sequence[int] | None = None
    hash_ids: Sequence[int] | None = None


class Block:
    """A KV block with an identity: how many requests hold it, and the key of what it holds once full."""

    __slots__ = ("key", "ref_count")

    def __init__(self) -> None:
        self.key: int | None = None
        self.ref_count = 0


class RequestState:
    """A request's counters, kept by its scheduler.

    `num_tokens` counts the prompt and the output so far, `num_computed_tokens` those of them in the KV
    cache, and `num_blocks` the KV blocks held. With prefix caching `blocks` are those blocks, of which the
    first `num_keyed_blocks` can be found by others, `prefix_keys` the keys that are worked out so far, and
    `num_cached_tokens` what the request found in the cache when it was first admitted.
    """

    __slots__ = (
        "blocks",
        "num_blocks",
        "num_cached_tokens",
        "num_computed_tokens",
        "num_keyed_blocks",
        "num_preemptions",
        "num_tokens",
        "prefix_keys",
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
        self.blocks: list[Block] = []
        self.prefix_keys: list[int] = []
        self.num_keyed_blocks = 0
        self.num_cached_tokens: int | None = None

    @property
    def id(self) -> str:
        """The request's id."""
        return self.request.id

    @property
    def num_output_tokens(self) -> int:
        """Tokens emitted so far."""
        return self.num_tokens - self.request.num_prompt_tokens

    @property
    def urgency(self) -> tuple[int, int]:
        """Sorts by priority: the most urgent first, then the one that was added first."""
        return self.request.priority, self.request.order

    def __repr__(self) -> str:
        return (
            f"<{self.id} {self.status.name} {self.num_computed_tokens}/{self.num_tokens}/{self.total_tokens}>"
        )
