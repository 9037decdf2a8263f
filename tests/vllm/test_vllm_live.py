"""An installed vLLM and the engine, side by side: random cases, recorded and served here and now."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import takewhile
from operator import itemgetter
from pathlib import Path
from typing import Any

import orjson
import pytest
from record_vllm import model_folder, random_case, recorded

from golden_cases import run_as_golden, with_batches
from steps import line_without_causes
from tracesim import (
    EngineArgs,
    EngineConfig,
    LLMEngine,
    TraceRecord,
    TraceSimulator,
    load_tokenizer,
    read_records,
)
from tracesim.analysis.report import report_requests
from tracesim.vllm.model_folder import model_files
from vllm_server import Server, a_trace_of_all_endings

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_folder(tmp_path_factory.mktemp("model"))


@pytest.mark.parametrize("number", range(48))
def test_the_schedule_is_the_installed_vllms(number: int, model: Path) -> None:
    pytest.importorskip("vllm", exc_type=ImportError)
    case = recorded(random_case(seed=2026, number=number), model)

    assert run_as_golden(case) == with_batches(case)


SETTINGS: dict[str, Any] = {
    "max_model_len": 512,
    "block_size": 16,
    "max_num_seqs": 16,
    "max_num_batched_tokens": 96,
}


def served(
    folder: Path, trace: Path, log: Path, records: Sequence[TraceRecord], **settings: Any
) -> list[str]:
    """What the installed vLLM answers, all prompts at once; its step records go to `log`."""
    from vllm import LLM, SamplingParams

    from tracesim.vllm import plugin

    for name, content in model_files().items():
        (folder / name).write_bytes(content)
    plugin.register()
    llm = LLM(
        model=str(folder),
        use_simulator=True,
        sim_trace_path=str(trace),
        additional_config={"sim_log": str(log)},
        num_gpu_blocks_override=60,
        **settings,
        **SETTINGS,
    )
    outputs = llm.generate([record.prompt or "" for record in records], SamplingParams(max_tokens=400))
    llm.llm_engine.engine_core.shutdown()
    return [output.outputs[0].text for output in outputs]


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("caching", [False, True])
def test_a_trace_is_scheduled_in_vllm_as_it_is_replayed(
    caching: bool, asynchronous: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Engine and front end share a process; several stop strings at once are aborted in no fixed order."""
    pytest.importorskip("vllm", exc_type=ImportError)
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    trace, log = a_trace_of_all_endings(tmp_path, 300), tmp_path / "steps.jsonl"
    records = read_records([trace])
    settings: dict[str, Any] = {"enable_prefix_caching": caching, "async_scheduling": asynchronous}
    texts = served(tmp_path, trace, log, records, **settings)
    engine = LLMEngine.from_engine_args(
        EngineArgs(
            sim_trace_path=trace, engine="vllm-v1", eos_step=True, num_gpu_blocks=60, **settings, **SETTINGS
        )
    )
    engine.add_records(records)
    steps: list[bytes] = []
    engine.run(lambda step: steps.append(line_without_causes(step)))

    assert log.read_bytes().splitlines(keepends=True) == steps
    assert texts == [report.text for report in report_requests(engine)]
    assert any(report.preemptions for report in report_requests(engine))


def prompts(records: Sequence[TraceRecord]) -> list[str]:
    return [record.prompt or "" for record in records]


def texts_of(records: Sequence[TraceRecord]) -> list[str | None]:
    """The outputs of these records, which no schedule changes."""
    engine = LLMEngine(EngineConfig(), TraceSimulator([], load_tokenizer()))
    engine.add_records(records)
    engine.run()
    return [report.text for report in report_requests(engine)]


def with_arrivals(records: Sequence[TraceRecord], steps: Sequence[Any]) -> list[TraceRecord]:
    """The records in the order in which a server took them, each with the step before which it arrived.

    Who is first scheduled first arrived first. How many arrived before a step was planned is the difference
    between the requests right after that and those right before, at the last plan or output in the log: the
    output of step n is taken in between plan n + 1 and plan n + 2.
    """
    by_id = {record.id: record for record in records}
    order = list(dict.fromkeys(entry["id"] for step in steps for entry in step["prefill"]))
    plans = [(step["step"], True, step["launched"]) for step in steps]
    moments = sorted([*plans, *((step["step"] + 1.5, False, step) for step in steps)], key=itemgetter(0))
    arrivals: list[float] = []
    before = 0
    for number, is_plan, counts in moments:
        present = counts["running"] + counts["waiting"]
        arrivals += [number] * (present - before) * is_plan
        before = present
    return [by_id[name]._replace(arrival_step=int(step)) for name, step in zip(order, arrivals, strict=True)]


@pytest.mark.parametrize("caching", [False, True])
def test_a_server_schedules_as_a_replay_of_the_same_arrivals(caching: bool, tmp_path: Path) -> None:
    """Engine and front end are processes of their own, and 64 clients send 300 requests.

    Then come requests with stop strings, which the front end finds late: their steps depend on the moment,
    their texts do not.
    """
    pytest.importorskip("vllm", exc_type=ImportError)
    trace, log = a_trace_of_all_endings(tmp_path, 400), tmp_path / "steps.jsonl"
    records = read_records([trace])
    stopped = [record for record in records if record.stop]
    others = [record for record in records if not record.stop]
    option = "--enable-prefix-caching" if caching else "--no-enable-prefix-caching"
    for name, content in model_files().items():
        (tmp_path / name).write_bytes(content)
    options = [f"--{name.replace('_', '-')}={value}" for name, value in SETTINGS.items()]
    options += ["--use-simulator", f"--sim-trace={trace}", "--num-gpu-blocks-override=60", option]
    options += [f"--additional-config={json.dumps({'sim_log': str(log)})}"]
    with Server(tmp_path, *options) as server:
        texts = server.answers(prompts(others), 64), server.answers(prompts(stopped), 64)
    names = {record.id for record in others}
    logged = map(orjson.loads, log.read_bytes().splitlines())
    steps = list(takewhile(lambda step: {e["id"] for e in step["prefill"] + step["decode"]} <= names, logged))
    settings = {"enable_prefix_caching": caching, "async_scheduling": True, "num_gpu_blocks": 60, **SETTINGS}
    engine = LLMEngine.from_engine_args(
        EngineArgs(sim_trace_path=trace, engine="vllm-v1", eos_step=True, **settings)
    )
    engine.add_records(with_arrivals(others, steps))
    replayed: list[Any] = []
    engine.run(lambda step: replayed.append(orjson.loads(line_without_causes(step))))

    assert steps == replayed
    assert any(step["preempted"] for step in steps)
    assert texts == (texts_of(others), texts_of(stopped))
