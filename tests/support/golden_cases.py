"""The recorded vLLM schedules, and runs of tracesim in the same form."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from dataclasses import asdict
from typing import Any

import pytest

from factories import a_record, an_engine
from paths import GOLDEN
from tracesim import LLMEngine, StepRecord

SETTING_NAMES = {"num_blocks": "num_gpu_blocks", "policy": "scheduling_policy"}
"""tracesim's names for settings that the golden files call otherwise."""

RECORDER_SETTINGS = {"first_token"}
"""Settings of the recorder, not of the engine."""


_FIRST_CHARACTER = 0x4E00
"""The character that stands for token 0 in a text; those after it are letters, too."""


def cases(name: str) -> list[Any]:
    """Return the cases of a golden file as pytest parameters."""
    with gzip.open(GOLDEN / name) as lines:
        return [pytest.param(case, id=case["name"]) for case in map(json.loads, lines)]


def engine_of(case: dict[str, Any]) -> LLMEngine:
    """Return an engine with the settings and requests of a case, before its first step."""
    config = {name: value for name, value in case["config"].items() if name not in RECORDER_SETTINGS}
    settings = {SETTING_NAMES.get(name, name): value for name, value in config.items()}
    records = [
        a_record(
            request["id"],
            **_tokens_of(request),
            max_tokens=request["max_tokens"],
            arrival_step=request["arrival_step"],
            priority=request.get("priority"),
        )
        for request in case["requests"]
    ]
    return an_engine(records, engine=case["engine"], **settings)


def _tokens_of(request: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a record with a request's tokens: a text where a stop string is to be found.

    Each token is one character of the text, so the first `stop_after` characters of the response are a stop
    string that token `stop_after` completes.
    """
    prompt, response = request["prompt_ids"], request["response_ids"]
    if "stop_after" not in request:
        return {"prompt_token_ids": prompt, "response_token_ids": response}
    text = "".join(chr(_FIRST_CHARACTER + token) for token in response)
    stop = text[: request["stop_after"]] if request["stop_after"] else None
    return {
        "prompt": "".join(chr(_FIRST_CHARACTER + token) for token in prompt),
        "response": text,
        "stop": stop and (stop,),
    }


def run_as_recorded(case: dict[str, Any]) -> list[dict[str, Any]]:
    """Run a case of `vllm-v1` and return its steps in the form in which the recorder writes them."""
    engine = engine_of(case)
    steps: list[dict[str, Any]] = []

    def note(record: StepRecord) -> None:
        batch = sorted(
            [*record.prefill, *record.decode], key=lambda entry: engine.requests[entry.id].state.admission
        )
        steps.append(
            {
                "step": record.step,
                "scheduled": [[entry.id, entry.computed, entry.tokens] for entry in batch],
                "preempted": sorted(record.preempted),
                **({} if record.launched is None else {"launched": asdict(record.launched)}),
                "emitted": [token.id for token in record.emitted],
                "finished": {request.id: request.finish_reason for request in record.finished},
                **({} if record.discarded is None else {"discarded": record.discarded}),
                "running": [state.id for state in engine.scheduler.running],
                "waiting": record.waiting,
                "free_blocks": record.free_blocks,
            }
        )

    engine.run(note)
    return steps


def busy_steps(case: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the steps of a case in which something was scheduled, finished or preempted."""
    return [step for step in case["steps"] if step["scheduled"] or step["finished"] or step["preempted"]]


def run_as_golden(case: dict[str, Any]) -> list[dict[str, Any]]:
    """Run a case and return its steps in the form of `with_batches`."""
    engine = engine_of(case)
    steps: list[dict[str, Any]] = []
    engine.run(lambda record: steps.append(_as_golden(record, [s.id for s in engine.scheduler.running])))
    return steps


def _as_golden(record: StepRecord, running: list[str]) -> dict[str, Any]:
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
    """Return the steps of a case that are not idle, with `scheduled` divided in two batches."""
    prompts = {request["id"]: len(request["prompt_ids"]) for request in case["requests"]}
    emitted: Counter[str] = Counter()
    steps = []
    for step in case["steps"]:
        if not (step["scheduled"] or step["finished"] or step["preempted"]):
            continue
        batches: dict[str, list[Any]] = {"prefill": [], "decode": []}
        for index, (name, computed, tokens) in enumerate(step["scheduled"]):
            if "num_prefill" in step:
                is_decode = index >= step["num_prefill"]
            else:
                num_known = prompts[name] + emitted[name]
                is_decode = tokens == 1 and emitted[name] > 0 and computed + tokens == num_known
            batches["decode" if is_decode else "prefill"].append([name, computed, tokens])
        emitted.update(step["emitted"])
        kept = {key: step[key] for key in ("step", "emitted", "preempted", "finished", "running", "waiting")}
        steps.append({**kept, **batches, "free_blocks": step["free_blocks"]})
    return steps


ALL = [*cases("v0.jsonl.gz"), *cases("v1.jsonl.gz"), *cases("v1_victims.jsonl.gz")]

ASYNC = [*cases("v1_async.jsonl.gz"), *cases("v1_stops.jsonl.gz")]
