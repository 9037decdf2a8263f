"""Measured files of each kind, read; and what is printed about files that cannot be."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tracesim import EngineArgs, LLMEngine
from tracesim.engine.step_json import step_to_json
from tracesim.errors import MeasurementError
from tracesim.measured.measurements import MeasuredRequest, MeasuredRun, MeasuredStep
from tracesim.measured.reading import read_measured
from tracesim.trace.reader import read_records

PREFIX = "INFO 11-25 14:00:01 [loggers.py:200] "
LINES = [
    "2 context requests, 300 context tokens, 0 generation requests, 0 generation tokens, "
    "iteration elapsed time: 25.50 ms, GPU KV cache usage: 1.5%",
    "0 context requests, 0 context tokens, 2 generation requests, 2 generation tokens, "
    "iteration elapsed time: 10.25 ms, GPU KV cache usage: 1.6%",
    "0 context requests, 0 context tokens, 0 generation requests, 0 generation tokens, "
    "iteration elapsed time: 3.00 ms (dummy), GPU KV cache usage: 0.0%",
    "1 context requests, 8 context tokens, 2 generation requests, 41 generation tokens, "
    "iteration elapsed time: 12.00 ms, GPU KV cache usage: 1.7%, encoder inputs: 1",
]
LOG = f"{PREFIX}vLLM API server version 0.32.0\n" + "".join(
    f"{PREFIX}Engine 000: Iteration({number}): {line}\n" for number, line in enumerate(LINES)
)

BENCH: dict[str, Any] = {
    "input_lens": [10, 20, 30],
    "output_lens": [3, 1, 0],
    "start_times": [100.0, 100.5, 101.0],
    "ttfts": [0.25, 0.5, 0.0],
    "itls": [[0.125, 0.125], [], []],
    "errors": ["", "", "refused"],
    "generated_texts": ["a b c", "a", ""],
}

GUIDELLM_REQUEST: dict[str, Any] = {
    "request_id": "g1",
    "info": {
        "timings": {
            "request_start": 5.0,
            "first_token_iteration": 5.5,
            "last_token_iteration": 7.0,
            "request_end": 7.1,
        }
    },
    "input_metrics": {"text_tokens": 12},
    "output_metrics": {"text_tokens": 4},
}

AIPERF: dict[str, Any] = {
    "metadata": {
        "session_num": 0,
        "x_request_id": "a1",
        "request_start_ns": 1_700_000_000_250_000_000,
        "request_end_ns": 1_700_000_001_250_000_000,
        "benchmark_phase": "profiling",
    },
    "metrics": {
        "time_to_first_token": {"value": 250.0, "unit": "ms"},
        "request_latency": {"value": 1000.0, "unit": "ms"},
        "input_sequence_length": {"value": 12, "unit": "tokens"},
        "output_sequence_length": {"value": 4, "unit": "tokens"},
    },
    "error": None,
}


def read(tmp_path: Path, content: str, name: str = "measured") -> list[MeasuredRun]:
    path = tmp_path / name
    path.write_text(content)
    return read_measured([path])


def read_one(tmp_path: Path, content: str) -> MeasuredRun:
    (run,) = read(tmp_path, content)
    return run


def test_a_log_of_vllm(tmp_path: Path) -> None:
    """A dummy step is skipped. 39 of 41 generation tokens of two requests are computed again: prefill."""
    run = read_one(tmp_path, LOG)

    assert list(run.steps) == [
        MeasuredStep(300, 2, 0, None, None, 0.0255),
        MeasuredStep(0, 0, 2, None, None, 0.01025),
        MeasuredStep(47, 2, 2, None, None, 0.012),
    ]
    assert list(run.usage) == [0.015, 0.016, 0.017]


def test_a_busy_minute_tells_what_the_host_adds_to_each_step(tmp_path: Path) -> None:
    """61 lines, a second apart, of steps of 0.4 s: 60 steps take 60 s, so the host adds 0.6 s to each."""
    lines = [
        f"INFO 11-25 14:{number // 60:02}:{number % 60:02} [loggers.py:200] Iteration({number}): "
        "0 context requests, 0 context tokens, 2 generation requests, 2 generation tokens, "
        "iteration elapsed time: 400.00 ms, GPU KV cache usage: 1.0%\n"
        for number in range(61)
    ]
    run = read_one(tmp_path, "".join(lines))
    short = read_one(tmp_path, "".join(lines[:60]))

    assert run.host_seconds == pytest.approx(0.6)
    assert [step.seconds for step in run.steps] == pytest.approx([1.0] * 61)
    assert short.host_seconds is None
    assert {step.seconds for step in short.steps} == {0.4}


def test_results_of_vllm_bench(tmp_path: Path) -> None:
    """Times are relative to the start of each request; the request with an error is skipped."""
    run = read_one(tmp_path, json.dumps(BENCH))

    assert list(run.requests) == [
        MeasuredRequest(0, None, 10, 3, 100.0, 100.25, 100.5),
        MeasuredRequest(1, None, 20, 1, 100.5, 101.0, 101.0),
    ]
    assert (run.is_remote, run.num_skipped) == (True, 1)


def test_results_that_follow_one_another_are_runs_of_their_own(tmp_path: Path) -> None:
    """`--append-result` writes them so; a document over several lines is one as well."""
    runs = read(tmp_path, json.dumps(BENCH) + "\n" + json.dumps(BENCH) + "\n" + json.dumps(BENCH, indent=1))

    assert [len(run.requests) for run in runs] == [2, 2, 2]


def test_a_report_of_guidellm(tmp_path: Path) -> None:
    groups = {"successful": [GUIDELLM_REQUEST], "incomplete": [{}], "errored": [{}, {}]}
    report = {"metadata": {}, "benchmarks": [{"requests": groups}, {"requests": groups}]}
    runs = read(tmp_path, json.dumps(report, indent=2))

    assert [run.name.rpartition(", ")[2] for run in runs] == ["benchmark 1", "benchmark 2"]
    assert list(runs[0].requests) == [MeasuredRequest(0, "g1", 12, 4, 5.0, 5.5, 7.0)]
    assert (runs[0].is_remote, runs[0].num_skipped) == (True, 3)


def test_a_report_of_an_older_guidellm(tmp_path: Path) -> None:
    request = {
        "request_id": "g1",
        "scheduler_info": {
            "request_timings": {"request_start": 5, "first_iteration": 6, "last_iteration": 7}
        },
        "prompt_tokens": 12,
        "output_tokens": 4,
    }
    run = read_one(tmp_path, json.dumps({"benchmarks": [{"requests": {"successful": [request]}}]}))

    assert list(run.requests) == [MeasuredRequest(0, "g1", 12, 4, 5.0, 6.0, 7.0)]


def test_records_of_aiperf(tmp_path: Path) -> None:
    warmup = {**AIPERF, "metadata": {**AIPERF["metadata"], "benchmark_phase": "warmup"}}
    failed = {**AIPERF, "error": {"code": 500}}
    run = read_one(tmp_path, "".join(json.dumps(each) + "\n" for each in (warmup, AIPERF, failed)))

    assert list(run.requests) == [
        MeasuredRequest(1, "a1", 12, 4, 1_700_000_000.25, 1_700_000_000.5, 1_700_000_001.25)
    ]
    assert (run.is_remote, run.num_skipped) == (True, 2)


CSV = "id,prompt_tokens,output_tokens,arrival_time,first_token_time,last_token_time\n"


@pytest.mark.parametrize(
    "content",
    [
        CSV + "x,12,4,5.0,5.5,7.0\ny,9,9,5.0,,\n",
        CSV.replace("first_token_time,last_token_time", "ttft,e2e") + "x,12,4,5.0,0.5,2.0\ny,9,9,5.0,,\n",
        '{"id": "x", "input_toks": 12, "output_toks": 4, "queued_ts": 5.0, "arrival_time": 1700000000.5, '
        '"first_token_ts": 5.5, "last_token_ts": 7.0}\n{"id": "y", "queued_ts": 6.0}\n',
        '[{"request_id": "x", "input_tokens": 12, "completion_tokens": 4, "arrival": 5, "first_token": 5.5, '
        '"last_token": 7}, {"request_id": "y"}]',
    ],
)
def test_tables_of_requests(tmp_path: Path, content: str) -> None:
    """Columns are known by names. `queued_ts` is on the clock of the tokens; `arrival_time` may not be."""
    run = read_one(tmp_path, content)

    assert list(run.requests) == [MeasuredRequest(0, "x", 12, 4, 5.0, 5.5, 7.0)]
    assert (run.is_remote, run.num_skipped) == (False, 1)


def test_a_step_log(tmp_path: Path) -> None:
    """Two requests of 3 and 2 prompt tokens: both prefill in the first step, and decode in the second."""
    trace = tmp_path / "trace.jsonl"
    trace.write_text('{"input_length": 3, "output_length": 2}\n{"input_length": 2, "output_length": 2}\n')
    args = EngineArgs(sim_trace_path=trace, engine="vllm-v1", clock="linear:base=10ms,prefill=1ms,decode=2ms")
    engine = LLMEngine.from_engine_args(args)
    engine.add_records(read_records([trace]))
    lines: list[bytes] = []
    engine.run(lambda step: lines.append(step_to_json(step)))
    run = read_one(tmp_path, b"".join(lines).decode())

    assert list(run.steps) == [MeasuredStep(5, 2, 0, 0, 3 + 1, 0.015), MeasuredStep(0, 0, 2, 5, 0, 0.014)]
    assert list(run.requests) == [
        MeasuredRequest(0, "r1", 3, 2, 0.0, 0.015, 0.015 + 0.014),
        MeasuredRequest(1, "r2", 2, 2, 0.0, 0.015, 0.015 + 0.014),
    ]
    assert run.places == {0: (0, 1, 2), 1: (0, 1, 2)}


def test_compressed_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "log.gz"
    path.write_bytes(gzip.compress(LOG.encode()))

    assert len(read_measured([path])[0].steps) == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "measured: is empty"),
        ("hello\n", "is neither JSON nor CSV nor a log of vLLM; calibrate reads vLLM's log with"),
        ("a,b\n1,2\n", "has the fields 'a', 'b'; calibrate reads"),
        (
            '{"prompt": "Hi", "response": "there"}\n',
            r"is a trace \(tracesim\), without times that were measured",
        ),
        (
            '{"input_lens": [1], "output_lens": [1]}',
            "has no list start_times; write the results with: vllm bench",
        ),
        ('{"mean_ttft_ms": 5.0}', "has no list input_lens; write the results with: vllm bench"),
        (json.dumps({**BENCH, "itls": [[]]}), "lists of different lengths: input_lens has 3"),
        (
            json.dumps({**BENCH, "ttfts": [-1, 1, 1]}),
            r"measured:1: ttfts is -1; must be a number of seconds, >= 0",
        ),
        (
            json.dumps({**BENCH, "input_lens": ["x", 1, 1]}),
            "measured:1: input_lens is 'x'; must be a number of tokens",
        ),
        (json.dumps(BENCH)[:-20], "is not JSON"),
        (
            "INFO 11-25 [loggers.py:1] vllm: Engine 000: Avg prompt throughput\n",
            "is a log of vLLM without a line for",
        ),
        (LOG.replace("context tokens", "tokens"), "measured:2: has 4 lines with Iteration"),
        (json.dumps({"benchmarks": [{"requests": {}}]}), r"benchmarks\[0\] has no list requests.successful"),
        (
            json.dumps({"benchmarks": [{"requests": {"successful": [{"request_id": "g"}]}}]}),
            "has neither input_metrics",
        ),
        (
            json.dumps({**AIPERF, "metrics": {"time_to_first_token": {"value": 1, "unit": "h"}}}),
            "has none of the metrics",
        ),
        (CSV + "x,12,4,5.0,4.5,7.0\n", r"measured:2: has its first token -0.5 s after its arrival"),
        (CSV + "x,,4,5.0,5.5,7.0\n", "measured:2: has no prompt; its column is called input_toks or"),
        (CSV.replace(",last_token_time", "") + "x,1,4,5.0,5.5\n", "has no last token; its column is called"),
        (
            '{"schema": "tracesim.step/1", "step": 0}\n',
            "measured:1: has no duration: record the steps of a real server",
        ),
        (
            '{"schema": "tracesim.step/1", "duration": 1, "start": 0}\n',
            "has no lists prefill, decode, emitted",
        ),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(MeasurementError, match=message):
        read(tmp_path, content)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match="no such file"):
        read_measured([tmp_path / "none.json"])
