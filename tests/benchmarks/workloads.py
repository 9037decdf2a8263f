"""The workloads of the benchmarks: requests with lengths only, all of which arrive at step 0."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from factories import a_record, an_engine
from tracesim import LLMEngine, TraceRecord, read_trace
from tracesim.analysis.report import summarize
from tracesim.timing.arrival_process import ArrivalProcess
from tracesim.timing.clock import Clock


@dataclass(frozen=True)
class Workload:
    """Requests, engine settings, and the `steps` and `preemptions` that they take."""

    name: str
    records: Sequence[TraceRecord] = field(repr=False)
    settings: Mapping[str, Any]
    steps: int
    preemptions: int

    @property
    def output_tokens(self) -> int:
        """The output tokens of all requests."""
        return sum(record.output_length or 0 for record in self.records)

    def engine(self, clock: Clock | None = None) -> LLMEngine:
        """Return an engine to which every request is added, before its first step."""
        return an_engine(self.records, clock=clock, arrivals=ArrivalProcess("asap"), **self.settings)

    def check(self, engine: LLMEngine) -> None:
        """Assert that `engine` finished all requests in the expected number of steps."""
        summary = summarize(engine)
        found = (summary.unfinished, summary.output_tokens, summary.steps, summary.preemptions)

        assert (0, self.output_tokens, self.steps, self.preemptions) == found

    def check_outputs(self, engine: LLMEngine) -> None:
        """Assert that `engine` emitted all tokens, in any number of steps."""
        summary = summarize(engine)

        assert (0, self.output_tokens) == (summary.unfinished, summary.output_tokens)

    def options(self) -> list[str]:
        """Return the settings as options of `tracesim replay`."""
        options = [[f"--{name.replace('_', '-')}", str(value)] for name, value in self.settings.items()]
        return [part for option in options for part in option if part != "True"]

    def trace(self) -> str:
        """Return the requests as the lines of a trace file."""
        line = '{{"input_length": {}, "output_length": {}}}\n'
        return "".join(line.format(record.input_length, record.output_length) for record in self.records)


def w1() -> Workload:
    """Return short requests, of which 256 run at a time and none is preempted."""
    return Workload(
        "W1", _equal_requests(1_000, 512, 256), _settings(256, 20_000), steps=1_090, preemptions=0
    )


def w1_wide() -> Workload:
    """Return W1 with ten times the requests."""
    records = _equal_requests(10_000, 512, 256)
    return replace(w1(), name="W1 with 10 x the requests", records=records, steps=10_245)


def w1_long() -> Workload:
    """Return W1 with ten times the output length; the cache is too small for 256 of them."""
    records = _equal_requests(1_000, 512, 2_560)
    return replace(w1(), name="W1 with 10 x the output", records=records, steps=16_283, preemptions=1_425)


def w2() -> Workload:
    """Return longer requests in a small cache, which are preempted and computed again."""
    return Workload(
        "W2", _equal_requests(200, 2_048, 1_024), _settings(64, 6_000), steps=6_196, preemptions=83
    )


def w3(traces: Path) -> Workload:
    """Return 12,031 recorded conversations, of 12,035 prompt and 343 output tokens on average."""
    records = [item for item in read_trace([w3_path(traces)]) if isinstance(item, TraceRecord)]
    return Workload("W3", records, _settings(256, 20_000), steps=191_648, preemptions=185)


def w3_cached(traces: Path) -> Workload:
    """Return W3 with prefix caching; `hash_ids` identify equal prefixes."""
    plain = w3(traces)
    settings = {**plain.settings, "enable_prefix_caching": True}
    return replace(plain, name="W3 with prefix caching", settings=settings, steps=184_568, preemptions=158)


def w3_path(traces: Path) -> Path:
    """Return the file of W3 in the folder of real traces."""
    return traces / "mooncake_conversation.jsonl.gz"


def _equal_requests(count: int, prompt: int, output: int) -> list[TraceRecord]:
    lengths = {"input_length": prompt, "output_length": output}
    return [a_record(f"r{number}", **lengths) for number in range(1, count + 1)]


def _settings(max_num_seqs: int, num_gpu_blocks: int) -> dict[str, Any]:
    return {
        "engine": "vllm-v1",
        "max_num_seqs": max_num_seqs,
        "max_num_batched_tokens": 2_048,
        "block_size": 16,
        "num_gpu_blocks": num_gpu_blocks,
    }


def served(num_requests: int = 4_000) -> Sequence[TraceRecord]:
    """Return requests of random lengths, of which 40 arrive in a second at random."""
    draw = random.Random(1)
    records, time = [], 0.0
    for number in range(num_requests):
        time += draw.expovariate(40)
        lengths = {"input_length": draw.randint(50, 2000), "output_length": draw.randint(20, 600)}
        records.append(a_record(f"r{number}", arrival_time=time, **lengths))
    return records


def sessions(num_sessions: int = 1_000) -> Sequence[TraceRecord]:
    """Return sessions of four turns, of which 4 start in a second; a turn has a delay of up to 10 s."""
    draw = random.Random(2)
    records, start = [], 0.0
    for number in range(num_sessions):
        start += draw.expovariate(4)
        for turn in range(4):
            lengths = {"input_length": 400 * (turn + 1), "output_length": draw.randint(20, 400)}
            time = {"delay": draw.uniform(0, 10)} if turn else {"arrival_time": start}
            records.append(a_record(f"s{number}/{turn}", session_id=f"s{number}", **lengths, **time))
    return records
