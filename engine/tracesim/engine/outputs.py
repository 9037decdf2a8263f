"""`RequestOutput`: what a step returns to a client, with vLLM's fields."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import InitVar, dataclass, field, fields
from typing import TYPE_CHECKING

from tracesim.engine.progress import RequestProgress
from tracesim.responses.recorded_response import RecordedResponse


class _LazyFields:
    """A base for dataclasses with costly fields, which are computed when they are first read.

    A step makes an output for every request that moved, and few of them are looked at.
    """

    def _compute_later(self, **fields: Callable[[], object]) -> None:
        object.__setattr__(self, "_not_computed", fields)

    if not TYPE_CHECKING:  # so that mypy knows no fields but the declared ones

        def __getattr__(self, name: str) -> object:
            not_computed = self.__dict__.get("_not_computed", {})
            if name not in not_computed:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            value = not_computed[name]()
            object.__setattr__(self, name, value)
            return value

    def __getstate__(self) -> dict[str, object]:
        """Return all fields, computed, for copies and pickles."""
        return {each.name: getattr(self, each.name) for each in fields(self)}  # type: ignore[arg-type]


@dataclass(frozen=True)
class CompletionOutput(_LazyFields):
    """One completion as it stands after a step, with vLLM's fields.

    `text` and `token_ids` are the whole output so far: "" where the text is not known, [] where only the
    length is. A recording has no logprobs, so `cumulative_logprob` and `logprobs` are None.
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
        self._compute_later(
            text=lambda: response.text_after(num_tokens) or "",
            token_ids=lambda: list((response.token_ids or ())[:num_tokens]),
        )

    def finished(self) -> bool:
        """Return whether the completion is complete."""
        return self.finish_reason is not None


@dataclass(frozen=True)
class RequestOutput(_LazyFields):
    """A request as it stands after a step in which it emitted or finished, with vLLM's fields.

    `prompt` and `prompt_token_ids` are None where the trace does not have them.
    """

    request_id: str
    prompt: str | None
    prompt_token_ids: list[int] | None = field(init=False)
    prompt_tokens: InitVar[Sequence[int] | None]
    outputs: list[CompletionOutput]
    finished: bool

    def __post_init__(self, prompt_tokens: Sequence[int] | None) -> None:
        self._compute_later(prompt_token_ids=lambda: None if prompt_tokens is None else list(prompt_tokens))


def output_of(progress: RequestProgress, num_tokens: int) -> RequestOutput:
    """Return the output of a request as it stands after `num_tokens` output tokens."""
    request = progress.request
    completion = CompletionOutput(
        index=0,
        finish_reason=progress.vllm_finish_reason,
        stop_reason=progress.stop_reason,
        response=progress.response,
        num_tokens=num_tokens,
    )
    return RequestOutput(
        request.id, progress.prompt, request.prompt_token_ids, [completion], completion.finished()
    )
