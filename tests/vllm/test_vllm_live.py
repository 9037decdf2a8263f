"""An installed vLLM and the engine, side by side: random cases, recorded and served here and now."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from record_vllm import model_folder, random_case, recorded

from golden_cases import run_as_golden, with_batches
from tracesim import EngineArgs, LLMEngine, TraceRecord, read_records
from tracesim.analysis.report import report_requests
from tracesim.engine.step_json import step_to_json
from tracesim.vllm.model_folder import model_files

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


def a_trace(folder: Path) -> Path:
    """300 requests, of which some share prefixes, some are cut by a stop string, and some by `max_tokens`."""
    draw = random.Random(7)
    words = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"]
    starts = [" ".join(draw.choices(words, k=60)) for _ in range(3)]
    limits: list[dict[str, Any]] = [{}, {}, {"stop": ["theta", "a b"]}, {"max_tokens": 9}]
    records = []
    for number in range(300):
        question = " ".join(draw.choices(words, k=draw.randint(1, 40)))
        record = {
            "prompt": f"{draw.choice(starts)} {number} {question}",
            "response": " ".join(draw.choices([*words, "é🤷🏽 "], k=draw.randint(0, 90))),
            **draw.choice(limits),
        }
        records.append(orjson.dumps(record))
    path = folder / "trace.jsonl"
    path.write_bytes(b"\n".join(records))
    return path


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
    trace, log = a_trace(tmp_path), tmp_path / "steps.jsonl"
    records = read_records([trace])
    settings = {"enable_prefix_caching": caching, "async_scheduling": asynchronous}
    texts = served(tmp_path, trace, log, records, **settings)
    engine = LLMEngine.from_engine_args(
        EngineArgs(
            sim_trace_path=trace, engine="vllm-v1", eos_step=True, num_gpu_blocks=60, **settings, **SETTINGS
        )
    )
    engine.add_records(records)
    steps: list[bytes] = []
    engine.run(lambda step: steps.append(step_to_json(step)))

    assert log.read_bytes().splitlines(keepends=True) == steps
    assert texts == [report.text for report in report_requests(engine)]
    assert any(report.preemptions for report in report_requests(engine))
