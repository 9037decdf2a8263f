"""A measured run replayed: its requests, when they were measured to arrive, under a clock."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any, Final

from tracesim.analysis.metrics import latency_of
from tracesim.calibration.scoring import Latencies
from tracesim.config import EngineConfig
from tracesim.engine.llm_engine import LLMEngine
from tracesim.engine.step_records import StepRecord
from tracesim.engine.stride_records import StrideRecord
from tracesim.errors import MeasurementError
from tracesim.measured.measurements import MeasuredRequest, MeasuredRun
from tracesim.requests.batch import pairs_of_chunk
from tracesim.responses.simulator import TraceSimulator
from tracesim.timing.calibration import costs_of
from tracesim.timing.clock import PER_SECOND, Clock
from tracesim.tokenizers.interface import Tokenizer
from tracesim.trace.record import TraceRecord

_FIRST_INVENTED_ID: Final = 2**31
"""Output tokens that a trace does not have are numbered from here, so that they are like no other token."""

_ROUNDING: Final = 1e-9
"""Times that differ by less, in seconds, are the same."""


class ReplayedRun:
    """Requests in the order of their arrival, `measured`, which can be replayed under any clock.

    `num_adjusted` counts the records of the trace whose answers were made as long as it was measured.
    """

    def __init__(
        self,
        config: EngineConfig,
        run: MeasuredRun,
        records: Sequence[TraceRecord] | None = None,
        tokenizer: Tokenizer | None = None,
    ) -> None:
        """`records` are those of a trace, with the prompts; without them, prompts have only lengths.

        Raises MeasurementError if the trace is not that of the run, or the engine refuses a request.
        """
        self._config = config
        self._tokenizer = tokenizer
        self.measured: Sequence[MeasuredRequest] = sorted(run.requests, key=lambda each: each.arrival)
        self.num_adjusted = 0
        self._next_id = _FIRST_INVENTED_ID
        earliest = self.measured[0].arrival
        matched = None if records is None else _matched(run, records)
        self._records = []
        for number, request in enumerate(self.measured):
            fields: dict[str, Any] = dict.fromkeys(TraceRecord._fields)
            if matched is None:
                fields |= {
                    "file": run.name,
                    "line": request.number + 1,
                    "input_length": request.prompt_tokens,
                }
                fields |= {"output_length": request.output_tokens}
            else:
                record = matched[request.number]
                fields |= record._asdict() | self._lengths_as_measured(record, request)
            fields |= {"arrival_step": 0, "arrival_time": request.arrival - earliest}
            fields |= {"id": f"request {number}", "session_id": None, "after": None, "delay": None}
            self._records.append(TraceRecord(**fields))
        self._check(run)

    def latencies(self, clock: Clock, last_arrival: float | None = None) -> list[Latencies]:
        """Return the latencies of the requests, in order; of those that arrived up to `last_arrival`."""
        engine = self._replay(clock, last_arrival)
        assert engine.timekeeper is not None
        found = []
        for number in range(len(engine.requests)):
            request_id = f"request {number}"
            latency = latency_of(engine.timekeeper.requests[request_id], self.measured[number].output_tokens)
            assert latency.e2e is not None, f"{request_id} has emitted nothing"
            assert latency.ttft is not None
            found.append(Latencies(latency.e2e, latency.ttft, latency.tpot))
        return found

    def decode_parts(self, clock: Clock, last_arrival: float | None = None) -> list[list[float]]:
        """Return for each request how much of the time from its first to its last token each cost makes.

        The costs are those of `costs_of` that are not 0, and the times are in seconds, in order of arrival.
        A token comes at the end of a stride.
        """
        strides: list[StrideRecord] = []
        engine = self._replay(clock, last_arrival, on_stride=strides.append)
        assert engine.timekeeper is not None
        ends = [(stride.start or 0.0) + (stride.duration or 0.0) - _ROUNDING for stride in strides]
        totals = [[0.0] * sum(cost > 0 for cost in costs_of(clock).values())]
        for stride in strides:
            parts = parts_of_stride(clock, stride)
            totals.append([total + part for total, part in zip(totals[-1], parts, strict=True)])
        found = []
        for number in range(len(engine.requests)):
            times = engine.timekeeper.requests[f"request {number}"]
            first, last = (
                totals[bisect_right(ends, (time or 0) / PER_SECOND)]
                for time in (times.first_token, times.last_token)
            )
            found.append([after - before for before, after in zip(first, last, strict=True)])
        return found

    def steps(self, clock: Clock) -> list[StepRecord]:
        """Return the steps of a replay."""
        steps: list[StepRecord] = []
        self._replay(clock, None, steps.append)
        return steps

    def _replay(
        self,
        clock: Clock,
        last_arrival: float | None,
        on_step: Callable[[StepRecord], object] | None = None,
        on_stride: Callable[[StrideRecord], object] | None = None,
    ) -> LLMEngine:
        end = len(self._records)
        while last_arrival is not None and end and self.measured[end - 1].arrival > last_arrival:
            end -= 1
        engine = LLMEngine(self._config, TraceSimulator([], self._tokenizer), clock=clock)
        engine.add_records(self._records[:end])
        engine.run(on_step, on_stride=on_stride)
        return engine

    def _check(self, run: MeasuredRun) -> None:
        """Raise MeasurementError for a request that the engine refuses."""
        engine = LLMEngine(self._config, TraceSimulator([], self._tokenizer))
        for record, error in engine.add_records(self._records):
            request = self.measured[int(record.id.split()[1])]
            raise MeasurementError(run.name, request.number + 1, f"cannot be replayed: {error}")

    def _lengths_as_measured(self, record: TraceRecord, request: MeasuredRequest) -> dict[str, Any]:
        """Return the fields that give a record an answer as long as it was measured, and no other end."""
        limit = record.max_tokens if (record.max_tokens or 0) >= request.output_tokens else None
        fields: dict[str, Any] = {"max_tokens": limit, "min_tokens": None, "stop": None}
        if record.output_length is not None:
            if record.output_length != request.output_tokens:
                self.num_adjusted += 1
            return {**fields, "output_length": request.output_tokens}
        (tokenized,) = TraceSimulator([], self._tokenizer).tokenize([record])
        ids = list(tokenized.recording.token_ids or ())[: request.output_tokens]
        if len(ids) != request.output_tokens or len(tokenized.recording.token_ids or ()) != len(ids):
            self.num_adjusted += 1
        first = self._next_id
        self._next_id += request.output_tokens - len(ids)
        ids += range(first, self._next_id)
        return {
            **fields,
            "prompt": None,
            "response": None,
            "prompt_token_ids": tokenized.prompt_token_ids,
            "response_token_ids": ids,
        }


def _matched(run: MeasuredRun, records: Sequence[TraceRecord]) -> dict[int, TraceRecord]:
    """Return the record of each request, by its number: the one with its id, or else the one at its place.

    Raises MeasurementError if there is none, or if it has another number of prompt tokens.
    """
    by_id = {record.id: record for record in records}
    if all(request.id in by_id for request in run.requests):
        found = {request.number: by_id[str(request.id)] for request in run.requests}
    elif len(run.requests) + run.num_skipped == len(records):
        found = {request.number: records[request.number] for request in run.requests}
    else:
        raise MeasurementError(
            run.name,
            None,
            f"has {len(run.requests) + run.num_skipped:,} requests, and the trace {len(records):,}; the "
            "trace must be what was sent in this run: the same ids, or as many requests in the same order",
        )
    for request in run.requests:
        record = found[request.number]
        length = record.input_length
        if record.prompt_token_ids is not None:
            length = len(record.prompt_token_ids)
        if length is not None and length != request.prompt_tokens:
            raise MeasurementError(
                run.name,
                request.number + 1,
                f"has {request.prompt_tokens:,} prompt tokens, and {record.file}:{record.line}, which should "
                f"be the same request, {length:,}; the trace must be what was sent in this run",
            )
    return found


def parts_of_stride(clock: Clock, stride: StrideRecord) -> list[float]:
    """Return how much of a stride's duration each cost of a clock makes, in seconds.

    A stride does not have the tokens in the KV cache of its decodes: what no other cost makes is theirs.
    """
    steps = stride.steps
    tokens = sum(entry.tokens for entry in stride.prefill)
    pairs = sum(pairs_of_chunk(entry.computed, entry.tokens) for entry in stride.prefill) * steps
    if steps > 1:
        pairs += tokens * tokens * (steps * (steps - 1) // 2)
    counts: dict[str, int] = {
        "base": steps,
        "prefill": steps * tokens,
        "decode": steps * stride.num_decodes,
        "prefill_context": pairs,
        **{f"first_{most}": steps * min(most, tokens + stride.num_decodes) for most, _ in clock.first},
    }
    costs = costs_of(clock)
    parts = {name: count * costs[name] / PER_SECOND for name, count in counts.items()}
    parts["context"] = max(0.0, (stride.duration or 0.0) - sum(parts.values()))
    return [parts[name] for name, cost in costs.items() if cost]
