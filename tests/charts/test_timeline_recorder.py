"""From an engine's run to its data, with and without a clock."""

from __future__ import annotations

from collections import Counter

import pytest

from chart_cases import chart_data_of_run
from factories import a_record, an_engine
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
    engine.run(on_stride=recording.on_stride)
    return engine, recording.chart_data("a run", settings={"clock": clock})


def test_without_a_clock_steps_and_latencies_are_counted_in_steps() -> None:
    """Two requests at a time, of 3 to 8 tokens; the last two wait until the fourth and third have ended."""
    engine, data = a_run("steps")
    timeline = data.timeline
    e2e = [
        progress.last_token_step + 1 - progress.arrival_step
        for progress in engine.requests.values()
        if progress.last_token_step is not None and progress.arrival_step is not None
    ]

    assert (timeline.unit, data.num_blocks) == ("steps", None)
    assert list(timeline.strides.start) == list(timeline.strides.number)
    assert list(timeline.strides.end) == [
        number + steps for number, steps in zip(timeline.strides.number, timeline.strides.steps, strict=True)
    ]
    assert list(data.latencies) == ["TTFT", "TPOT", "E2E", "queue time"]
    assert data.latencies["TPOT"] == {1: 6}
    assert sorted(e2e) == sorted(Counter(data.latencies["E2E"]).elements())
    assert data.latencies["TTFT"] == {time + 1: count for time, count in data.latencies["queue time"].items()}


def test_under_a_clock_strides_follow_each_other_in_seconds() -> None:
    """Five prompt tokens of each of two requests, then two steps with a decode of both."""
    engine, data = a_run("linear:base=10ms,prefill=1ms,decode=2ms")
    strides, timekeeper = data.timeline.strides, engine.timekeeper

    assert timekeeper is not None
    assert data.timeline.unit == "s"
    assert list(strides.start[:3]) == pytest.approx([0, 0.020, 0.048])
    assert list(strides.end[:2]) == pytest.approx([0.020, 0.048])
    assert data.timeline.end == pytest.approx(timekeeper.now / PER_SECOND)


def test_causes_are_those_of_the_engine_in_seconds_from_the_first_arrival() -> None:
    """Three requests arrive after 3 s, and one at a time runs: a prefill of 12 ms, two decodes of 12 ms."""
    records = [a_record(f"r{n}", prompt="pp", response="xyz", arrival_time=3.0) for n in range(3)]
    clock = parse_clock("linear:base=10ms,prefill=1ms,decode=2ms")
    data = chart_data_of_run(an_engine(records, clock=clock, engine="vllm-v1", max_num_seqs=1))

    times, causes = zip(*data.timeline.causes, strict=True)
    assert times == pytest.approx([0, 0.072])
    assert causes == ("max_num_seqs", None)


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
