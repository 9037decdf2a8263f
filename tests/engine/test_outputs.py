"""Outputs have vLLM's fields, which are computed when they are first read."""

from __future__ import annotations

import pickle
from dataclasses import asdict

from tracesim import CompletionOutput, RecordedResponse, RequestOutput, SamplingParams, load_tokenizer
from tracesim.responses.recorded_response import RecordedTokens


def an_output(num_tokens: int = 2) -> RequestOutput:
    """Return the output of a request that has emitted the first `num_tokens` tokens of "abc"."""
    recording = RecordedTokens(3, b"abc", load_tokenizer("byte").decode_tokens_bytes)
    completion = CompletionOutput(0, None, None, RecordedResponse(recording, SamplingParams()), num_tokens)
    return RequestOutput("r1", "Hi", b"Hi", [completion], finished=False)


def test_output_as_a_dict() -> None:
    assert asdict(an_output()) == {
        "request_id": "r1",
        "prompt": "Hi",
        "prompt_token_ids": [72, 105],
        "outputs": [
            {
                "index": 0,
                "text": "ab",
                "token_ids": [97, 98],
                "cumulative_logprob": None,
                "logprobs": None,
                "finish_reason": None,
                "stop_reason": None,
            }
        ],
        "finished": False,
    }


def test_output_shows_its_lazy_fields() -> None:
    assert "text='ab', token_ids=[97, 98]" in repr(an_output())


def test_pickled_output_is_equal() -> None:
    output = an_output()

    assert output == pickle.loads(pickle.dumps(output)) != an_output(3)
