"""A request as it was sent, and the counters that a scheduler keeps for it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from typing import Final, NamedTuple, Protocol

DEFAULT_HASH_BLOCK_SIZE: Final = 512
"""Prompt tokens that one of a trace's `hash_ids` stands for, unless the trace has another size."""


class RequestStatus(Enum):
    """Where a request is in its life."""

    ARRIVING = auto()
    WAITING = auto()
    RUNNING = auto()
    PREEMPTED = auto()
    FINISHED = auto()
    FINISHED_IGNORED = auto()
    """It can never be scheduled; vLLM's V0 finds that out when the request is next in the queue."""


# As module-level names, because looking up a member in its class is slow in Python 3.10 and 3.11.
ARRIVING, WAITING, RUNNING, PREEMPTED, FINISHED, FINISHED_IGNORED = RequestStatus


class CoreEnd(NamedTuple):
    """Where the engine core would end a request that its front end aborts, if the abort never came.

    `num_output_tokens` and `ends_late` mean what they mean in `Request`.
    """

    num_output_tokens: int
    ends_late: bool


class Request(NamedTuple):
    """What a scheduler may know about a request; its text is not part of that.

    `num_output_tokens` is the number of tokens that the recorded response will emit, known before the first
    step. `arrival` is in steps or, in a run with a clock, in its units; it is 0 where the request waits for
    others. A lower `priority` runs earlier. `session_id` is that of its conversation, and the first
    `num_session_tokens` of its prompt are those that an earlier turn of it had, prompt and answer.
    `order` numbers the requests as they are added. With `ends_late` the scheduler does not know of the end
    when it plans the next step, so it schedules the request again. `core_end` is None unless a stop string
    ends the request: the front end finds that and aborts the request, which the engine core would continue.

    Only prefix caching reads token ids and hash ids. Token ids are None where only lengths are known;
    `hash_ids` may then identify the prompt, one id for every `hash_block_size` tokens, equal ids for equal
    prefixes.
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
    hash_block_size: int = DEFAULT_HASH_BLOCK_SIZE
    ends_late: bool = False
    core_end: CoreEnd | None = None
    session_id: str | None = None
    num_session_tokens: int = 0


class TickCounter(Protocol):
    """Counts the ticks of a decode calendar: at each, every decoding request emits one token."""

    tick: int


class RequestState:
    """The counters of one request, kept by its scheduler.

    `num_tokens` counts the prompt and the output so far, `num_computed_tokens` those of them that are in the
    KV cache. While the request decodes, these two are not updated: they keep the values that they had at tick
    `joined_at` of `calendar`, and `current_num_tokens` and `current_num_computed_tokens` follow from these.
    With `total_tokens` the request ends; with `ends_late` it still decodes after that, until it is removed.

    `arrival` is when the request arrives, which a closed loop decides during the run. `admission` numbers
    admissions, so that running requests sort into the scheduler's order. `num_cached_tokens` is the number
    of prompt tokens found in the prefix cache when the request was first admitted, None before that.
    `next_turn` is the request whose prompt has the tokens of this one's prompt and answer, if one is known.
    """

    __slots__ = (
        "admission",
        "arrival",
        "calendar",
        "ends_late",
        "id",
        "joined_at",
        "next_turn",
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
        self.arrival = request.arrival
        self.status = ARRIVING
        self.num_tokens = request.num_prompt_tokens
        # An empty response that ends late still ends with a token: the one that nobody sees.
        self.total_tokens = request.num_prompt_tokens + (request.num_output_tokens or request.ends_late)
        self.ends_late = request.ends_late
        self.num_computed_tokens = 0
        self.calendar: TickCounter | None = None
        self.joined_at = 0
        self.admission = 0
        self.num_preemptions = 0
        self.num_cached_tokens: int | None = None
        self.next_turn: Request | None = None

    @property
    def is_rejected(self) -> bool:
        """Whether the request ended because it could never run."""
        return self.status is FINISHED_IGNORED and not self.num_preemptions

    @property
    def is_decoding(self) -> bool:
        """Whether the request is in a decode calendar, and its counters follow from the calendar's tick."""
        return self.calendar is not None

    @property
    def current_num_tokens(self) -> int:
        """Tokens of the prompt and of the output so far."""
        if self.calendar is None:
            return self.num_tokens
        return self.num_tokens + self.calendar.tick - self.joined_at

    @property
    def current_num_computed_tokens(self) -> int:
        """Tokens in the KV cache: for a decoding request all but the newest one."""
        if self.calendar is None:
            return self.num_computed_tokens
        return self.num_tokens + self.calendar.tick - self.joined_at - 1

    @property
    def num_output_tokens(self) -> int:
        """Tokens emitted so far, with those of the batch in flight."""
        emitted = self.current_num_tokens - self.request.num_prompt_tokens
        limit = self.request.num_output_tokens
        return emitted if emitted < limit else limit

    @property
    def urgency(self) -> tuple[int, int]:
        """The key that sorts requests by priority and, where that is equal, by the order of adding."""
        return self.request.priority, self.request.order

    def __repr__(self) -> str:
        tokens = f"{self.num_computed_tokens}/{self.current_num_tokens}/{self.total_tokens}"
        return f"<{self.id} {self.status.name} {tokens}>"
