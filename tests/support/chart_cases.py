"""Strides and data for the tests of charts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from factories import a_record, an_engine
from tracesim import FinishedRequest, LLMEngine, ScheduledTokens
from tracesim.charts.chart_data import ChartData
from tracesim.charts.timeline import Timeline
from tracesim.charts.timeline_recorder import TimelineRecorder
from tracesim.engine.stride_records import StrideRecord
from tracesim.timing.clock import Clock, parse_clock

NASTY = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "a\u202eb\x1b[31m\ud800",
    "$x$ ${title}",
]
CLOCK = "linear:base=10ms,prefill=1ms,decode=2ms"


def chart_data_of_run(engine: LLMEngine | None = None, *, by_step: bool = False, **more: Any) -> ChartData:
    """Run an engine, by default the crowded one without a clock, and return the data of its charts."""
    engine = engine or a_crowded_engine(12)
    recorder = TimelineRecorder(engine)
    engine.run((lambda _: None) if by_step else None, on_stride=recorder.on_stride)
    return recorder.chart_data("a run", **more)


def a_crowded_engine(requests: int, clock: str = "steps") -> LLMEngine:
    """Return an engine whose requests wait for places and blocks, and are preempted."""
    parsed: Clock | None = parse_clock(clock)
    records = [
        a_record(f"r{n}", prompt="p" * 9, response="x" * (n % 9 + 4), arrival_step=n // 2)
        for n in range(requests)
    ]
    if parsed is not None:
        records = [each._replace(arrival_step=0, arrival_time=each.arrival_step * 0.02) for each in records]
    return an_engine(records, engine="vllm-v1", num_gpu_blocks=12, block_size=4, max_num_seqs=6, clock=parsed)


def a_stride(
    step: int,
    prefill: Sequence[tuple[str, int]] = (),
    num_decodes: int = 0,
    started: Sequence[str] = (),
    finished: Sequence[str] = (),
    preempted: Sequence[str] = (),
    *,
    steps: int = 1,
    discarded: Sequence[str] = (),
    waiting: int = 0,
    free_blocks: int | None = None,
) -> StrideRecord:
    """Return a stride record; who is preempted needed the blocks itself."""
    return StrideRecord(
        step,
        steps,
        num_decodes,
        0,
        0,
        waiting,
        free_blocks,
        prefill=[ScheduledTokens(id, 0, tokens) for id, tokens in prefill],  # noqa: A001
        started=started,
        finished=[FinishedRequest(id, "stop", None) for id in finished],  # noqa: A001
        preempted=preempted,
        preempted_for=preempted,
        discarded=discarded,
    )


def a_timeline(*strides: StrideRecord, **arrivals: float) -> Timeline:
    """Return the timeline of strides without a clock, and of requests that arrive as given."""
    timeline = Timeline()
    for stride in strides:
        timeline.add(stride, stride.step, stride.step + stride.steps)
    for request_id, time in arrivals.items():
        timeline.request(request_id, time).arrival = time
    return timeline
