"""Time under asynchronous scheduling, worked out by hand."""

from __future__ import annotations

from factories import a_record, an_engine, steps_of
from tracesim import TraceRecord, measure_run, parse_clock
from tracesim.analysis.report import TimedRequestReport, report_requests


def a_timed_record(
    name: str, arrival_time: float, output_length: int, max_tokens: int | None = None
) -> TraceRecord:
    return a_record(
        name, input_length=4, output_length=output_length, max_tokens=max_tokens, arrival_time=arrival_time
    )


def test_an_arrival_waits_for_the_rest_of_one_step_and_all_of_another() -> None:
    """Each batch takes 10 ms, and batch n + 1 is planned when batch n starts.

    a arrives at 0 and runs in batches 0 to 4, which start at 0, 10, 20, 30 and 40 ms. Batch 2 is planned at
    10 ms, before b arrives at 12 ms. Batch 3 is planned at 20 ms, with b, and runs from 30 to 40 ms. b ends
    by its limit, so it is passed over. a ends by the token of batch 4, and batch 5 computes it in vain.
    """
    engine = an_engine(
        [a_timed_record("a", 0.0, 5), a_timed_record("b", 0.012, 9, max_tokens=1)],
        clock=parse_clock("constant:10ms"),
        engine="vllm-v1",
        async_scheduling=True,
    )
    steps = steps_of(engine)
    a, b = report_requests(engine)
    metrics = measure_run(engine)

    assert [step.start for step in steps] == [0.0, 0.01, 0.02, 0.03, 0.04, 0.05]
    assert [[entry.id for entry in step.prefill] for step in steps] == [["a"], [], [], ["b"], [], []]
    assert [step.discarded for step in steps] == [[], [], [], [], [], ["a"]]
    assert isinstance(a, TimedRequestReport)
    assert isinstance(b, TimedRequestReport)
    assert (a.ttft, a.e2e) == (0.01, 0.05)
    assert (b.queue_time, b.ttft) == (0.018, 0.028)
    assert metrics is not None
    assert metrics.duration == 0.05


def test_an_empty_batch_takes_no_time() -> None:
    """A plan is empty after a request that ends by its limit; one that comes later starts at once."""
    engine = an_engine(
        [a_timed_record("a", 0.0, 9, max_tokens=2), a_timed_record("b", 1.0, 9, max_tokens=2)],
        clock=parse_clock("constant:10ms"),
        engine="vllm-v1",
        async_scheduling=True,
    )
    steps = steps_of(engine)

    assert [step.start for step in steps] == [0.0, 0.01, 1.0, 1.01]
    assert [step.discarded for step in steps] == [[], [], [], []]
