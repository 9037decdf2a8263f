"""Requests and engine settings as Hypothesis draws them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hypothesis import strategies as st

from factories import a_record
from tracesim import TraceRecord


class Asked(NamedTuple):
    """A request as a property draws it: lengths, and what it is asked under."""

    prompt: int
    response: int
    arrival_step: int
    max_tokens: int | None
    priority: int


asked = st.lists(
    st.builds(
        Asked,
        st.integers(1, 20),
        st.integers(0, 12),
        st.integers(0, 9),
        st.none() | st.integers(1, 12),
        st.integers(-1, 1),
    ),
    min_size=1,
    max_size=12,
)


common = {
    "max_num_seqs": st.integers(1, 5),
    "block_size": st.sampled_from([1, 4]),
    "num_gpu_blocks": st.integers(40, 60),
}


token_budget = {
    **common,
    "max_num_batched_tokens": st.integers(33, 48) | st.just(2048),
    "watermark": st.sampled_from([0.0, 0.1]),
    "enable_prefix_caching": st.booleans(),
    "enable_chunked_prefill": st.booleans(),
    "scheduling_policy": st.sampled_from(["fcfs", "priority"]),
    "long_prefill_token_threshold": st.sampled_from([0, 5]),
    "scheduler_reserve_full_isl": st.booleans(),
}


engines = st.one_of(
    st.fixed_dictionaries({"engine": st.sampled_from(["simple", "vllm-v0"]), **common}),
    st.fixed_dictionaries({"engine": st.just("vllm-v1"), **token_budget}),
)


def records_of(asked: Sequence[Asked]) -> list[TraceRecord]:
    """Prompts and responses are all prefixes of the same two texts, so that prefixes are shared."""
    return [
        a_record(
            f"r{number}",
            prompt=("prefix" * 4)[: one.prompt],
            response="abcdefghijkl"[: one.response],
            arrival_step=one.arrival_step,
            max_tokens=one.max_tokens,
            priority=one.priority,
        )
        for number, one in enumerate(asked)
    ]
