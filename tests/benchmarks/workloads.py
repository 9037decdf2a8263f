"""The workloads that speed is measured on: requests by their lengths alone, all of them there at step 0."""

from __future__ import annotations

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
    """Requests, the engine's settings, and the `steps` and `preemptions` that it takes to serve them."""

    name: str
    records: Sequence[TraceRecord] = field(repr=False)
    settings: Mapping[str, Any]
    steps: int
    preemptions: int

    @property
    def output_tokens(self) -> int:
        """Output tokens of all requests."""
        return sum(record.output_length or 0 for record in self.records)

    def engine(self, clock: Clock | None = None) -> LLMEngine:
        """An engine with every request added, before its first step; all are there at once."""
        return an_engine(self.records, clock=clock, arrivals=ArrivalProcess("asap"), **self.settings)

    def check(self, engine: LLMEngine) -> None:
        """Assert that `engine` has served them all, in as many steps as it takes."""
        summary = summarize(engine)
        found = (summary.unfinished, summary.output_tokens, summary.steps, summary.preemptions)

        assert (0, self.output_tokens, self.steps, self.preemptions) == found

    def flags(self) -> list[str]:
        """The settings as flags of `tracesim replay`; one that is on is a flag by itself."""
        given = [[f"--{name.replace('_', '-')}", str(value)] for name, value in self.settings.items()]
        return [part for flag in given for part in flag if part != "True"]

    def trace(self) -> str:
        """The requests as the lines of a trace file."""
        line = '{{"input_length": {}, "output_length": {}}}\n'
        return "".join(line.format(record.input_length, record.output_length) for record in self.records)


def w1() -> Workload:
    """Short requests, of which 256 run at a time and none has to make room."""
    return Workload("W1", _alike(1_000, 512, 256), _settings(256, 20_000), steps=1_090, preemptions=0)


def w1_wide() -> Workload:
    """W1 with ten times the requests."""
    records = _alike(10_000, 512, 256)
    return replace(w1(), name="W1 with 10 x the requests", records=records, steps=10_245)


def w1_long() -> Workload:
    """W1 with ten times the output length; now the cache is too small for 256 at a time."""
    records = _alike(1_000, 512, 2_560)
    return replace(w1(), name="W1 with 10 x the output", records=records, steps=16_283, preemptions=1_425)


def w2() -> Workload:
    """Longer requests in a small cache: they are preempted and computed again."""
    return Workload("W2", _alike(200, 2_048, 1_024), _settings(64, 6_000), steps=6_196, preemptions=83)


def w3(traces: Path) -> Workload:
    """12,031 recorded conversations: on average 12,035 prompt and 343 output tokens."""
    records = [item for item in read_trace([w3_path(traces)]) if isinstance(item, TraceRecord)]
    return Workload("W3", records, _settings(256, 20_000), steps=191_648, preemptions=185)


def w3_cached(traces: Path) -> Workload:
    """W3 with prefix caching; `hash_ids` tell which prefixes are equal."""
    plain = w3(traces)
    settings = {**plain.settings, "enable_prefix_caching": True}
    return replace(plain, name="W3 with prefix caching", settings=settings, steps=184_568, preemptions=158)


def w3_path(traces: Path) -> Path:
    """W3's file in the folder of real traces."""
    return traces / "mooncake_conversation.jsonl.gz"


def _alike(count: int, prompt: int, output: int) -> list[TraceRecord]:
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
