"""Record a vLLM, calibrate a clock, predict other runs, measure those as well, and print the errors.

Every run is measured twice: how much it differs from itself is the noise of the machine.

    python tools/closed_loop.py FOLDER

FOLDER gets a model of random weights, the recordings and the clock; what is there already is not measured
again. This needs an environment with tracesim, its extras `vllm` and `calibrate`, and vLLM; on a CPU it takes
five minutes. `vllm bench serve` is the client, and measures what a client sees.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

TOOLS = Path(__file__).parent

ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}

SERVER = [
    "--load-format=dummy",
    "--enforce-eager",
    "--max-model-len=1024",
    "--block-size=32",
    "--gpu-memory-utilization=0.3",
    "--kv-cache-memory-bytes=268435456",
]

CLIENT = """
import argparse
from vllm.benchmarks import serve
parser = argparse.ArgumentParser()
serve.add_cli_args(parser)
serve.main(parser.parse_args())
"""

LOAD = [
    "--dataset-name=random",
    "--random-input-len=160",
    "--random-output-len=48",
    "--random-range-ratio=0.6",
    "--ignore-eos",
    "--ready-check-timeout-sec=0",
    "--save-result",
    "--save-detailed",
    "--disable-tqdm",
]


@dataclass(frozen=True)
class Run:
    """A load of `rate` requests per second on a vLLM with two of its settings."""

    name: str
    rate: float
    max_num_seqs: int
    max_num_batched_tokens: int
    seed: int = 0
    num_prompts: int = 150


BASE = Run("base", 5, 16, 512)
"""The run that is calibrated."""

OTHERS = [
    Run("rate", 8, 16, 512, seed=1),
    Run("settings", 5, 8, 128, seed=2),
    Run("both", 7, 10, 192, seed=3),
]
"""The runs that are predicted."""


class Latency(NamedTuple):
    """The latencies of a request in seconds; TPOT is None for a single token."""

    ttft: float
    tpot: float | None
    e2e: float


def main(folder: str) -> None:
    """Measure, predict, and print a table of errors."""
    home = Path(folder)
    model = home / "model"
    if not model.exists():
        subprocess.run([sys.executable, TOOLS / "make_random_model.py", model], check=True)
    measure(home, BASE, "1")
    clock = home / "clock.toml"
    if not clock.exists():
        steps = home / "base-1.steps.jsonl"
        tracesim("calibrate", steps, f"--profile={home / 'base-1.profile.toml'}", "-o", clock)
    print(HEAD)
    for run in [BASE, *OTHERS]:
        first, second = measure(home, run, "1"), measure(home, run, "2")
        predicted = predict(first, clock)
        print_errors(f"{run.name}: predicted", predicted, engine_latencies(first))
        print_errors("  measured again", engine_latencies(second), engine_latencies(first))
        print_errors("  predicted, against the client", predicted, client_latencies(first))
        print_errors("  measured again by the client", client_latencies(second), client_latencies(first))


def measure(home: Path, run: Run, number: str) -> Path:
    """Return the trace of a recorded run."""
    trace = home / f"{run.name}-{number}.jsonl"
    if not trace.exists():
        options = [
            f"--sim-record={trace}",
            f"--max-num-seqs={run.max_num_seqs}",
            f"--max-num-batched-tokens={run.max_num_batched_tokens}",
        ]
        model = home / "model"
        with served(model, trace.with_suffix(".txt"), options) as port:
            load = [f"--request-rate={run.rate}", f"--num-prompts={run.num_prompts}", f"--seed={run.seed}"]
            where = [f"--port={port}", "--host=127.0.0.1", f"--model={model}", "--served-model-name=sim"]
            result = [f"--result-filename={trace.with_suffix('.client.json')}"]
            command = [sys.executable, "-c", CLIENT, *LOAD, *load, *where, *result]
            subprocess.run(command, check=True, env=os.environ | ENVIRONMENT, stdout=subprocess.DEVNULL)
    return trace


@contextlib.contextmanager
def served(model: Path, log: Path, options: Sequence[str]) -> Iterator[int]:
    """Serve the model at the port returned."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", f"--model={model}"]
    where = ["--host=127.0.0.1", f"--port={port}", "--served-model-name=sim"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, *where, *SERVER, *options],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | ENVIRONMENT,
        )
        try:
            while not is_healthy(port):
                if process.poll() is not None:
                    raise SystemExit(f"vLLM did not start; see {log}")
                time.sleep(0.2)
            yield port
        finally:
            process.terminate()
            process.wait(60)


