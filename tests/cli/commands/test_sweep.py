"""`tracesim sweep`: options, tables, files, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from command_line import run
from paths import SAMPLES

RUSH_HOUR = SAMPLES / "rush_hour.csv"
SETTINGS: list[str | Path] = [
    "--set",
    "engine=vllm-v1",
    "--set",
    "clock=linear:base=6ms,prefill=60us,decode=150us,context=8ns",
    "--set",
    "num_gpu_blocks=4000",
]
SHORT: list[str | Path] = ["sweep", RUSH_HOUR, *SETTINGS, "--limit", "60", "--jobs", "1"]


def test_the_table_has_the_best_point_first() -> None:
    done = run(*SHORT, "--vary", "max_num_seqs=1,16", "--objective", "ttft.p99")
    head, best, worst = done.stdout.splitlines()

    assert head.split()[:5] == ["max_num_seqs", "TTFT", "p99", "ms", "tokens/s/GPU"]
    assert (best.split()[0], worst.split()[0]) == ("16", "1")
    assert worst.split()[-1] == "overloaded"
    assert done.exit_code == 0


def test_points_that_differ_by_the_seed_alone_are_one_row() -> None:
    done = run(*SHORT, "--vary", "rate=2", "--vary", "seed=1,2,3", "--slo", "ttft=1s")
    head, row = done.stdout.splitlines()

    assert head.split()[:2] == ["rate", "goodput/GPU"]
    assert row.split()[0] == "2"
    assert row.split()[2].startswith("±")


def test_csv_has_a_row_for_each_point_in_the_order_of_the_grid() -> None:
    done = run(*SHORT, "--vary", "rate=8,2", "--vary", "seed=1,2", "--format", "csv")
    head, *rows = [line.split(",") for line in done.stdout.splitlines()]

    assert head[:2] == ["rate", "seed"]
    assert [row[:2] for row in rows] == [["8", "1"], ["8", "2"], ["2", "1"], ["2", "2"]]
    assert {len(head)} == {len(row) for row in rows}


def test_a_sweep_continues_from_its_results(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    first = run(*SHORT, "--vary", "rate=2,4", "--results", path, "--format", "jsonl")
    second = run(*SHORT, "--vary", "rate=2,4,8", "--results", path, "--format", "jsonl")

    assert first.stderr == ""
    assert second.stderr == f"tracesim: 2 of 3 results were in {path} already\n"
    assert second.stdout_bytes == path.read_bytes()
    assert second.stdout.startswith(first.stdout)
    assert [json.loads(line)["point"] for line in second.stdout.splitlines()] == [
        {"rate": 2},
        {"rate": 4},
        {"rate": 8},
    ]


def test_a_search_prints_the_highest_rate_of_each_configuration() -> None:
    done = run(
        *SHORT, "--vary", "max_num_seqs=2,16", "--find", "max-rate", "--slo", "ttft=1s", "--precision", "20%"
    )
    title, head, low, high = done.stdout.splitlines()

    assert title == "highest rate at which 99% of the requests meet ttft=1s, over 3 seeds"
    assert head.split() == ["max_num_seqs", "rate", "lowest", "highest", "per", "GPU"]
    assert float(low.split()[1]) < float(high.split()[1])


def test_a_search_prints_the_least_number_of_replicas() -> None:
    done = run(
        *SHORT, "--find", "min-replicas", "--set", "rate=30", "--set", "max_num_seqs=4", "--slo", "ttft=1s"
    )
    title, head, row = done.stdout.splitlines()

    assert title == "least number of replicas at which 99% of the requests meet ttft=1s, over 3 seeds"
    assert head.split() == ["replicas", "lowest", "highest", "GPUs"]
    assert row.split()[0] == row.split()[2] == row.split()[3]
    assert int(row.split()[0]) > 1


def test_a_search_in_csv_has_the_rate_of_each_seed() -> None:
    varied = ["--vary", "max_num_seqs=2", "--vary", "seed=5,7"]
    goal = ["--find", "max-rate", "--slo", "ttft=1s", "--precision", "20%", "--format", "csv"]
    head, row = run(*SHORT, *varied, *goal).stdout.splitlines()
    _, mean, *rates, _ = row.split(",")

    assert head == "max_num_seqs,max_rate,max_rate_seed_5,max_rate_seed_7,error"
    assert float(mean) == pytest.approx(sum(map(float, rates)) / 2)


def test_a_point_that_cannot_be_replayed_is_in_the_table_and_the_exit_code() -> None:
    done = run(*SHORT, "--vary", "num_gpu_blocks=20,4000")

    assert done.stdout.splitlines()[-1].split() == ["20", *["-"] * 6, "cannot", "be", "replayed"]
    assert "tracesim: 1 of 2 points cannot be replayed; the first:" in done.stderr
    assert done.exit_code == 1


def test_parameters_of_vllm_bench_sweep_are_read_as_they_are(tmp_path: Path) -> None:
    serve, bench = tmp_path / "serve.json", tmp_path / "bench.json"
    serve.write_text(
        json.dumps(
            {
                "small": {"max-num-seqs": 4, "dtype": "auto"},
                "large": {"max_num_seqs": 64, "dtype": "auto"},
            }
        )
    )
    users = {"request-rate": "inf", "max_concurrency": 3}
    bench.write_text(json.dumps([{"request_rate": 2}, users, {"request_rate": "inf"}]))
    done = run(*SHORT, "--serve-params", serve, "--bench-params", bench, "--format", "csv")

    assert done.stderr == f"tracesim: dtype in {serve} is ignored: a replay has no such setting\n"
    assert [",".join(line.split(",")[:3]) for line in done.stdout.splitlines()] == [
        "max_num_seqs,rate,arrivals",
        "4,2,",
        "4,,closed:3",
        "4,,asap",
        "64,2,",
        "64,,closed:3",
        "64,,asap",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "which is not valid JSON"),
        ("[1]", "which must have a list of objects"),
        ('[{"dtype": "auto"}, {"dtype": "half"}]', "whose combinations differ in dtype"),
        ('[{"max_num_seqs": "many"}]', "--serve-params: max_num_seqs is 'many'; must be an integer >= 1"),
    ],
)
def test_a_parameter_file_that_cannot_be_used_is_an_error(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "params.json"
    path.write_text(content)
    done = run(*SHORT, "--serve-params", path)

    assert message in done.stderr
    assert done.exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--vary is not given; name a setting and its values, such as max_num_seqs=64,256"),
        (["--vary", "max_num_sequences=3"], "did you mean max_num_seqs"),
        (["--set", "rate"], "--set is 'rate'; must be NAME=VALUE"),
        (
            ["--vary", "rate=2", "--objective", "speed"],
            "--objective names the figure 'speed', which does not exist",
        ),
        (
            ["--find", "min-replicas", "--vary", "replicas=2"],
            "--vary varies replicas, which --find looks for",
        ),
        (["--find", "max-rate", "--slo", "ttft=1s", "--save-html", "page.html"], "give it without --find"),
        (["--find", "max-rate"], "--slo is not given; --find needs limits"),
        (["--find", "max-rate", "--vary", "rate=2"], "--vary varies rate, which --find looks for"),
        (["--find", "max-rate", "--slo", "ttft=1s", "--attainment", "most"], "--attainment is 'most'"),
        (["--find", "max-rate", "--slo", "ttft=1s", "--precision", "0.01%"], "must be from 0.1% to 100%"),
        (["--vary", "clock=steps", "--slo", "ttft=1s"], "--slo needs a clock"),
    ],
)
def test_wrong_usage_is_an_error(arguments: list[str], message: str) -> None:
    done = run(*SHORT, *arguments)

    assert message in done.stderr
    assert done.exit_code == 2


def test_an_invalid_trace_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_text('{"prompt": "Hi", "response": "Yes"}\n{"prompt": "Hi"}\n')
    broken = run("sweep", path, "--vary", "max_num_seqs=1", "--jobs", "1")
    skipped = run("sweep", path, "--vary", "max_num_seqs=1", "--jobs", "1", "--skip-invalid", "--quiet")

    assert broken.stderr.splitlines()[-1] == "tracesim: nothing was replayed"
    assert (broken.exit_code, skipped.exit_code) == (1, 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_sweep_keeps_its_results_and_continues(number: signal.Signals, tmp_path: Path) -> None:
    """The signal comes when the first result is in the file; at the end the file is that of a whole sweep."""
    whole, path = tmp_path / "whole.jsonl", tmp_path / "results.jsonl"
    varied = ["--vary", "rate=2", "--vary", "seed=1,2,3,4,5,6,7,8,9,10,11,12"]
    sweep: list[str | Path] = ["sweep", RUSH_HOUR, *SETTINGS, *varied, "--format", "jsonl"]
    process = subprocess.Popen(
        [sys.executable, "-m", "tracesim", *sweep, "--jobs", "2", "--results", path],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    while process.poll() is None and not (path.exists() and path.stat().st_size):
        time.sleep(0.005)
    os.killpg(process.pid, number) if number == signal.SIGINT else process.kill()
    _, messages = process.communicate()
    left = path.read_bytes()
    known = left.count(b"\n")
    continued = run(*sweep, "--jobs", "1", "--results", path)

    assert left.endswith(b"\n")
    assert 0 < known < 12
    assert f"{known} of 12 results were in {path} already" in continued.stderr
    assert run(*sweep, "--jobs", "1", "--results", whole).stdout_bytes == continued.stdout_bytes
    assert whole.read_bytes() == path.read_bytes()
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert messages.splitlines()[-1] == "tracesim: interrupted"
        assert f"so far: {path}; the same command continues from there" in messages
