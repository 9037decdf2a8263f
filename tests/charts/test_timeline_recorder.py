"""From an engine's run to its data, with and without a clock."""

from __future__ import annotations

from collections import Counter

import pytest

from factories import a_record
from tracesim import EngineArgs, LLMEngine, TraceSimulator, load_tokenizer
from tracesim.analysis.percentiles import PERCENTILES
from tracesim.analysis.report import measure_run
from tracesim.charts.chart_data import ChartData
from tracesim.charts.distribution import Distribution
from tracesim.charts.timeline_recorder import TimelineRecorder
from tracesim.timing.arrival_process import parse_arrivals
from tracesim.timing.clock import PER_SECOND, parse_clock


def a_run(clock: str, arrivals: str = "asap") -> tuple[LLMEngine, ChartData]:
    """Six requests, two at a time at most, and their data."""
    engine = LLMEngine(
        EngineArgs(engine="vllm-v1", max_num_seqs=2).create_engine_config(),
        TraceSimulator([], load_tokenizer("char")),
        clock=parse_clock(clock),
        arrivals=parse_arrivals(arrivals),
    )
    engine.add_records([a_record(f"r{n}", prompt="p" * 5, response="x" * (3 + n)) for n in range(6)])
    recording = TimelineRecorder(engine)
    engine.run(recording.on_step)
    return engine, recording.chart_data("a run", settings={"clock": clock})


def test_without_a_clock_a_step_is_one_long_and_there_are_no_latencies() -> None:
    _, data = a_run("steps")
    timeline = data.timeline

    assert (timeline.unit, data.latencies, data.num_blocks) == ("steps", {}, None)
    assert list(timeline.steps.start) == list(timeline.steps.number)
    assert set(timeline.steps.duration) == {1.0}


def test_under_a_clock_steps_follow_each_other_in_seconds() -> None:
    """Five prompt tokens of each of two requests, then a decode of both."""
    engine, data = a_run("linear:base=10ms,prefill=1ms,decode=2ms")
    steps, timekeeper = data.timeline.steps, engine.timekeeper

    assert timekeeper is not None
    assert data.timeline.unit == "s"
    assert list(steps.start[:3]) == pytest.approx([0, 0.020, 0.034])
    assert list(steps.duration[:2]) == pytest.approx([0.020, 0.014])
    assert data.timeline.end == pytest.approx(timekeeper.now / PER_SECOND)


@pytest.mark.parametrize("arrivals", ["asap", "closed:2", "constant:40"])
def test_latencies_are_those_of_the_metrics_and_spans_add_up_to_them(arrivals: str) -> None:
    engine, data = a_run("linear:base=10ms,prefill=1ms,decode=2ms", arrivals)
    metrics = measure_run(engine)
    assert metrics is not None
    known = {
        "TTFT": metrics.ttft,
        "TPOT": metrics.tpot,
        "ITL": metrics.itl,
        "E2E": metrics.e2e,
        "queue time": metrics.queue_time,
    }

    assert list(data.latencies) == list(known)
    for name, latency in known.items():
        values = Distribution(data.latencies[name])
        assert latency is not None
        assert [values.mean, *map(values.percentile, PERCENTILES)] == pytest.approx(
            [latency.mean, latency.p50, latency.p90, latency.p95, latency.p99]
        )
    whole = [spans[-1].end - spans[0].start for spans in data.timeline.spans_by_request()]
    assert sorted(whole) == pytest.approx(sorted(Counter(data.latencies["E2E"]).elements()))
