"""The recorded vLLM schedules, and runs of tracesim in their terms."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from typing import Any

import pytest

from factories import a_record, an_engine
from paths import GOLDEN
from tracesim import LLMEngine, StepRecord

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
            priority=request.get("priority"),
        )
        for request in case["requests"]
    ]
    return an_engine(records, engine=case["engine"], **settings)


def run_as_golden(case: dict[str, Any]) -> list[dict[str, Any]]:
    """Run a case and tell its steps in the words of the golden files; idle steps are not recorded."""
    engine = engine_of(case)
    steps: list[dict[str, Any]] = []
    engine.run(lambda record: steps.append(as_golden(record, [s.id for s in engine.scheduler.running])))
    return steps


def as_golden(record: StepRecord, running: list[str]) -> dict[str, Any]:
    """A step record in the words of the golden files, but for the batch, which it splits in two."""
    return {
        "step": record.step,
        "prefill": [[item.id, item.computed, item.tokens] for item in record.prefill],
        "decode": [[item.id, item.computed, item.tokens] for item in record.decode],
        "emitted": [token.id for token in record.emitted],
        "preempted": sorted(record.preempted),
        "finished": {request.id: request.finish_reason for request in record.finished},
        "running": running,
        "waiting": record.waiting,
        "free_blocks": record.free_blocks,
    }


def with_batches(case: dict[str, Any]) -> list[dict[str, Any]]:
    """The golden steps in which something happened, their `scheduled` split in `prefill` and `decode`."""
    prompts = {request["id"]: len(request["prompt_ids"]) for request in case["requests"]}
    emitted: Counter[str] = Counter()
    steps = []
    for step in case["steps"]:
        if not (step["scheduled"] or step["finished"] or step["preempted"]):
            continue
        batches: dict[str, list[Any]] = {"prefill": [], "decode": []}
        for index, (name, computed, tokens) in enumerate(step["scheduled"]):
            last = emitted[name] > 0 and computed + tokens == prompts[name] + emitted[name]
            decodes = index >= step["num_prefill"] if "num_prefill" in step else tokens == 1 and last
            batches["decode" if decodes else "prefill"].append([name, computed, tokens])
        emitted.update(step["emitted"])
        kept = {key: step[key] for key in ("step", "emitted", "preempted", "finished", "running", "waiting")}
        steps.append({**kept, **batches, "free_blocks": step["free_blocks"]})
    return steps


ALL = [*cases("v0.jsonl.gz"), *cases("v1.jsonl.gz"), *cases("v1_victims.jsonl.gz")]
