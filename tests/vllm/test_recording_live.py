"""The installed vLLM with a model of random weights: what is recorded of it is what a replay does."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from paths import ROOT
from tracesim.trace.reader import read_records
from vllm_server import Server, a_trace_of_all_endings

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]

SETTINGS: dict[str, Any] = {
    "load_format": "dummy",
    "max_model_len": 512,
    "block_size": 32,
    "max_num_seqs": 8,
    "max_num_batched_tokens": 96,
    "num_gpu_blocks_override": 24,
    "kv_cache_memory_bytes": 32 << 20,
    "gpu_memory_utilization": 0.1,
    "enforce_eager": True,
}

IGNORED = ("--eos-step", "--ignore", "emitted.text")
"""A model ends an answer with a token that a recording does not have; no step has its text."""


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("vllm", exc_type=ImportError)
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def write_model(folder: Path) -> None:
    subprocess.run([sys.executable, ROOT / "tools" / "make_random_model.py", folder], check=True)


def some_prompts(number: int) -> list[str]:
    """Prompts of which some share a prefix, and some are longer than a step's budget."""
    draw = random.Random(15)
    words = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"]
    starts = [" ".join(draw.choices(words, k=50)) for _ in range(2)]
    return [
        f"{draw.choice(starts)} {' '.join(draw.choices(words, k=draw.randint(1, 90)))}" for _ in range(number)
    ]


def replay(run: Path, *options: str) -> str:
    """Replay a recording against the steps that were recorded, and return what that prints."""
    command = [sys.executable, "-m", "tracesim", "replay", str(run), "--format", "summary"]
    expected = [
        f"--profile={run.with_suffix('.profile.toml')}",
        f"--expect={run.with_suffix('.steps.jsonl')}",
    ]
    done = subprocess.run([*command, *expected, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("content", ["text", "hashes"])
def test_a_replay_takes_the_steps_that_were_recorded(content: str, tmp_path: Path) -> None:
    """All requests come before the first step, more than the KV cache takes; stop strings end a few."""
    from vllm import LLM, SamplingParams

    from tracesim.vllm import plugin

    write_model(tmp_path)
    plugin.register()
    run = tmp_path / "run.jsonl"
    llm = LLM(
        model=str(tmp_path),
        sim_record_path=str(run),
        additional_config={"sim_record_content": content},
        enable_prefix_caching=True,
        **SETTINGS,
    )
    stop = ["e"] if content == "text" else None
    limits = [SamplingParams(max_tokens=n, stop=stop if n % 4 == 0 else None) for n in range(20, 44)]
    outputs = llm.generate(some_prompts(len(limits)), limits)
    llm.llm_engine.engine_core.shutdown()
    printed = replay(run, f"--tokenizer={tmp_path / 'tokenizer.json'}", *IGNORED)
    steps = [json.loads(line) for line in run.with_suffix(".steps.jsonl").read_bytes().splitlines()]

    assert f"as expected: {len(steps):,} steps equal" in printed
    assert any(step["preempted"] for step in steps)
    if content == "text":  # a client's text is cut at a stop string
        texts = [record.response or "" for record in read_records([run])]
        assert all(map(str.startswith, texts, [output.outputs[0].text for output in outputs]))
    for before, after in pairwise(steps):  # a busy engine: a step begins when the one before ends
        assert after["start"] == pytest.approx(before["start"] + before["duration"], abs=1e-6)


@pytest.mark.parametrize("caching", [False, True])
def test_a_replay_takes_asynchronous_steps_that_were_recorded(caching: bool, tmp_path: Path) -> None:
    """vLLM schedules asynchronously on a CPU only where a trace takes the place of the model."""
    from vllm import LLM, SamplingParams

    from tracesim.vllm import plugin

    write_model(tmp_path)
    plugin.register()
    trace, run = a_trace_of_all_endings(tmp_path, 100), tmp_path / "run.jsonl"
    llm = LLM(
        model=str(tmp_path),
        use_simulator=True,
        sim_trace_path=str(trace),
        sim_record_path=str(run),
        enable_prefix_caching=caching,
        **SETTINGS,
    )
    prompts = [record.prompt or "" for record in read_records([trace])]
    llm.generate(prompts, SamplingParams(max_tokens=300))
    llm.llm_engine.engine_core.shutdown()
    steps = [json.loads(line) for line in run.with_suffix(".steps.jsonl").read_bytes().splitlines()]

    assert f"as expected: {len(steps):,} steps equal" in replay(run, *IGNORED)
    assert any(step["preempted"] for step in steps)
    assert any(step["discarded"] for step in steps)


def test_a_replay_takes_the_steps_of_a_server_with_the_steps_of_arrival(tmp_path: Path) -> None:
    write_model(tmp_path)
    run = tmp_path / "run.jsonl"
    options = [f"--{name.replace('_', '-')}={value}" for name, value in SETTINGS.items() if value is not True]
    config = {"sim_record_content": "token-ids", "sim_record_arrivals": "steps"}
    options += ["--enforce-eager", f"--sim-record={run}", f"--additional-config={json.dumps(config)}"]
    with Server(tmp_path, *options) as server:
        server.answers(some_prompts(24), 12, max_tokens=20)

    assert "as expected" in replay(run, *IGNORED)


def test_a_server_that_is_killed_leaves_whole_lines(tmp_path: Path) -> None:
    """What ended a moment before the kill is complete."""
    write_model(tmp_path)
    run = tmp_path / "run.jsonl"
    options = [f"--{name.replace('_', '-')}={value}" for name, value in SETTINGS.items() if value is not True]
    with Server(tmp_path, *options, "--enforce-eager", f"--sim-record={run}") as server:
        server.answers(some_prompts(4), 4, max_tokens=10)
        time.sleep(0.5)
        os.killpg(server.process.pid, signal.SIGKILL)

    assert len(read_records([run])) == 4
    assert run.with_suffix(".steps.jsonl").read_bytes().endswith(b"}\n")
