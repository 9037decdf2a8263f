"""Timelines: which request is in which phase when, and what each stride does."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chart_cases import CLOCK, a_stride, a_timeline, chart_data_of_run
from factories import a_record, an_engine, an_engine_with_the_valid, steps_of
from random_cases import (
    DrawnRequest,
    drawn_async_settings,
    drawn_requests,
    drawn_settings,
    records_of,
)
from seeded_cases import case_of, late_case_of
from tracesim import StepRecord, TraceRecord
from tracesim.charts.timeline import UNLIMITED, Chunks, Phase, Preemption, Timeline
from tracesim.timing.clock import PER_SECOND


def spans_of(timeline: Timeline, request_id: str) -> list[tuple[str, float, float]]:
    spans = timeline.requests[request_id].all_spans(timeline.end)
    return [(span.phase.name.lower(), span.start, span.end) for span in spans]


def test_a_request_waits_prefills_in_chunks_and_decodes() -> None:
    timeline = a_timeline(
        a_stride(3, prefill=[("a", 8)]),
        a_stride(4, prefill=[("a", 5)], started=["a"]),
        a_stride(5, num_decodes=1, finished=["a"], steps=2),
        a=1,
    )

    assert spans_of(timeline, "a") == [("queued", 1, 3), ("prefill", 3, 5), ("decode", 5, 7)]
    assert timeline.requests["a"].chunks == [Chunks(1, 8), Chunks(1, 5)]


def test_equal_chunks_one_after_another_are_one_group() -> None:
    timeline = a_timeline(
        a_stride(0, prefill=[("a", 8)], steps=3),
        a_stride(3, prefill=[("a", 8)]),
        a_stride(4, prefill=[("a", 2)]),
    )

    assert timeline.requests["a"].chunks == [Chunks(4, 8), Chunks(1, 2)]


def test_decode_begins_where_the_prompt_is_computed_though_others_come_first() -> None:
    timeline = a_timeline(
        a_stride(0, prefill=[("a", 8)]),
        a_stride(1, prefill=[("b", 8)]),
        a_stride(2, num_decodes=2, started=["a", "b"], finished=["a", "b"]),
    )

    assert spans_of(timeline, "a") == [("prefill", 0, 1), ("decode", 1, 3)]


def test_a_chunk_that_has_to_wait_is_still_prefill() -> None:
    timeline = a_timeline(
        a_stride(0, prefill=[("a", 8)]),
        a_stride(1, prefill=[("b", 8)], started=["b"], finished=["b"]),
        a_stride(2, prefill=[("a", 1)], started=["a"], finished=["a"]),
    )

    assert spans_of(timeline, "a") == [("prefill", 0, 3)]


def test_a_preempted_request_waits_and_is_prefilled_again() -> None:
    timeline = a_timeline(
        a_stride(0, prefill=[("a", 8)], started=["a"]),
        a_stride(1, num_decodes=1),
        a_stride(2, num_decodes=1, preempted=["a"], finished=["b"]),
        a_stride(3, prefill=[("a", 10)], started=["a"]),
        a_stride(4, num_decodes=1, finished=["a"]),
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
    assert timeline.requests["a"].preemptions == [Preemption(2, "a")]


def test_a_preempted_request_whose_blocks_are_all_cached_decodes_at_once() -> None:
    timeline = a_timeline(
        a_stride(0, prefill=[("a", 8)], started=["a"]),
        a_stride(1, preempted=["a"]),
        a_stride(2, num_decodes=1, started=["a"]),
    )

    assert spans_of(timeline, "a") == [("prefill", 0, 1), ("preempted", 1, 2), ("decode", 2, 3)]


def test_a_request_that_is_ignored_was_only_queued() -> None:
    assert spans_of(a_timeline(a_stride(4, finished=["a"]), a=2), "a") == [("queued", 2, 5)]


def test_a_request_that_is_computed_in_vain_is_discarded_after_its_end() -> None:
    """Under asynchronous scheduling `a` ends by a token and is computed once more, in vain."""
    engine = an_engine(
        [a_record("a", prompt="pp", response="xy"), a_record("b", prompt="pp", response="xyz")],
        engine="vllm-v1",
        async_scheduling=True,
    )
    timeline = chart_data_of_run(engine).timeline

    assert spans_of(timeline, "a") == [("prefill", 0, 1), ("decode", 1, 2), ("discarded", 2, 3)]
    assert list(timeline.strides.discarded_decodes) == [0, 0, 1, 1]
    assert list(timeline.strides.running) == [2, 2, 2, 1]
    assert timeline.phases == list(Phase)


def test_nothing_but_discarded_steps_follows_the_end_of_a_request() -> None:
    """It is preempted after its end, and its prompt is computed again before its abort comes."""
    timeline = a_timeline(
        a_stride(0, prefill=[("a", 8)], started=["a"]),
        a_stride(1, num_decodes=1, finished=["a"]),
        a_stride(2, num_decodes=1, preempted=["a"]),
        a_stride(3, prefill=[("a", 9)], discarded=["a"]),
        a_stride(4, prefill=[("a", 9)], discarded=["a"]),
    )

    assert spans_of(timeline, "a") == [("prefill", 0, 1), ("decode", 1, 2), ("discarded", 3, 5)]


def test_what_has_not_ended_ends_with_the_last_step() -> None:
    timeline = a_timeline(
        a_stride(0, prefill=[("a", 8)], started=["a"]), a_stride(1, num_decodes=1), b=0, c=9
    )

    assert spans_of(timeline, "a") == [("prefill", 0, 1), ("decode", 1, 2)]
    assert (spans_of(timeline, "b"), spans_of(timeline, "c")) == ([("queued", 0, 2)], [])


def test_strides_are_kept_as_columns() -> None:
    timeline = Timeline("s")
    timeline.add(a_stride(0, [("a", 8), ("b", 3)], 1, waiting=2, free_blocks=7), 0.5, 0.75)
    timeline.add(a_stride(4, steps=9), 2.0, 2.5)
    strides = timeline.strides

    assert [list(each) for each in (strides.number, strides.steps, strides.start, strides.end)] == [
        [0, 4],
        [1, 9],
        [0.5, 2.0],
        [0.75, 2.5],
    ]
    assert [
        list(each) for each in (strides.prefill_requests, strides.prefill_tokens, strides.decode_requests)
    ] == [
        [2, 0],
        [11, 0],
        [1, 0],
    ]
    assert [list(each) for each in (strides.running, strides.waiting, strides.free_blocks)] == [
        [2, 2],
        [2, 0],
        [7, UNLIMITED],
    ]
    assert (timeline.start, timeline.end, timeline.num_steps) == (0.5, 2.5, 10)


def test_strides_with_the_same_batch_are_joined_unless_something_happens_between_them() -> None:
    timeline = a_timeline(
        a_stride(0, num_decodes=2, steps=3, free_blocks=9),
        a_stride(3, num_decodes=2, free_blocks=8),
        a_stride(4, num_decodes=2, finished=["a"]),
        a_stride(5, num_decodes=2),
        a_stride(7, num_decodes=2),
        a_stride(8, num_decodes=2, preempted=["b"]),
        a_stride(9, num_decodes=2, waiting=1),
        a_stride(10, [("b", 4)], num_decodes=2, waiting=1),
        a_stride(11, [("c", 4)], num_decodes=2, waiting=1),
    )

    assert list(timeline.strides.number) == [0, 5, 7, 8, 9, 10, 11]
    assert list(timeline.strides.steps) == [5, 1, 1, 1, 1, 1, 1]


def test_a_timeline_without_strides_has_no_length() -> None:
    assert (Timeline().start, Timeline().end) == (0, 0)


@dataclass(eq=False)
class PlainRequest:
    """What the plain timeline knows of one request: its phase now, and in each step from its first on."""

    phase: str | None = None
    in_steps: list[tuple[str, float, float]] = field(default_factory=list)
    num_computed_steps: int = 0
    num_preemptions: int = 0
    chunks: list[int] = field(default_factory=list)
    has_ended: bool = False

    def preempt(self) -> None:
        """Wait again, unless the request was only computed in vain."""
        self.num_preemptions += 1
        if not self.has_ended:
            self.phase = "preempted"

    def decode(self) -> None:
        """Decode from the end of the prefill on, also in steps since then that skipped the request."""
        if self.phase == "prefill":
            since = self.num_computed_steps
            self.in_steps[since:] = [("decode", start, end) for _, start, end in self.in_steps[since:]]
        self.phase = "decode"

    def pass_step(self, times: tuple[float, float], *, is_discarded: bool) -> None:
        """Note the phase in a step."""
        if self.phase is not None:
            self.in_steps.append((self.phase, *times))
        if is_discarded:
            self.in_steps.append(("discarded", *times))

    def spans(self) -> list[tuple[str, float, float]]:
        """Return the phases, each with its start and end; those of no duration are omitted."""
        spans: list[tuple[str, float, float]] = []
        for name, start, end in self.in_steps:
            if (
                spans and name != "discarded"
            ):  # a phase lasts until the next, also over steps without a record
                spans[-1] = (*spans[-1][:2], start)
            if spans and spans[-1][0] == name and spans[-1][2] == pytest.approx(start):
                start = spans.pop()[1]
            spans.append((name, start, end))
        return [(name, start, end) for name, start, end in spans if start < end]


def plain_timeline(steps: Sequence[StepRecord], origin: float) -> Mapping[str, PlainRequest]:
    """Return what each request does, step by step, in the simplest way.

    A request that starts to decode after steps that skip it decodes from the end of its prefill on.
    """
    requests: dict[str, PlainRequest] = defaultdict(PlainRequest)
    for step in steps:
        start = step.step if step.start is None else step.start - origin
        times = start, start + (1 if step.duration is None else step.duration)
        for request_id in step.preempted:
            requests[request_id].preempt()
        discarded = [requests[request_id] for request_id in step.discarded or ()]
        computed = {entry.id: entry.tokens for entry in step.prefill if requests[entry.id] not in discarded}
        for request_id, tokens in computed.items():
            requests[request_id].phase = "prefill"
            requests[request_id].chunks.append(tokens)
        for token in step.emitted:
            if token.id not in computed:
                requests[token.id].decode()
        for request in requests.values():
            request.pass_step(times, is_discarded=request in discarded)
        for request_id in computed:
            requests[request_id].num_computed_steps = len(requests[request_id].in_steps)
        for request in [requests[token.id] for token in step.emitted]:
            request.phase = "decode"
        for request in [requests[finished.id] for finished in step.finished]:
            request.has_ended, request.phase = True, None
    return requests


def check_timeline(records: Sequence[TraceRecord], settings: dict[str, Any], clock: str) -> None:
    """Check the timeline of a run against the plain one, and against the totals of its steps."""
    plain_engine = an_engine_with_the_valid(records, settings, clock)
    steps = steps_of(plain_engine)
    origin = 0.0 if plain_engine.timekeeper is None else plain_engine.timekeeper.start / PER_SECOND
    expected = plain_timeline(steps, origin)
    timeline = chart_data_of_run(an_engine_with_the_valid(records, settings, clock)).timeline
    strides = timeline.strides

    for request in timeline.requests.values():
        plain, spans = expected[request.id], spans_of(timeline, request.id)
        in_phases = [span for span in spans if span[0] != "queued"]
        assert [name for name, _, _ in plain.spans()] == [name for name, _, _ in in_phases]
        assert [pytest.approx(span[1:]) for span in plain.spans()] == [span[1:] for span in in_phases]
        assert plain.num_preemptions == len(request.preemptions)
        assert plain.chunks == [group.tokens for group in request.chunks for _ in range(group.number)]
    assert len(steps) == timeline.num_steps
    durations = [1 if step.duration is None else step.duration for step in steps]
    lengths = [end - start for start, end in zip(strides.start, strides.end, strict=True)]
    assert pytest.approx(sum(durations)) == sum(lengths)
    assert [figures_of(step) for step in steps] == [
        figures
        for num_steps, *figures in zip(
            strides.steps,
            strides.prefill_requests,
            strides.prefill_tokens,
            strides.decode_requests,
            strides.discarded_decodes,
            strict=True,
        )
        for _ in range(num_steps)
    ]
    if all(step.launched is None for step in steps):
        waiting = zip(strides.waiting, strides.steps, strict=True)
        assert [step.waiting for step in steps] == [
            each for each, num_steps in waiting for _ in range(num_steps)
        ]
    by_step = chart_data_of_run(
        an_engine_with_the_valid(records, settings, clock), by_step=True
    ).timeline.strides
    assert vars(by_step) == {
        name: pytest.approx(list(values)) if name in ("start", "end") else values
        for name, values in vars(strides).items()
    }


def figures_of(step: StepRecord) -> list[int]:
    """Return the figures of a step that columns of strides have."""
    discarded = step.discarded or ()
    return [
        len(step.prefill),
        sum(entry.tokens for entry in step.prefill),
        len(step.decode),
        sum(entry.id in discarded for entry in step.decode),
    ]


@given(drawn_requests, drawn_settings | drawn_async_settings, st.sampled_from(["steps", CLOCK]))
def test_a_timeline_is_that_of_the_steps(
    requests: Sequence[DrawnRequest], settings: dict[str, Any], clock: str
) -> None:
    check_timeline(records_of(requests, clock), settings, clock)


@pytest.mark.parametrize("seed", range(60))
def test_a_timeline_is_that_of_the_steps_where_much_is_short(seed: int) -> None:
    check_timeline(*case_of(seed), "steps")
    check_timeline(*late_case_of(seed), "steps")


@pytest.mark.parametrize("engine", ["simple", "vllm-v0", "vllm-v1"])
def test_spans_of_a_run_meet_and_agree_with_the_engine(engine: str) -> None:
    records = [
        a_record(f"r{n}", prompt="p" * (n % 7 + 1), response="x" * (n % 11 + 1), arrival_step=n % 5)
        for n in range(40)
    ]
    runner = an_engine(records, engine=engine, num_gpu_blocks=12, block_size=4, max_num_seqs=6)
    timeline = chart_data_of_run(runner).timeline

    assert any(request.preemptions for request in timeline.requests.values())
    all_spans = timeline.spans_by_request()
    for progress in runner.requests.values():
        request = timeline.requests[progress.request.id]
        spans = all_spans[request.index]
        assert all(a.end == b.start for a, b in pairwise(spans))
        assert sum(span.phase is Phase.PREEMPTED for span in spans) == len(request.preemptions)
        assert progress.request.arrival == spans[0].start
        assert progress.last_token_step == spans[-1].end - 1
        assert (progress.state.num_output_tokens, progress.request.num_prompt_tokens) == (
            request.output_tokens,
            request.prompt_tokens,
        )
