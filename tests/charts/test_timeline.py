"""A run laid over time, from step records made by hand."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from chart_cases import a_step
from factories import a_record, an_engine, steps_of
from tracesim.charts.timeline import UNLIMITED, Phase, Timeline
from tracesim.engine.step_records import StepRecord


def a_timeline(*steps: StepRecord, **arrivals: float) -> Timeline:
    timeline = Timeline()
    for request_id, time in arrivals.items():
        timeline.arrived(request_id, time)
    for step in steps:
        timeline.add(step, step.step, 1.0)
    return timeline


def spans_of(timeline: Timeline, request_id: str) -> list[tuple[str, float, float]]:
    spans = timeline.spans_by_request()[timeline.requests[request_id].index]
    return [(span.phase.name.lower(), span.start, span.end) for span in spans]


def test_a_request_is_queued_then_prefilled_then_decoded() -> None:
    timeline = a_timeline(
        a_step(3, prefill=[("a", 8)]),
        a_step(4, prefill=[("a", 5)], emitted=["a"], computed=8),
        a_step(5, decode=["a"], emitted=["a"]),
        a_step(6, decode=["a"], emitted=["a"], finished=["a"]),
        a=1,
    )
    request = timeline.requests["a"]

    assert spans_of(timeline, "a") == [("queued", 1, 3), ("prefill", 3, 5), ("decode", 5, 7)]
    assert (
        request.prompt_tokens,
        request.output_tokens,
        request.preemptions,
        request.finish_reason,
    ) == (13, 3, 0, "stop")


def test_decode_begins_where_the_prompt_is_computed_though_others_come_first() -> None:
    timeline = a_timeline(
        a_step(0, prefill=[("a", 8)]),
        a_step(1, prefill=[("b", 8)]),
        a_step(2, decode=["a", "b"], emitted=["a", "b"], finished=["a", "b"]),
    )

    assert spans_of(timeline, "a") == [("prefill", 0, 1), ("decode", 1, 3)]


def test_a_chunk_that_has_to_wait_is_still_prefill() -> None:
    timeline = a_timeline(
        a_step(0, prefill=[("a", 8)]),
        a_step(1, prefill=[("b", 8)], emitted=["b"], finished=["b"]),
        a_step(2, prefill=[("a", 1)], emitted=["a"], finished=["a"], computed=8),
    )

    assert spans_of(timeline, "a") == [("prefill", 0, 3)]


def test_a_preempted_request_waits_and_is_prefilled_again() -> None:
    timeline = a_timeline(
        a_step(0, prefill=[("a", 8)], emitted=["a"]),
        a_step(1, decode=["a"], emitted=["a"]),
        a_step(2, decode=["b"], preempted=["a"], finished=["b"]),
        a_step(3, prefill=[("a", 10)], emitted=["a"]),
        a_step(4, decode=["a"], emitted=["a"], finished=["a"]),
        a=0,
        b=0,
    )

    assert spans_of(timeline, "a") == [
        ("prefill", 0, 1),
        ("decode", 1, 2),
        ("preempted", 2, 3),
        ("prefill", 3, 4),
        ("decode", 4, 5),
    ]
    assert (
        timeline.requests["a"].prompt_tokens,
        timeline.requests["a"].output_tokens,
        timeline.requests["a"].preemptions,
    ) == (8, 4, 1)


def test_a_request_that_is_ignored_was_only_queued() -> None:
    timeline = a_timeline(a_step(4, finished=["a"]), a=2)

    assert spans_of(timeline, "a") == [("queued", 2, 5)]


def test_a_request_that_is_computed_in_vain_is_discarded_after_its_end() -> None:
    """Under asynchronous scheduling `a` ends by a token and is computed once more, in vain."""
    engine = an_engine(
        [a_record("a", prompt="pp", response="xy"), a_record("b", prompt="pp", response="xyz")],
        engine="vllm-v1",
        async_scheduling=True,
    )
    timeline = a_timeline(*steps_of(engine))

    assert spans_of(timeline, "a") == [("prefill", 0, 1), ("decode", 1, 2), ("discarded", 2, 3)]
    assert list(timeline.steps.discarded_decodes) == [0, 0, 1, 1]
    assert timeline.phases == list(Phase)


def test_nothing_but_discarded_steps_follows_the_end_of_a_request() -> None:
    """It is preempted after its end, and its prompt is computed again before its abort comes."""
    timeline = a_timeline(
        a_step(0, prefill=[("a", 8)], emitted=["a"]),
        a_step(1, decode=["a"], emitted=["a"], finished=["a"]),
        a_step(2, decode=["b"], preempted=["a"]),
        replace(a_step(3, prefill=[("a", 9)]), discarded=["a"]),
    )

    assert spans_of(timeline, "a") == [("prefill", 0, 1), ("decode", 1, 2), ("discarded", 3, 4)]
    assert timeline.requests["a"].preemptions == 1


def test_what_has_not_ended_ends_with_the_last_step() -> None:
    timeline = a_timeline(a_step(0, prefill=[("a", 8)], emitted=["a"]), a_step(1, decode=["a"]), b=0, c=9)

    assert spans_of(timeline, "a") == [("prefill", 0, 1), ("decode", 1, 2)]
    assert (spans_of(timeline, "b"), spans_of(timeline, "c")) == ([("queued", 0, 2)], [])


def test_steps_are_kept_as_columns() -> None:
    timeline = Timeline("s")
    timeline.add(a_step(0, [("a", 8), ("b", 3)], ["c"], running=3, waiting=2, free_blocks=7), 0.5, 0.25)
    timeline.add(a_step(4), 2.0, 0.5)
    steps = timeline.steps

    assert (list(steps.number), list(steps.start), list(steps.duration)) == ([0, 4], [0.5, 2.0], [0.25, 0.5])
    assert (
        list(steps.prefill_requests),
        list(steps.prefill_tokens),
        list(steps.decode_requests),
    ) == ([2, 0], [11, 0], [1, 0])
    assert (
        list(steps.running),
        list(steps.waiting),
        list(steps.free_blocks),
    ) == ([3, 0], [2, 0], [7, UNLIMITED])
    assert (timeline.start, timeline.end) == (0.5, 2.5)


def test_a_timeline_without_steps_has_no_length() -> None:
    assert (Timeline().start, Timeline().end) == (0, 0)


@pytest.mark.parametrize("engine", ["simple", "vllm-v0", "vllm-v1"])
def test_spans_of_a_real_run_meet_and_agree_with_the_engine(engine: str) -> None:
    records = [
        a_record(f"r{n}", prompt="p" * (n % 7 + 1), response="x" * (n % 11 + 1), arrival_step=n % 5)
        for n in range(40)
    ]
    runner = an_engine(records, engine=engine, num_gpu_blocks=12, block_size=4, max_num_seqs=6)
    timeline = Timeline()
    for record in steps_of(runner):
        timeline.add(record, record.step, 1.0)
    for progress in runner.requests.values():
        timeline.arrived(progress.request.id, progress.request.arrival)

    assert any(request.preemptions for request in timeline.requests.values())
    all_spans = timeline.spans_by_request()
    for progress in runner.requests.values():
        request = timeline.requests[progress.request.id]
        spans = all_spans[request.index]
        assert all(a.end == b.start for a, b in pairwise(spans))
        assert sum(span.phase is Phase.PREEMPTED for span in spans) == request.preemptions
        assert progress.request.arrival == spans[0].start
        assert progress.last_token_step == spans[-1].end - 1
        assert (progress.state.num_output_tokens, progress.request.num_prompt_tokens) == (
            request.output_tokens,
            request.prompt_tokens,
        )
