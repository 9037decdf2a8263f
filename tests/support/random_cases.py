"""Requests and engine settings as Hypothesis draws them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hypothesis import strategies as st

from factories import a_record
from tracesim import Clock, TraceRecord
from tracesim.timing.clock import PER_SECOND


class DrawnRequest(NamedTuple):
    """A request as Hypothesis draws it: the lengths of prompt and response, its arrival, and its limits."""

    prompt: int
    response: int
    arrival_step: int
    max_tokens: int | None
    priority: int


drawn_requests = st.lists(
    st.builds(
        DrawnRequest,
        st.integers(1, 20),
        st.integers(0, 12),
        st.integers(0, 9),
        st.none() | st.integers(1, 12),
        st.integers(-1, 1),
    ),
    min_size=1,
    max_size=12,
)


common_settings = {
    "max_num_seqs": st.integers(1, 5),
    "block_size": st.sampled_from([1, 4]),
    "num_gpu_blocks": st.integers(40, 60),
}


vllm_v1_settings = {
    **common_settings,
    "engine": st.just("vllm-v1"),
    "max_num_batched_tokens": st.integers(33, 48) | st.just(2048),
    "watermark": st.sampled_from([0.0, 0.1]),
    "enable_prefix_caching": st.booleans(),
    "enable_chunked_prefill": st.booleans(),
    "scheduling_policy": st.sampled_from(["fcfs", "priority"]),
    "long_prefill_token_threshold": st.sampled_from([0, 5]),
    "scheduler_reserve_full_isl": st.booleans(),
}


drawn_settings = st.one_of(
    st.fixed_dictionaries({"engine": st.sampled_from(["simple", "vllm-v0"]), **common_settings}),
    st.fixed_dictionaries(vllm_v1_settings),
)

drawn_async_settings = st.fixed_dictionaries({**vllm_v1_settings, "async_scheduling": st.just(True)})


CLOCK = "linear:base=3ms,prefill=100us,decode=1ms,context=1us"
"""A clock whose steps take about the time between two arrivals of `records_of`."""

steps_or_clock = st.sampled_from(["steps", CLOCK])


def records_of(requests: Sequence[DrawnRequest], clock: str = "steps") -> list[TraceRecord]:
    """Return records whose prompts, and whose responses, are prefixes of one text: prefixes are shared.

    Under a clock they arrive at times, 7 ms apart for each step.
    """
    has_clock = clock != "steps"
    return [
        a_record(
            f"r{number}",
            prompt=("prefix" * 4)[: request.prompt],
            response="abcdefghijkl"[: request.response],
            arrival_step=0 if has_clock else request.arrival_step,
            arrival_time=request.arrival_step * 0.007 if has_clock else None,
            max_tokens=request.max_tokens,
            priority=request.priority,
        )
        for number, request in enumerate(requests)
    ]


MS = PER_SECOND // 1000
PS = PER_SECOND // 10**12

drawn_clocks = st.builds(
    Clock,
    base=st.integers(1, 30).map(lambda ms: ms * MS),
    prefill=st.sampled_from([0, 333_333_333 * PS]),
    decode=st.sampled_from([0, MS]),
    context=st.sampled_from([0, 142_857_142 * PS]),
    prefill_context=st.sampled_from([0, 0, 1_000_001 * PS]),
    first=st.sampled_from([(), ((4, 333_333_333 * PS), (32, MS))]),
)
"""Clocks whose times are whole picoseconds, as those of step records are when they are rounded to them."""
