"""What a step gives back: `StepRecord` for those who watch the schedule, `RequestOutput` for clients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import InitVar, dataclass, field, fields
from typing import TYPE_CHECKING

from tracesim.responses.recorded_response import RecordedResponse

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

    `token_id` is None when only lengths are known and for an end-of-sequence token, `text` when only ids or
    lengths are known.
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
    is None without prefix caching, `start` and `duration` (seconds) without a clock.
    This is a public format: docs/reference/step-records.md describes it.
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
    start: float | None = None
    duration: float | None = None


class _Lazy:
    """A base for dataclasses with costly fields, worked out when first asked for.

    A step makes an output for every request that moved, and few of them are looked into.
    """

    def _later(self, **fields: Callable[[], object]) -> None:
        object.__setattr__(self, "_unasked", fields)

    if not TYPE_CHECKING:  # the fields are declared: mypy is to know no others

        def __getattr__(self, name: str) -> object:
            unasked = self.__dict__.get("_unasked", {})
            if name not in unasked:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            value = unasked[name]()
            object.__setattr__(self, name, value)
            return value

    def __getstate__(self) -> dict[str, object]:
        """Copies and pickles have the values."""
        return {each.name: getattr(self, each.name) for each in fields(self)}  # type: ignore[arg-type]


@dataclass(frozen=True)
class CompletionOutput(_Lazy):
    """One completion as it stands after a step, with vLLM's fields.

    `text` and `token_ids` hold all the output so far: "" when the text is not known, [] when only the length
    is. A recording has no logprobs: both fields of that name are None.
    """

    index: int
    text: str = field(init=False)
    token_ids: list[int] = field(init=False)
    cumulative_logprob: float | None = field(init=False, default=None)
    logprobs: None = field(init=False, default=None)
    finish_reason: str | None
    stop_reason: str | None
    response: InitVar[RecordedResponse]
    num_tokens: InitVar[int]

    def __post_init__(self, response: RecordedResponse, num_tokens: int) -> None:
        self._later(
            text=lambda: response.text_after(num_tokens) or "",
            token_ids=lambda: list((response.token_ids or ())[:num_tokens]),
        )

    def finished(self) -> bool:
        """Whether the completion is at its end."""
        return self.finish_reason is not None


@dataclass(frozen=True)
class RequestOutput(_Lazy):
    """A request as it stands after a step that moved it, with vLLM's fields.

    `prompt` and `prompt_token_ids` are None where the trace does not have them.
    """

    request_id: str
    prompt: str | None
    prompt_token_ids: list[int] | None = field(init=False)
    prompt_tokens: InitVar[Sequence[int] | None]
    outputs: list[CompletionOutput]
    finished: bool

    def __post_init__(self, prompt_tokens: Sequence[int] | None) -> None:
        self._later(prompt_token_ids=lambda: None if prompt_tokens is None else list(prompt_tokens))
