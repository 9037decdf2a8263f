"""`replay --require`: limits for the figures of a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from command_line import run
from paths import MILESTONE

REPLAY = ["replay", str(MILESTONE), "--tokenizer", "char", "--clock", "constant:20ms", "--slo", "ttft=50ms"]
MET = ["--require", "ttft.p99<=500ms", "--require", "slo_attainment>=50%"]
NOT_MET = ["--require", "ttft.p50<=1ms", "--require", "steps<=12", "--require", "goodput > 100 requests/s"]


def test_a_run_that_meets_all_requirements_ends_with_0() -> None:
    result = run(*REPLAY, *MET, "--format", "summary")

    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.endswith("\n\n2 requirements met\n")


@pytest.mark.parametrize("output_format", ["table", "summary", "json", "jsonl"])
def test_all_that_are_not_met_are_named_and_the_output_is_whole(output_format: str, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    expected = run(*REPLAY, "--format", output_format)
    result = run(*REPLAY, *NOT_MET, "--format", output_format, "--save-report", report)

    assert (result.exit_code, result.stdout) == (1, expected.stdout)
    assert result.stderr.splitlines() == [
        "tracesim: not met: ttft.p50<=1ms; it is 40.0 ms",
        "tracesim: not met: goodput > 100 requests/s; it is 12.50 requests/s",
    ]
    assert json.loads(report.read_text())["summary"]["steps"] == 12


def test_a_value_is_shown_with_the_digits_that_tell_it_from_the_limit() -> None:
    result = run(*REPLAY, "--require", "ttft.p50<39.99999ms", "--require", "ttft.p50<40ms")

    assert result.stderr.splitlines() == [
        "tracesim: not met: ttft.p50<39.99999ms; it is 0.04 s",
        "tracesim: not met: ttft.p50<40ms; it is 40.0 ms",
    ]


def test_a_figure_that_the_run_does_not_have_is_not_within_a_limit(tmp_path: Path) -> None:
    """One output token for each request: no request has a time between two."""
    trace = tmp_path / "trace.jsonl"
    trace.write_text('{"input_length": 3, "output_length": 1}\n')
    result = run("replay", trace, "--clock", "constant:20ms", "--require", "itl.p99<=1s")

    assert (result.exit_code, result.stderr) == (1, "tracesim: not met: itl.p99<=1s; the run has none\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ttft.p99<=1s"], "--require: ttft.p99<=1s needs a clock; choose one with --clock"),
        (["goodput>=1", "--clock", "constant:1s"], "needs limits for requests; give them with --slo"),
        (["peak_kv_cache_usage<=90%"], "needs a KV cache with a size; give it with --num-gpu-blocks"),
        (["prefix_cache_hit_rate>=10%"], "needs --enable-prefix-caching"),
        (["discarded_tokens<=9"], "needs --async-scheduling, or --stop-delay"),
        (["stepz<=9"], "--require names the figure 'stepz', which does not exist; did you mean steps?"),
    ],
)
def test_a_requirement_that_nothing_can_meet_is_wrong_usage(arguments: list[str], message: str) -> None:
    result = run("replay", MILESTONE, "--require", *arguments)

    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


def test_a_run_that_is_stopped_early_is_not_judged() -> None:
    result = run(*REPLAY, *NOT_MET, "--max-steps", "3")

    assert result.exit_code == 3
    assert "not met" not in result.stderr
