"""Checks in vLLM's front end: which requests have an answer, and what no recording can provide."""

from __future__ import annotations

from typing import Any, Final

from tracesim.errors import RequestError
from tracesim.vllm.answers import RecordedAnswers

_UNRECORDED: Final = {
    "logprobs": "a recording has no logprobs",
    "prompt_logprobs": "a recording has no logprobs",
    "structured_outputs": "what was recorded cannot be made to follow a structure",
    "logit_bias": "what was recorded cannot be biased",
    "bad_words": "what was recorded cannot be changed",
    "allowed_token_ids": "what was recorded cannot be changed",
}
"""Sampling parameters that would change an answer, and why they cannot."""


def check(request: Any) -> None:
    """Raise RequestError for a request to vLLM that no recording can answer."""
    if request.sampling_params is None or request.prompt_token_ids is None:
        raise RequestError("a trace answers text with text; it has nothing for pooling or embeddings")
    for name, reason in _UNRECORDED.items():
        if getattr(request.sampling_params, name, None) not in (None, [], {}):
            raise RequestError(f"{name} cannot be simulated: {reason}")


def prepare(request: Any, answers: RecordedAnswers) -> None:
    """Refuse a request that cannot be answered; else add the limits of the trace that it does not have.

    Of two `max_tokens` the smaller one holds. Raises RequestError, and UnknownPromptError with the nearest
    prompt.
    """
    check(request)
    params = request.sampling_params
    recorded = answers.limits(request.prompt_token_ids)
    if recorded.max_tokens is not None:
        params.max_tokens = min(recorded.max_tokens, params.max_tokens or recorded.max_tokens)
    if recorded.stop_strings and not params.stop:
        params.stop = list(recorded.stop_strings)
        if not params.include_stop_str_in_output:
            # vLLM holds back this many characters of a stream, in case they begin a stop string.
            params.output_text_buffer_length = max(map(len, params.stop)) - 1