def is_healthy(port: int) -> bool:
    """Return whether the server answers."""
    with contextlib.suppress(OSError):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
        return True
    return False


def predict(trace: Path, clock: Path) -> list[Latency]:
    """Return what a replay of a recorded trace says, with the settings of its vLLM and another's clock."""
    csv_file = trace.with_suffix(".predicted.csv")
    profile = trace.with_suffix(".profile.toml")
    settings = [f"--profile={clock}", f"--profile={profile}", "--eos-step", f"--save-requests={csv_file}"]
    tracesim("replay", trace, "--format=summary", "--force", *settings)
    with csv_file.open(encoding="utf-8", newline="") as file:
        return [
            Latency(float(row["ttft"]), float(row["tpot"]) if row["tpot"] else None, float(row["e2e"]))
            for row in csv.DictReader(file)
        ]


def engine_latencies(trace: Path) -> list[Latency]:
    """Return what was recorded: from the arrival in the front end to the end of a token's step."""
    tokens: dict[str, list[float]] = {}
    for line in trace.with_suffix(".steps.jsonl").read_bytes().splitlines():
        step = json.loads(line)
        for entry in step["emitted"]:
            tokens.setdefault(entry["id"], []).append(step["start"] + step["duration"])
    latencies = []
    for line in trace.read_bytes().splitlines():
        record = json.loads(line)
        times = [moment - record["arrival_time"] for moment in tokens[record["id"]]]
        latencies.append(latency(times[0], times[-1], len(times)))
    return latencies


def client_latencies(trace: Path) -> list[Latency]:
    """Return what `vllm bench serve` measured."""
    result = json.loads(trace.with_suffix(".client.json").read_bytes())
    return [
        latency(ttft, ttft + sum(itls), length)
        for ttft, itls, length in zip(result["ttfts"], result["itls"], result["output_lens"], strict=True)
    ]


def latency(first: float, last: float, num_tokens: int) -> Latency:
    """Return the latencies of a request from the times of its first and last token after its arrival."""
    return Latency(first, (last - first) / (num_tokens - 1) if num_tokens > 1 else None, last)


HEAD = (
    f"{'error in %':32} {'E2E':>8} {'p99':>6} {'TTFT':>8} {'p99':>6} {'TPOT':>8} {'p99':>6} {'each E2E':>10}"
)


def print_errors(name: str, one: Sequence[Latency], other: Sequence[Latency]) -> None:
    """Print how far mean and p99 of `one` are off those of `other`, and each E2E in the mean."""
    columns = []
    for field in ("e2e", "ttft", "tpot"):
        ours = [value for each in one if (value := getattr(each, field)) is not None]
        theirs = [value for each in other if (value := getattr(each, field)) is not None]
        columns.append(f"{error(statistics.fmean(ours), statistics.fmean(theirs)):+8.1f}")
        columns.append(f"{error(p99(ours), p99(theirs)):+6.1f}")
    each = statistics.fmean(abs(error(a.e2e, b.e2e)) for a, b in zip(one, other, strict=True))
    print(f"{name:32} {' '.join(columns)} {each:10.1f}")


def error(value: float, truth: float) -> float:
    """Return by how many percent a value is off."""
    return (value / truth - 1) * 100


def p99(values: Sequence[float]) -> float:
    """Return the 99th percentile."""
    return statistics.quantiles(values, n=100, method="inclusive")[98]


def tracesim(*arguments: object) -> None:
    """Run a command of tracesim."""
    subprocess.run(
        [sys.executable, "-m", "tracesim", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
