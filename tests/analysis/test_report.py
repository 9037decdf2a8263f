"""What a run comes to: its own duration, and only the tokens of requests that can run."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factories import a_record, an_engine, steps_of
from tracesim import TraceRecord, measure_run
from tracesim.analysis.report import report_requests, requests_to_csv, summarize
from tracesim.charts.timeline_recorder import TimelineRecorder
from tracesim.engine.step_json import step_to_json
from tracesim.timing.clock import parse_clock

CLOCK = parse_clock("linear:base=5ms,prefill=30us,decode=60us")


def records(first_arrival: float = 0.0) -> list[TraceRecord]:
    """Three requests, of which two come together."""
    times = [first_arrival, first_arrival + 0.5, first_arrival + 0.5]
    return [
        a_record(f"r{n}", input_length=100 * n + 10, output_length=5, arrival_time=time)
        for n, time in enumerate(times)
    ]


@given(st.sampled_from([0.25, 3400.0, 86_400.0, 1_732_000_000.0]), st.sampled_from(["simple", "vllm-v1"]))
def test_figures_count_from_the_first_arrival(first_arrival: float, engine: str) -> None:
    """The same trace that starts later has the same figures, except for the arrivals themselves."""
    runs = [an_engine(records(start), clock=CLOCK, engine=engine) for start in (0.0, first_arrival)]
    recorders = [TimelineRecorder(run) for run in runs]
    for run, recorder in zip(runs, recorders, strict=True):
        run.run(on_stride=recorder.on_stride)
    metrics = [measure_run(run) for run in runs]
    charts = [recorder.chart_data("").timeline for recorder in recorders]

    assert metrics[0] == metrics[1]
    assert [request.arrival for request in charts[0].requests.values()] == pytest.approx([0.0, 0.5, 0.5])
    assert charts[1].start == 0
    assert charts[1].end == pytest.approx(charts[0].end, abs=1e-6)
    assert report_requests(runs[1])[0].arrival_time == first_arrival  # type: ignore[attr-defined]


NEVER_RUN: list[tuple[str, dict[str, Any]]] = [
    ("simple", {"max_model_len": 100}),
    ("vllm-v0", {"max_model_len": 100}),
    ("vllm-v0", {"num_gpu_blocks": 8}),
    ("simple", {"max_num_batched_tokens": 120}),
]


@pytest.mark.parametrize(("engine", "limits"), NEVER_RUN)
def test_a_request_that_can_never_run_is_rejected_everywhere(engine: str, limits: dict[str, Any]) -> None:
    runs = a_record("runs", input_length=10, output_length=5)
    never = a_record("never", input_length=5000, output_length=5)
    both, alone = (
        an_engine(each, clock=parse_clock("constant:1s"), engine=engine, **limits)
        for each in ([runs, never], [runs])
    )
    step, *_ = steps_of(both)
    alone.run()
    expected = summarize(alone)

    assert summarize(both) == replace(expected, requests=2, rejected=1)
    assert measure_run(both) == measure_run(alone)
    assert [each.finish_reason for each in report_requests(both)] == ["stop", "rejected"]
    assert b"never,5000,0,rejected," in requests_to_csv(report_requests(both))
    assert (step.rejected, step.finished[0].finish_reason) == (["never"], "length")
    assert b'"rejected":["never"]' in step_to_json(step)


def test_a_rejected_request_neither_starts_nor_ends_the_run() -> None:
    lengths = {"input_length": 10, "output_length": 5}
    runs = a_record("runs", arrival_time=1000.0, **lengths)
    never = [
        a_record(name, input_length=5000, output_length=5, arrival_time=time)
        for name, time in (("early", 900.0), ("late", 1100.0))
    ]
    engine = an_engine(
        [never[0], runs, never[1]], clock=parse_clock("constant:1s"), engine="vllm-v0", max_model_len=100
    )
    engine.run()
    metrics = measure_run(engine)

    assert metrics is not None
    assert (metrics.duration, metrics.request_throughput) == (5.0, 0.2)


def test_a_step_without_rejected_requests_does_not_mention_them() -> None:
    step, *_ = steps_of(an_engine([a_record()]))

    assert b"rejected" not in step_to_json(step)


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@A1", "'@A1"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("\n=1", "'\n=1"),
        ("\uff1d1", "'\uff1d1"),
        ("\uff0b1", "'\uff0b1"),
        ("\uff0d1", "'\uff0d1"),
        ("\uff201", "'\uff201"),
        ("\x00=1\x1b[1m\x9b", "\\x00=1\\x1b[1m\\x9b"),
        ("a\r=1+1", "a\r=1+1"),
        ('say "a", b\n', 'say "a", b\n'),
        ("1=1", "1=1"),
    ],
)
def test_a_text_is_one_cell_of_csv_that_no_spreadsheet_runs(name: str, cell: str) -> None:
    table = requests_to_csv(report_requests(an_engine([a_record(name)]))).decode()
    rows = list(csv.reader(io.StringIO(table, newline="")))

    assert [row[0] for row in rows] == ["id", cell]
    assert {len(row) for row in rows} == {len(rows[0])}
    assert not {"\r", "\n"}.intersection(re.sub('"[^"]*"', "", table).replace("\n", "", 2))
