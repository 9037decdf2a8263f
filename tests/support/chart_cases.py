"""Steps and pictures for the tests of charts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from factories import a_record, an_engine, steps_of
from tracesim import EmittedToken, FinishedRequest, LLMEngine, ScheduledTokens, StepRecord
from tracesim.charts.chart_data import ChartData
from tracesim.charts.timeline import Timeline, Unit

NASTY = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "a\u202eb\x1b[31m\ud800",
    "$x$ ${title}",
]


def chart_data_of_run(engine: LLMEngine | None = None, unit: Unit = "steps", **more: Any) -> ChartData:
    """A data of a run; each step takes 10 ms where the unit is seconds."""
    engine = engine or a_crowded_engine(12)
    scale, timeline = (1.0 if unit == "steps" else 0.01), Timeline(unit)
    num_blocks = engine.scheduler.num_free_blocks
    for record in steps_of(engine):
        timeline.add(record, record.step * scale, scale)
    for progress in engine.requests.values():
        timeline.arrived(progress.request.id, (progress.arrival_step or 0) * scale)
    return ChartData("a run", timeline, num_blocks=num_blocks, **more)


def a_crowded_engine(requests: int) -> LLMEngine:
    records = [
        a_record(f"r{n}", prompt="p" * 9, response="x" * (n % 9 + 4), arrival_step=n // 2)
        for n in range(requests)
    ]
    return an_engine(records, engine="vllm-v1", num_gpu_blocks=12, block_size=4, max_num_seqs=6)


def a_step(
    number: int,
    prefill: Sequence[tuple[str, int]] = (),
    decode: Sequence[str] = (),
    emitted: Sequence[str] = (),
    finished: Sequence[str] = (),
    preempted: Sequence[str] = (),
    *,
    computed: int = 0,
    running: int = 0,
    waiting: int = 0,
    free_blocks: int | None = None,
) -> StepRecord:
    return StepRecord(
        number,
        [ScheduledTokens(id, computed, tokens) for id, tokens in prefill],  # noqa: A001
        [ScheduledTokens(id, 9, 1) for id in decode],  # noqa: A001
        [EmittedToken(id, None, None) for id in emitted],  # noqa: A001
        [FinishedRequest(id, "stop", None) for id in finished],  # noqa: A001
        preempted,
        running,
        waiting,
        free_blocks,
    )
