"""Test factories: a test names only what it varies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tracesim import EngineArgs, LLMEngine, StepRecord, TraceRecord, TraceSimulator, load_tokenizer
from tracesim.timing.arrival_process import ArrivalProcess
from tracesim.timing.clock import Clock, parse_clock


def a_record(id: str = "r1", **fields: Any) -> TraceRecord:  # noqa: A002
    """Return a trace record that answers "Hi" with " there", except for what is given."""
    defaults: dict[str, Any] = dict.fromkeys(TraceRecord._fields)
    if not fields.keys() & {"response", "response_token_ids", "output_length"}:
        defaults["response"] = " there"
    if not fields.keys() & {"prompt", "prompt_token_ids", "input_length"}:
        defaults["prompt"] = "Hi"
    defaults.update(arrival_step=0, file="trace.jsonl", line=1)
    return TraceRecord(**{**defaults, "id": id, **fields})


def a_simulator(tokenizer: str = "char") -> TraceSimulator:
    """Return a simulator without recordings of its own."""
    return TraceSimulator([], load_tokenizer(tokenizer))


def an_engine(
    records: Iterable[TraceRecord] = (),
    tokenizer: str = "char",
    clock: Clock | None = None,
    arrivals: ArrivalProcess | None = None,
    **settings: Any,
) -> LLMEngine:
    """Return an engine to which the records have been added."""
    simulator = a_simulator(tokenizer)
    config = EngineArgs(**settings).create_engine_config()
    engine = LLMEngine(config, simulator, clock=clock, arrivals=arrivals)
    for record in records:
        engine.add_record(record)
    return engine


def an_engine_with_the_valid(
    records: Sequence[TraceRecord], settings: Mapping[str, Any], clock: str = "steps"
) -> LLMEngine:
    """Return an engine with those of the records that it does not refuse."""
    engine = an_engine(clock=parse_clock(clock), **settings)
    engine.add_records(records)
    return engine


def steps_of(engine: LLMEngine) -> list[StepRecord]:
    """Run an engine to its end and return every step."""
    steps: list[StepRecord] = []
    engine.run(steps.append, max_steps=100_000)
    return steps
