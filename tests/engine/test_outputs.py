"""What a step gives a client: vLLM's fields, worked out when they are asked for."""

from __future__ import annotations

import pickle
from dataclasses import asdict

from tracesim import CompletionOutput, RecordedResponse, RequestOutput, SamplingParams, load_tokenizer
from tracesim.responses.recorded_response import RecordedTokens


def an_output(num_tokens: int = 2) -> RequestOutput:
    """An output of a request that has emitted the first tokens of "abc"."""
    recording = RecordedTokens(3, b"abc", load_tokenizer("byte").decode_tokens_bytes)
    completion = CompletionOutput(0, None, None, RecordedResponse(recording, SamplingParams()), num_tokens)
    return RequestOutput("r1", "Hi", b"Hi", [completion], finished=False)


def test_an_output_as_a_dict_has_vllms_fields() -> None:
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


def test_an_output_shows_what_was_said() -> None:
    assert "text='ab', token_ids=[97, 98]" in repr(an_output())


def test_outputs_can_be_compared_and_sent_elsewhere() -> None:
    output = an_output()

    assert output == pickle.loads(pickle.dumps(output)) != an_output(3)
