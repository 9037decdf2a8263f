"""A request as it was asked, and the scheduler's counters for it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from typing import NamedTuple, Protocol


class RequestStatus(Enum):
    """Where a request is in its life."""

    ARRIVING = auto()
    WAITING = auto()
    RUNNING = auto()
    PREEMPTED = auto()
    FINISHED = auto()
    FINISHED_IGNORED = auto()
    """It could never be scheduled, as vLLM's V0 finds out when its turn comes."""


# By themselves, as Python 3.10 and 3.11 take longer to find one in its class than to call a function.
ARRIVING, WAITING, RUNNING, PREEMPTED, FINISHED, FINISHED_IGNORED = RequestStatus


class Request(NamedTuple):
    """What a scheduler may know of a request; never its text.

    `num_output_tokens` is how many tokens the recording will give: it is known before the first step.
    `arrival` is in steps or, in a run with a clock, in picoseconds. A lower `priority` runs earlier. `order`
    counts the requests as they were added. Token ids are None when only lengths are known; `hash_ids` then
    tell equal prompts, one id for each 512 tokens. Only prefix caching looks at them. A named tuple, as it is
    made for every line of a trace.
    """

    id: str
    num_prompt_tokens: int
    num_output_tokens: int
    arrival: int = 0
    priority: int = 0
    order: int = 0
    prompt_token_ids: Sequence[int] | None = None
    output_token_ids: Sequence[int] | None = None
    hash_ids: Sequence[int] | None = None


class TickCounter(Protocol):
    """Counts the decodes that a decoding request takes part in."""

    tick: int


class RequestState:
    """A request's counters, kept by its scheduler.

    `num_tokens` counts the prompt and the output so far, `num_computed_tokens` those of them in the KV cache.
    While a request decodes, nobody moves them: they stand as they were when it entered its `calendar`, and
    `current_num_tokens` works out what they are now. `admission` numbers admissions, so that it sorts running
    requests in the scheduler's order. `num_cached_tokens` is what was cached when it was first admitted.
    """

    __slots__ = (
        "admission",
        "calendar",
        "entered_at",
        "id",
        "num_cached_tokens",
        "num_computed_tokens",
        "num_preemptions",
        "num_tokens",
        "request",
        "status",
        "total_tokens",
    )

    def __init__(self, request: Request) -> None:
        self.request = request
        self.id = request.id
        self.status = ARRIVING
        self.num_tokens = request.num_prompt_tokens
        self.total_tokens = request.num_prompt_tokens + request.num_output_tokens
        self.num_computed_tokens = 0
        self.calendar: TickCounter | None = None
        self.entered_at = 0
        self.admission = 0
        self.num_preemptions = 0
        self.num_cached_tokens: int | None = None

    @property
    def is_decoding(self) -> bool:
        """Whether the request decodes by its calendar: its counters then follow from the tick."""
        return self.calendar is not None

    @property
    def current_num_tokens(self) -> int:
        """Tokens of the prompt and of the output as of now, decoding or not."""
        if self.calendar is None:
            return self.num_tokens
        return self.num_tokens + self.calendar.tick - self.entered_at

    @property
    def current_num_computed_tokens(self) -> int:
        """Tokens in the KV cache as of now: while decoding all but the newest."""
        if self.calendar is None:
            return self.num_computed_tokens
        return self.num_tokens + self.calendar.tick - self.entered_at - 1

    @property
    def num_output_tokens(self) -> int:
        """Tokens emitted so far."""
        return self.current_num_tokens - self.request.num_prompt_tokens

    @property
    def urgency(self) -> tuple[int, int]:
        """Sorts by priority: the most urgent first, then the one that was added first."""
        return self.request.priority, self.request.order

    def __repr__(self) -> str:
        tokens = f"{self.num_computed_tokens}/{self.current_num_tokens}/{self.total_tokens}"
        return f"<{self.id} {self.status.name} {tokens}>"
