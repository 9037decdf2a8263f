"""Random engine configurations and requests, and what must hold in every run."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from factories import a_record, an_engine
from tracesim import EngineConfig, LLMEngine, StepRecord, TraceRecord, measure_run, parse_clock
from tracesim.analysis.report import report_requests, summarize
from tracesim.errors import RequestError, StalledError
from tracesim.timing.arrival_process import parse_arrivals

CLOCKS = (
    None,
    None,
    "constant:20ms",
    "linear:base=5ms,prefill=50us,decode=80us,context=3ns",
    "linear:base=1ps,context=1s",
)
ARRIVALS = ("trace", "trace", "trace", "asap", "constant:0.5", "poisson:3", "closed:2")


class Run(NamedTuple):
    """What a run is made of."""

    settings: dict[str, Any]
    clock: str | None
    arrivals: str
    records: Sequence[dict[str, Any]]

    def engine(self) -> tuple[LLMEngine, list[str]]:
        """Return an engine with the requests that it accepts, and the ids of the others."""
        engine = an_engine(
            clock=parse_clock(self.clock or "steps"), arrivals=parse_arrivals(self.arrivals), **self.settings
        )
        refused = []
        for fields in self.records:
            try:
                engine.add_record(a_record(**fields))
            except RequestError:
                refused.append(fields["id"])
        return engine, refused


def draw_run(rng: random.Random) -> Run:
    """Return random requests and settings; caches are small, so that requests wait and are preempted."""
    engine = rng.choice(("simple", "vllm-v0", "vllm-v1", "vllm-v1", "vllm-v1"))
    block_size = rng.choice((1, 2, 4, 16, 1000, 5000))
    settings: dict[str, Any] = {
        "engine": engine,
        "block_size": block_size,
        "max_num_seqs": rng.choice((1, 2, 3, 8, 256)),
    }
    optional: dict[str, Sequence[Any]] = {
        "num_gpu_blocks": (None, 8, 12, 20, 40, 200),
        "max_num_batched_tokens": (None, 8, 17, 64, 2048),
        "max_model_len": (None, 30, 64, 500),
        "watermark": (None, 0.0, 0.1, 0.5),
    }
    if engine == "vllm-v1":
        optional |= {
            "enable_prefix_caching": (None, True),
            "enable_chunked_prefill": (None, False),
            "async_scheduling": (None, True),
            "scheduling_policy": (None, "priority"),
            "long_prefill_token_threshold": (None, 5, 40),
            "scheduler_reserve_full_isl": (None, False),
        }
    settings |= {name: rng.choice(values) for name, values in optional.items() if rng.random() < 0.6}
    clock = rng.choice(CLOCKS)
    records = [
        _draw_record(rng, number, has_clock=clock is not None) for number in range(rng.randrange(1, 25))
    ]
    return Run(settings, clock, rng.choice(ARRIVALS), records)


def _draw_record(rng: random.Random, number: int, *, has_clock: bool) -> dict[str, Any]:
    fields: dict[str, Any] = {"id": f"r{number}", "priority": rng.randrange(-1, 2)}
    prompt, output = rng.choice((1, 2, 3, 15, 16, 17, 40, 90)), rng.choice((0, 1, 2, 7, 16, 33, 60))
    kind = rng.randrange(3)
    if kind == 0:
        start = rng.choice(("shared " * 20, "other " * 20, rng.choice("abc") * 99))
        fields |= {"prompt": start[:prompt] or "a", "response": "abcdefghijklmnopqrstuvwxyz"[:output]}
        if rng.random() < 0.2:
            fields["stop"] = (rng.choice(("c", "gh", "z")),)
    elif kind == 1:
        fields |= {
            "prompt_token_ids": tuple([rng.choice((1, 2))] * prompt),
            "response_token_ids": (5,) * output,
        }
    else:
        fields |= {"input_length": prompt, "output_length": output}
        if rng.random() < 0.5:
            fields |= {
                "hash_ids": tuple(rng.choice((1, 2)) for _ in range(-(-prompt // 16))),
                "hash_block_size": 16,
            }
    if rng.random() < 0.3:
        fields["max_tokens"] = rng.choice((1, 5, 20))
    if rng.random() < 0.7:
        fields["arrival_step"] = rng.choice((0, 0, 1, 3, 10, 50, 51))
    if has_clock:
        fields["arrival_time"] = rng.choice((0.0, 0.0, 0.02, 0.5, 1e6))
    return fields


def faults_of_run(run: Run) -> Iterator[str]:
    """Yield what does not hold in a run: recorded step by step, it is compared with one by strides."""
    stepped, refused = run.engine()
    steps: list[StepRecord] = []
    try:
        stepped.run(steps.append, max_steps=50_000)
    except StalledError:  # a schedule that can never continue, as the engines document
        return
    strided, _ = run.engine()
    strided.run()
    if _end_of(stepped) != _end_of(strided):
        yield "a run by strides ends in another way than the same run step by step"
    yield from _faults_of_steps(steps, stepped)
    yield from _faults_of_order(steps, run)
    accepted = {fields["id"] for fields in run.records} - {*refused}
    ends = Counter(entry.id for step in steps for entry in step.finished)
    if ends != Counter(accepted):
        yield f"requests end {ends}, and {len(accepted)} were added"


def _end_of(engine: LLMEngine) -> tuple[Any, ...]:
    figures = measure_run(engine) if engine.timekeeper else None
    return report_requests(engine), summarize(engine), figures, engine.scheduler.num_free_blocks


def _faults_of_steps(steps: Sequence[StepRecord], engine: LLMEngine) -> Iterator[str]:
    config = engine.config
    emitted = Counter(token.id for step in steps for token in step.emitted)
    for name, progress in engine.requests.items():
        may_be_ignored = config.engine != "vllm-v1" and progress.vllm_finish_reason == "length"
        is_whole = emitted[name] == progress.response.num_tokens or progress.is_rejected or may_be_ignored
        if emitted[name] != progress.state.num_output_tokens or not is_whole:
            yield f"{name} emits {emitted[name]} tokens, and its response has {progress.response.num_tokens}"
    if config.num_gpu_blocks is not None:
        free = config.num_gpu_blocks - (config.engine == "vllm-v1")
        if steps and steps[-1].free_blocks != free:
            yield f"{steps[-1].free_blocks} blocks are free at the end, not {free}"
    numbers = [step.step for step in steps]
    if numbers != sorted(set(numbers)):
        yield "the numbers of the steps do not ascend"
    for step in steps:
        yield from _faults_of_step(step, config)


def _faults_of_step(step: StepRecord, config: EngineConfig) -> Iterator[str]:
    """Yield what does not hold in a step."""
    entries = [*step.prefill, *step.decode]
    if config.max_num_batched_tokens is not None:
        tokens = sum(entry.tokens for entry in entries)
        if tokens > config.max_num_batched_tokens and config.engine == "vllm-v1":
            yield f"step {step.step} has {tokens} tokens"
    if step.running > config.max_num_seqs or len(entries) > config.max_num_seqs:
        yield f"{step.running} requests run after step {step.step}, {len(entries)} in its batch"
    if max(Counter(entry.id for entry in entries).values(), default=0) > 1:
        yield f"a request is twice in the batch of step {step.step}"
    if max(Counter(token.id for token in step.emitted).values(), default=0) > 1:
        yield f"a request emits two tokens in step {step.step}"
    if step.free_blocks is not None and not 0 <= step.free_blocks <= (config.num_gpu_blocks or 0):
        yield f"{step.free_blocks} blocks are free after step {step.step}"
    if {*step.preempted} & {entry.id for entry in entries}:
        yield f"step {step.step} computes a request that it preempts"


def _faults_of_order(steps: Sequence[StepRecord], run: Run) -> Iterator[str]:
    """Yield which requests are computed first before one that arrived earlier."""
    if (
        run.settings.get("scheduling_policy") == "priority"
        or run.clock
        or run.arrivals not in ("trace", "asap")
    ):
        return
    first: dict[str, None] = {}
    rejected = {name for step in steps for name in step.rejected or ()}
    for step in steps:
        first |= dict.fromkeys(entry.id for entry in step.prefill if entry.id not in rejected)
    is_asap = run.arrivals == "asap"
    arrivals = {
        fields["id"]: (0 if is_asap else fields.get("arrival_step", 0), number)
        for number, fields in enumerate(run.records)
    }
    order = [arrivals[name] for name in first]
    if order != sorted(order):
        yield f"requests are first computed in the order {[*first]}"


def records_of(run: Run) -> list[TraceRecord]:
    """Return the records of a run."""
    return [a_record(**fields) for fields in run.records]
