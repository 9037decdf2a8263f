"""The story of a request, by hand and against what the engine itself keeps."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from factories import a_record, an_engine, an_engine_with_the_valid
from paths import SAMPLES
from seeded_cases import case_of, late_case_of
from tracesim import LLMEngine, parse_clock
from tracesim.analysis.explanation import (
    Arrival,
    Computation,
    Discard,
    End,
    Explainer,
    FirstToken,
    Period,
    Preemption,
    Story,
    Wait,
)
from tracesim.analysis.queueing import queue_time_by_cause
from tracesim.requests.request import FINISHED_IGNORED
from tracesim.trace.reader import read_records

TIGHT: dict[str, Any] = {
    "engine": "vllm-v1",
    "block_size": 4,
    "num_gpu_blocks": 11,
    "max_num_seqs": 3,
    "max_num_batched_tokens": 16,
    "watermark": 0.0,
}


def stories_of(engine: LLMEngine, *request_ids: str, every_step: bool = False) -> list[Story]:
    explainer = Explainer(engine, request_ids or list(engine.requests))
    if every_step:
        engine.run(lambda record: None, on_stride=explainer.on_stride)
    else:
        engine.run(on_stride=explainer.on_stride)
    return explainer.stories


def steps(first: int, last: int | None = None) -> Period:
    return Period(first, first if last is None else last, None, None)


def test_three_causes_two_preemptions_and_a_stop_string() -> None:
    """r4 of the sample, with 10 blocks of 4 tokens, 3 requests and 16 tokens a step.

    0       r1 takes 13 tokens of the budget and r2 the last 3, so r3 and r4 wait for it.
    1       r1 decodes, r2 takes 13 tokens and r3 the last 2: r4 is next, and nothing is left again.
    2-3     Three requests run, as many as may.
    4       r1, r2 and r3 have 17, 18 and 4 tokens. Their next ones need a 5th block for r1, none for r2, and
            a 2nd for r3. r1 and r2 have 4 and 5 blocks, r3 has 1: none is free after r1's, and r3 is
            preempted, which admits none. r3 is put before r4. r1 finishes, and 5 blocks are free.
    5       r3 takes 2 blocks and r4 its 9 tokens in 3: the first token.
    6       r2 has 20 tokens in 5 blocks and needs a 6th: r4, the last admitted, is preempted for it. r3
            finishes, and leaves its 2 blocks.
    7       r4 computes 9 + 1 tokens again, in 3 blocks of the 4 that are free.
    10      r4 has 13 tokens with the newest and needs a 4th block. r2 took the last one: r4 is preempted.
    11-12   Its 13 tokens need 4 blocks; r2 holds 7 of 10. Then r2 finishes.
    13-21   All 13 tokens again, and the 9 tokens up to the end of "END".
    """
    engine = an_engine(read_records([SAMPLES / "tight_cache.jsonl"]), **TIGHT)

    (story,) = stories_of(engine, "r4")

    assert [
        Arrival(steps(0)),
        Wait(steps(0), "token_budget", {"r3": None}, None, None),
        Wait(steps(1), "token_budget", {}, None, None),
        Wait(steps(2, 3), "max_num_seqs", {}, None, None),
        Wait(steps(4), "preemption", {"r3": None}, None, None),
        Computation(steps(5), 0, is_repeated=False, chunks=[(9, 1)]),
        FirstToken(steps(5)),
        Preemption(steps(6), "r2"),
        Wait(steps(6), "preemption", {}, None, None),
        Computation(steps(7), 0, is_repeated=True, chunks=[(10, 1)]),
        Preemption(steps(10), "r4"),
        Wait(steps(10), "preemption", {}, None, None),
        Wait(steps(11, 12), "kv_blocks", {}, 4, 3),
        Computation(steps(13), 0, is_repeated=True, chunks=[(13, 1)]),
        End(steps(21), is_rejected=False),
    ] == story.events
    assert story.progress.stop_reason == "END"


def test_chunks_and_tokens_from_the_cache() -> None:
    """a has 16 prompt tokens and 3 output tokens; b has 100, of which the first 16 are those of a.

    A step has 20 tokens. In steps 1 and 2 a decodes, so b gets 19; then 20 and 20, and the last 6 of its
    100 - 16 in step 5.
    """
    prompts = {"a": (0,) * 16, "b": (0,) * 16 + (1,) * 84}
    records = [
        a_record(
            request_id,
            prompt_token_ids=prompt,
            response_token_ids=(2, 3, 4),
            arrival_step=arrival,
        )
        for arrival, (request_id, prompt) in enumerate(prompts.items())
    ]
    engine = an_engine(records, engine="vllm-v1", max_num_batched_tokens=20, enable_prefix_caching=True)

    (story,) = stories_of(engine, "b")

    chunks = [(19, 2), (20, 2), (6, 1)]
    assert [
        Arrival(steps(1)),
        Computation(steps(1, 5), 16, is_repeated=False, chunks=chunks),
        FirstToken(steps(5)),
        End(steps(7), is_rejected=False),
    ] == story.events


def test_a_request_that_is_computed_in_vain() -> None:
    """Asynchronously the last token is known one plan late, so that step 2 computes r1 once more."""
    engine = an_engine([a_record(response="ab")], engine="vllm-v1", async_scheduling=True)

    (story,) = stories_of(engine)

    assert [End(steps(1), is_rejected=False), Discard(steps(2))] == story.events[-2:]


def test_a_request_that_can_never_run() -> None:
    engine = an_engine([a_record(prompt="x" * 9)], engine="vllm-v0", max_model_len=8)

    (story,) = stories_of(engine)

    assert [Arrival(steps(0)), End(steps(0), is_rejected=True)] == story.events


def test_times_count_from_the_first_arrival() -> None:
    """r1 arrives at 7 s, r2 one second later in a step of 3 s, and waits for its end."""
    records = [a_record("r1", arrival_time=7.0), a_record("r2", arrival_time=8.0)]
    engine = an_engine(records, clock=parse_clock("constant:3s"))

    (story,) = stories_of(engine, "r2")

    assert [Arrival(Period(1, 1, 1.0, 1.0)), Computation(Period(1, 1, 3.0, 6.0), 0, False, [(2, 1)])] == (
        story.events[:2]
    )


def test_an_unknown_request() -> None:
    with pytest.raises(KeyError, match="r2"):
        Explainer(an_engine([a_record("r1")]), ["r2"])


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("case", [case_of, late_case_of])
def test_stories_agree_with_the_engine(case: Any, seed: int) -> None:
    """Waits add up to the queue time by cause, and events are in the steps in which the engine has them.

    Where requests end late, steps without a record, which do nothing, may have a cause of their own.
    """
    records, settings = case(seed)
    engine, stepped = (an_engine_with_the_valid(records, settings) for _ in range(2))
    stories = stories_of(engine)

    assert [story.events for story in stories_of(stepped, every_step=True)] == [
        story.events for story in stories
    ]
    for story in stories:
        progress = story.progress
        computed = [event for event in story.events if isinstance(event, Computation)]
        if computed:
            assert computed[0].when.first == progress.scheduled_step
            assert computed[0].cached == (progress.state.num_cached_tokens or 0)
            waits: Counter[str] = Counter()
            for event in story.events[: story.events.index(computed[0])]:
                if isinstance(event, Wait):
                    waits[event.cause] += event.when.last - event.when.first + 1
            queue_time = queue_time_by_cause(engine, progress.request.id)
            if not engine.scheduler.discards:
                assert waits == queue_time
            assert waits.total() == sum(queue_time.values())
        first_tokens = [event.when.last for event in story.events if isinstance(event, FirstToken)]
        assert first_tokens == ([] if progress.first_token_step is None else [progress.first_token_step])
        ends = [event.when.last for event in story.events if isinstance(event, End)]
        if progress.last_token_step is not None and progress.state.status is not FINISHED_IGNORED:
            assert ends == [progress.last_token_step]
        preemptions = sum(isinstance(event, Preemption) for event in story.events)
        assert preemptions == progress.state.num_preemptions
