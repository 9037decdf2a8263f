"""Requests that can never run: vLLM's V0 ignores them in the queue, its V1 refuses them on arrival."""

from __future__ import annotations

from typing import Any

import pytest

from factories import a_record, an_engine, steps_of
from tracesim import RequestError, StalledError


@pytest.mark.parametrize(
    "setting", [{"max_model_len": 3}, {"max_num_batched_tokens": 3}, {"num_gpu_blocks": 3}]
)
def test_simple_ignores_them(setting: dict[str, Any]) -> None:
    """They finish with "length" and emit nothing."""
    records = [a_record(prompt="long"), a_record("r2", prompt="k", response="a")]
    steps = steps_of(an_engine(records, block_size=1, **setting))

    assert [(f.id, f.finish_reason) for s in steps for f in s.finished] == [("r1", "length"), ("r2", "stop")]
    assert [token.id for step in steps for token in step.emitted] == ["r2"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_model_len": 8}, "has 8 tokens, which leaves none for output under max_model_len 8"),
        ({"num_gpu_blocks": 3, "block_size": 4}, "need 3 KV blocks of 4 tokens, more than the 2 available"),
        (
            {"max_num_batched_tokens": 9, "enable_chunked_prefill": False},
            "have 10 tokens, more than max_num_batched_tokens 9; without chunked prefill",
        ),
    ],
)
def test_vllm_v1_refuses_them(settings: dict[str, Any], message: str) -> None:
    engine = an_engine(engine="vllm-v1", **settings)
    with pytest.raises(RequestError, match=message):
        engine.add_record(a_record(prompt="8 tokens", response="abc"))

    engine.add_record(a_record(prompt="7 token", response="a"))
    assert [step.step for step in steps_of(engine)] == [0]


def test_stalled_engine_raises_until_the_request_is_aborted() -> None:
    """The prompt takes the only block, and vLLM's V0 wants a free one for any decode."""
    engine = an_engine([a_record(prompt="Hi")], num_gpu_blocks=1)
    engine.step()
    for _ in range(2):
        with pytest.raises(StalledError, match=r"'r1' can never decode.*; raise num_gpu_blocks"):
            engine.step()
    engine.abort_request("r1")

    assert not engine.has_unfinished_requests()
    assert engine.scheduler.num_free_blocks == 1
