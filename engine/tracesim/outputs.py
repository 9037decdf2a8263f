"""What a step gives back: `StepRecord` for those who watch the schedule, `RequestOutput` for clients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tracesim.cursor import Cursor

STEP_SCHEMA = "tracesim.step/1"


@dataclass(frozen=True, slots=True)
class ScheduledTokens:
    """`tokens` tokens of request `id` in this step's batch, after `computed` already in the KV cache."""

    id: str
    computed: int
    tokens: int


@dataclass(frozen=True, slots=True)
class CachedTokens:
    """Request `id` was admitted with `tokens` tokens that it found in the prefix cache."""

    id: str
    tokens: int


@dataclass(frozen=True, slots=True)
class EmittedToken:
    """A token that request `id` emitted, and what it added to the output text.

    `token_id` is None when only lengths are known, `text` when only ids or lengths are.
    """

    id: str
    token_id: int | None
    text: str | None


@dataclass(frozen=True, slots=True)
class FinishedRequest:
    """Request `id` finished: "stop" or "length", or "abort"; with the stop string, if one was met."""

    id: str
    finish_reason: str
    stop_reason: str | None


@dataclass(frozen=True, slots=True)
class StepRecord:
    """All that one engine step did; lists are in the scheduler's order.

    `running`, `waiting` (requests) and `free_blocks` (None when endless) are taken after the step. `cached`
    is None without prefix caching.
    This is a public format: see "Step records" in the README.
    """

    step: int
    prefill: Sequence[ScheduledTokens]
    decode: Sequence[ScheduledTokens]
    emitted: Sequence[EmittedToken]
    finished: Sequence[FinishedRequest]
    preempted: Sequence[str]
    running: int
    waiting: int
    free_blocks: int | None
    cached: Sequence[CachedTokens] | None = None


@dataclass(frozen=True, slots=True)
class CompletionOutput:
    """One completion as it stands after a step, with vLLM's field names.

    `text` and `token_ids` hold all the output so far; they are cut from the recording when asked for.
    """

    index: int
    finish_reason: str | None
    stop_reason: str | None
    cursor: Cursor = field(repr=False)
    num_tokens: int = field(repr=False)

    @property
    def text(self) -> str:
        """The output text so far; "" when the text is not known."""
        return self.cursor.text_after(self.num_tokens) or ""

    @property
    def token_ids(self) -> list[int]:
        """The output token ids so far; empty when only the length is known."""
        return list(self.cursor.token_ids or ())[: self.num_tokens]

    def finished(self) -> bool:
        """Whether the completion is at its end."""
        return self.finish_reason is not None


@dataclass(frozen=True, slots=True)
class RequestOutput:
    """A request as it stands after a step that moved it, with vLLM's field names."""

    request_id: str
    prompt: str | None
    prompt_token_ids: Sequence[int] | None
    outputs: list[CompletionOutput]
    finished: bool
