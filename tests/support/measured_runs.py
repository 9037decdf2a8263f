"""Servers that were "measured": replays under a clock that is known, so that a calibration has to find it."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any, NamedTuple

from factories import a_record
from tracesim import EngineArgs, LLMEngine, TraceRecord, TraceSimulator
from tracesim.engine.step_json import step_to_json
from tracesim.engine.step_records import StepRecord
from tracesim.timing.clock import PER_SECOND, parse_clock
from tracesim.timing.timekeeper import RequestTimes

CLOCK = "linear:base=8ms,prefill=50us,decode=30us,context=90ns,prefill_context=3ns"
SETTINGS: dict[str, Any] = {"engine": "vllm-v1", "num_gpu_blocks": 2000, "max_num_seqs": 32}


class Server(NamedTuple):
    """What was sent to a server, and what happened there."""

    records: list[TraceRecord]
    steps: list[StepRecord]
    times: dict[str, RequestTimes]

    def bench(self, overhead: float = 0.0) -> str:
        """Return the requests as `vllm bench serve` writes them, with so much time outside the engine."""
        rows = [(each, self.times[each.id]) for each in self.records]
        first = [((t.first_token or 0) - t.arrived) / PER_SECOND + overhead for _, t in rows]
        spans = [((t.last_token or 0) - (t.first_token or 0)) / PER_SECOND for _, t in rows]
        gaps = [max(1, (each.output_length or 0) - 1) for each in self.records]
        document = {
            "input_lens": [each.input_length for each in self.records],
            "output_lens": [each.output_length for each in self.records],
            "start_times": [t.arrived / PER_SECOND for _, t in rows],
            "ttfts": first,
            "itls": [[span / gap] * gap for span, gap in zip(spans, gaps, strict=True)],
        }
        return json.dumps(document)

    def step_log(self) -> str:
        """Return the steps as JSONL."""
        return b"".join(map(step_to_json, self.steps)).decode()

    def vllm_log(self) -> str:
        """Return the steps as vLLM logs them."""
        lines = []
        for number, step in enumerate(self.steps):
            tokens, decodes = sum(each.tokens for each in step.prefill), len(step.decode)
            used = 1 - (step.free_blocks or 0) / SETTINGS["num_gpu_blocks"]
            lines.append(
                f"INFO 11-25 14:00:00 [loggers.py:200] Iteration({number}): "
                f"{len(step.prefill)} context requests, {tokens} context tokens, "
                f"{decodes} generation requests, {decodes} generation tokens, "
                f"iteration elapsed time: {(step.duration or 0) * 1000:.2f} ms, "
                f"GPU KV cache usage: {100 * used:.1f}%\n"
            )
        return "".join(lines)

    def trace(self) -> str:
        """Return what was sent as a trace."""
        fields = ("id", "input_length", "output_length", "arrival_time")
        rows = [{name: getattr(each, name) for name in fields} for each in self.records]
        return "".join(json.dumps(row) + "\n" for row in rows)


def a_server(requests: int = 120, rate: float = 5.0, seed: int = 1, clock: str = CLOCK) -> Server:
    """Return a server that got random requests, at random times, so many a second on average."""
    draw = random.Random(seed)
    records, now = [], 0.0
    for number in range(requests):
        now += draw.expovariate(rate)
        record = a_record(
            f"q{number}",
            input_length=draw.randint(20, 1500),
            output_length=draw.randint(2, 150),
            arrival_time=round(now, 6),
        )
        records.append(record)
    config = EngineArgs(**SETTINGS).create_engine_config()
    engine = LLMEngine(config, TraceSimulator([], None), clock=parse_clock(clock))
    engine.add_records(records)
    steps: list[StepRecord] = []
    engine.run(steps.append)
    assert engine.timekeeper is not None
    return Server(records, steps, engine.timekeeper.requests)


def written(path: Path, content: str) -> Path:
    """Write a file and return its path."""
    path.write_text(content)
    return path
