"""Steps for tests, as records and as the JSON of a step log: a test names only what it varies."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from tracesim import StepRecord
from tracesim.analysis.step_log import LoggedStep
from tracesim.engine.step_json import step_to_json


def a_step_record(step: int = 0, **varied: Any) -> StepRecord:
    """Return the record of a step in which nothing happens except what is named."""
    usual: dict[str, Any] = {
        "prefill": [],
        "decode": [],
        "emitted": [],
        "finished": [],
        "preempted": [],
        "running": 0,
        "waiting": 0,
        "free_blocks": None,
    }
    return StepRecord(**(usual | varied), step=step)


def a_step(number: int = 0, **varied: Any) -> dict[str, Any]:
    """Return the JSON object of a step in which r1 decodes, except for what is named."""
    usual: dict[str, Any] = {
        "schema": "tracesim.step/1",
        "step": number,
        "prefill": [],
        "decode": [{"id": "r1", "computed": 5, "tokens": 1}],
        "emitted": [{"id": "r1", "token_id": 32, "text": " "}],
        "finished": [],
        "preempted": [],
        "running": 1,
        "waiting": 0,
        "free_blocks": None,
    }
    return usual | varied


def a_logged_step(number: int = 0, **varied: Any) -> LoggedStep:
    """Return `a_step` as a step log has it."""
    fields = a_step(number, **varied)
    return LoggedStep(number, {name: fields[name] for name in fields if name not in ("schema", "step")})


def write_lines(path: Path, *objects: Any) -> Path:
    """Write a JSONL file and return its path."""
    path.write_text("".join(json.dumps(each) + "\n" for each in objects), encoding="utf-8")
    return path


def line_without_causes(record: StepRecord) -> bytes:
    """Return the line of JSON of a step record as the log of a real vLLM has it, without causes."""
    return step_to_json(replace(record, preempted_for=None, waiting_for=None))
