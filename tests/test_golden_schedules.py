"""Every step of every recorded vLLM schedule, equal in every figure."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from factories import a_record, an_engine
from tracesim import LLMEngine, StepRecord

GOLDEN = Path(__file__).parent / "golden"
SETTINGS = {"num_blocks": "num_gpu_blocks", "policy": "scheduling_policy"}
DRIVERS_OWN = {"first_token"}


def cases(name: str) -> list[Any]:
    with gzip.open(GOLDEN / name) as lines:
        return [pytest.param(case, id=case["name"]) for case in map(json.loads, lines)]


def engine_of(case: dict[str, Any]) -> LLMEngine:
    settings = {SETTINGS.get(k, k): v for k, v in case["config"].items() if k not in DRIVERS_OWN}
    records = [
        a_record(
            request["id"],
            prompt_token_ids=request["prompt_ids"],
            response_token_ids=request["response_ids"],
            max_tokens=request["max_tokens"],
            arrival_step=request["arrival_step"],
        )
        for request in case["requests"]
    ]
    return an_engine(records, engine=case["engine"], **settings)


def as_golden(record: StepRecord, running: list[str]) -> dict[str, Any]:
    """A step record in the words of the golden files."""
    return {
        "step": record.step,
        "num_prefill": len(record.prefill),
        "scheduled": [[item.id, item.computed, item.tokens] for item in [*record.prefill, *record.decode]],
        "emitted": [token.id for token in record.emitted],
        "ignored": [],
        "preempted": sorted(record.preempted),
        "finished": {request.id: request.finish_reason for request in record.finished},
        "running": running,
        "waiting": record.waiting,
        "free_blocks": record.free_blocks,
    }


@pytest.mark.parametrize("case", cases("v0.jsonl.gz"))
def test_prefill_first_schedule_is_vllm_v0s(case: dict[str, Any]) -> None:
    engine = engine_of(case)
    steps: list[dict[str, Any]] = []
    engine.run(
        lambda record: steps.append(as_golden(record, [state.id for state in engine.scheduler.running]))
    )

    assert [step for step in case["steps"] if step["scheduled"] or step["finished"]] == steps
