"""Why a request waits and for whom one is preempted, worked out by hand for each cause and engine."""

from __future__ import annotations

from typing import Any

import pytest

from factories import a_record, an_engine, steps_of
from tracesim import StepRecord, WaitingFor
from tracesim.analysis.report import report_requests, summarize

V1: dict[str, Any] = {"engine": "vllm-v1", "block_size": 4}
V0: dict[str, Any] = {"engine": "vllm-v0", "block_size": 4, "watermark": 0.0}
SIMPLE: dict[str, Any] = {**V0, "engine": "simple"}


def run_of_two(prompts: tuple[int, int], outputs: int = 3, **settings: Any) -> list[StepRecord]:
    """Return the steps of two requests that arrive at once, with prompts of these lengths."""
    lengths = [{"input_length": prompt, "output_length": outputs} for prompt in prompts]
    records = [a_record(f"r{number}", **each) for number, each in enumerate(lengths, 1)]
    return steps_of(an_engine(records, **settings))


@pytest.mark.parametrize(
    ("engine", "prompts", "settings", "expected"),
    [
        pytest.param(V1, (4, 4), {"max_num_seqs": 1}, ("max_num_seqs", None, None), id="v1-seqs"),
        pytest.param(V0, (4, 4), {"max_num_seqs": 1}, ("max_num_seqs", None, None), id="v0-seqs"),
        pytest.param(SIMPLE, (4, 4), {"max_num_seqs": 1}, ("max_num_seqs", None, None), id="simple-seqs"),
        # The first prompt takes the whole budget. A prompt that may be cut needs any token at all.
        pytest.param(V1, (4, 4), {"max_num_batched_tokens": 4}, ("token_budget", None, None), id="v1-budget"),
        # The first prompt leaves 2 of 6 tokens, and the second has 4.
        pytest.param(V0, (4, 4), {"max_num_batched_tokens": 6}, ("token_budget", 4, 2), id="v0-budget"),
        pytest.param(
            SIMPLE, (4, 4), {"max_num_batched_tokens": 6}, ("token_budget", 4, 2), id="simple-budget"
        ),
        pytest.param(
            V1,
            (4, 4),
            {"max_num_batched_tokens": 6, "enable_chunked_prefill": False},
            ("chunked_prefill_off", 4, 2),
            id="v1-chunks",
        ),
        # Of 5 blocks, one of them the null block in V1, the first prompt of 9 tokens takes 3.
        pytest.param(V1, (9, 9), {"num_gpu_blocks": 5}, ("kv_blocks", 3, 1), id="v1-blocks"),
        pytest.param(V0, (9, 9), {"num_gpu_blocks": 5}, ("kv_blocks", 3, 2), id="v0-blocks"),
        pytest.param(SIMPLE, (9, 9), {"num_gpu_blocks": 5}, ("kv_blocks", 3, 2), id="simple-blocks"),
        # Of 8 blocks a quarter is to stay free: the second prompt needs 3, and 2 must be left.
        pytest.param(
            V1, (9, 9), {"num_gpu_blocks": 8, "watermark": 0.25}, ("watermark", 5, 4), id="v1-watermark"
        ),
        pytest.param(
            V0, (13, 9), {"num_gpu_blocks": 8, "watermark": 0.25}, ("watermark", 5, 4), id="v0-watermark"
        ),
        pytest.param(
            SIMPLE,
            (13, 9),
            {"num_gpu_blocks": 8, "watermark": 0.25},
            ("watermark", 5, 4),
            id="simple-watermark",
        ),
    ],
)
def test_first_step(
    engine: dict[str, Any], prompts: tuple[int, int], settings: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    """The first step admits r1; r2 waits for one cause, and for how much of what."""
    first = run_of_two(prompts, **{**engine, **settings})[0]

    assert first.waiting_for == WaitingFor("r2", *expected)


def test_preemption_in_v1() -> None:
    """Two prompts of 3 tokens take both blocks that V1 can use; in step 2 both requests need another.

    r1 is served first: r2 loses its block to r1, and the step admits nobody. In the next steps r1 has both
    blocks, and r2, with 3 prompt and 2 output tokens, needs 2.
    """
    steps = run_of_two((3, 3), num_gpu_blocks=3, **V1)

    assert [(step.preempted, step.preempted_for) for step in steps[:3]] == [
        ([], []),
        ([], []),
        (["r2"], ["r1"]),
    ]
    assert [step.waiting_for for step in steps[:3]] == [
        None,
        None,
        WaitingFor("r2", "preemption", None, None),
    ]


@pytest.mark.parametrize("engine", [V0, SIMPLE])
def test_preemption_in_v0(engine: dict[str, Any]) -> None:
    """V0 wants to see a free block before a decode: with both blocks taken, r1's decode preempts r2."""
    steps = run_of_two((3, 3), num_gpu_blocks=2, **engine)

    preempting = next(step for step in steps if step.preempted)
    assert (preempting.preempted, preempting.preempted_for) == (["r2"], ["r1"])
    assert preempting.waiting_for == WaitingFor("r2", "preemption", None, None)


def test_a_request_that_preempts_itself() -> None:
    """By priority the least urgent request is the victim, also where it is the one that needs a block."""
    records = [
        a_record("urgent", input_length=3, output_length=3, priority=0),
        a_record("other", input_length=4, output_length=3, priority=1),
    ]
    steps = steps_of(an_engine(records, num_gpu_blocks=3, scheduling_policy="priority", **V1))

    assert [(step.preempted, step.preempted_for) for step in steps if step.preempted] == [
        (["other"], ["other"])
    ]


def test_queue_time_is_split() -> None:
    """Queue time in steps, by cause, of a request that waits for two of them.

    As one request may run at a time, r1 runs in the steps 0 to 2, and r2 and r3 wait for it. r2's prompt of
    8 tokens is computed in the steps 3 and 4, 4 tokens in each.
    """
    records = [
        a_record("r1", input_length=2, output_length=3),
        a_record("r2", input_length=8, output_length=1),
        a_record("r3", input_length=2, output_length=1),
    ]
    engine = an_engine(records, engine="vllm-v1", max_num_seqs=1, max_num_batched_tokens=4)
    engine.run()

    assert [(row.scheduled_step, row.queue_time_by_cause) for row in report_requests(engine)] == [
        (0, {}),
        (3, {"max_num_seqs": 3}),
        (5, {"max_num_seqs": 3, "token_budget": 2}),
    ]
    assert summarize(engine).queue_time_by_cause == {"max_num_seqs": 6, "token_budget": 2}
