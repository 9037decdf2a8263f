"""A measured run of steps: its batches, with the tokens in the KV cache from the log or from a replay."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Final

from tracesim.calibration.replayed_run import ReplayedRun
from tracesim.calibration.scoring import Latencies, latencies_of
from tracesim.config import EngineConfig
from tracesim.engine.llm_engine import LLMEngine
from tracesim.engine.step_records import StepRecord
from tracesim.measured.measurements import MeasuredRun
from tracesim.requests.batch import Batch, pairs_of_chunk
from tracesim.responses.simulator import TraceSimulator
from tracesim.timing.clock import PER_SECOND, Clock
from tracesim.tokenizers.interface import Tokenizer
from tracesim.trace.record import TraceRecord

_CLOCKS_AGREE: Final = 0.001
"""A request may arrive so many seconds after its first step, by rounding, if trace and log have one clock."""


class StepRun:
    """The batches of a run and how long each took, in seconds.

    With `has_context` the batches have the tokens in the KV cache: from the log itself, or estimated from the
    KV blocks in use where the number of blocks is known. With `needs_replay` a replay of the trace has them.
    """

    def __init__(
        self,
        run: MeasuredRun,
        config: EngineConfig,
        records: Sequence[TraceRecord] | None,
        tokenizer: Tokenizer | None,
    ) -> None:
        self.run = run
        self._config, self._records, self._tokenizer = config, records, tokenizer
        self.durations = [step.seconds for step in run.steps]
        is_known = run.steps[0].context_tokens is not None
        self.needs_replay = not is_known and records is not None
        is_estimated = not is_known and not self.needs_replay and run.usage and config.num_gpu_blocks
        self.has_context = bool(is_known or is_estimated)
        self.batches = [
            Batch(
                step.prefill_tokens,
                step.num_decodes,
                step.context_tokens or 0,
                _pairs_without_context(step.prefill_tokens, step.num_prefills)
                if step.prefill_context_tokens is None
                else step.prefill_context_tokens,
            )
            for step in run.steps
        ]
        if is_estimated:
            self._estimate_context()

    def split(self, part: float) -> int:
        """Return how many steps are fitted: those of the first part of the time that all steps took."""
        ends = list(accumulate(self.durations))
        return min(max(1, bisect_left(ends, ends[-1] * part)), len(ends) - 1)

    def find_context(self, clock: Clock) -> bool:
        """Take the tokens in the KV cache from a replay under a clock; return whether that was needed.

        The replay's batches are not exactly those that were measured, but the tokens in the KV cache per
        request are nearly the same when as many tokens have been computed. Steps are compared by that.
        """
        if not self.needs_replay:
            return False
        engine = LLMEngine(self._config, TraceSimulator([], self._tokenizer), clock=clock)
        engine.add_records(self._records or ())
        steps: list[StepRecord] = []
        engine.run(steps.append)
        progress, per_decode, per_prefill = _context_by_progress(steps)
        total = sum(batch.prefill_tokens + batch.num_decodes for batch in self.batches)
        computed, batches = 0.0, []
        for prefill, decodes, *_ in self.batches:
            computed += (prefill + decodes) * progress[-1] / total
            place = min(bisect_left(progress, computed), len(progress) - 1)
            context = round(per_decode[place] * decodes)
            batches.append(Batch(prefill, decodes, context, round(per_prefill[place] * prefill)))
        self.batches = batches
        return True

    def scored_requests(self, clock: Clock, part: float) -> list[tuple[Latencies, Latencies]]:
        """Return predicted and measured latencies of the requests that began after the part that was fitted.

        With a trace that has the arrivals, on the clock of the log, these are the latencies of a replay.
        Without one they count from the first step of a request, and the measured steps are kept, with the
        durations of the clock.
        """
        split = self.split(part)
        scored = {number for number, places in self.run.places.items() if places[0] >= split}
        if not scored:
            return []
        replayed = self._with_arrivals()
        if replayed is not None:
            predicted = replayed.latencies(clock)
            return [
                (latencies, latencies_of(request))
                for latencies, request in zip(predicted, replayed.measured, strict=True)
                if request.number in scored
            ]
        by_clock = (clock.duration(batch) / PER_SECOND for batch in self.batches)
        differences = [0.0, *accumulate(p - m for p, m in zip(by_clock, self.durations, strict=True))]
        found = []
        for request in self.run.requests:
            if request.number in scored:
                begun, first, last = (differences[place] for place in self.run.places[request.number])
                predicted_request = request._replace(
                    first_token=request.first_token + first - begun,
                    last_token=request.last_token + last - begun,
                )
                found.append((latencies_of(predicted_request), latencies_of(request)))
        return found

    def _with_arrivals(self) -> ReplayedRun | None:
        """Return the run with the arrivals of the trace; None if that does not have them on this clock."""
        arrivals = {record.id: record.arrival_time for record in self._records or ()}
        requests = []
        for request in self.run.requests:
            arrival = arrivals.get(str(request.id))
            if arrival is None or arrival > request.arrival + _CLOCKS_AGREE:
                return None
            requests.append(request._replace(arrival=min(arrival, request.arrival)))
        if len(requests) < len(arrivals):
            return None
        run = replace(self.run, requests=requests, steps=())
        return ReplayedRun(self._config, run, self._records, self._tokenizer)

    def _estimate_context(self) -> None:
        """Take the tokens in the KV cache from the blocks in use; the last one of a request is half full."""
        size = self._config.block_size
        capacity = (self._config.num_gpu_blocks or 0) * size
        batches = []
        for batch, step, used in zip(self.batches, self.run.steps, self.run.usage, strict=True):
            half_blocks = (step.num_decodes + step.num_prefills) * size // 2
            context = round(used * capacity) - half_blocks - batch.prefill_tokens
            batches.append(batch._replace(context_tokens=max(0, context) if batch.num_decodes else 0))
        self.batches = batches


def _pairs_without_context(tokens: int, num_prompts: int) -> int:
    """Return the context tokens of prompts of equal length that are computed whole."""
    return pairs_of_chunk(0, tokens // num_prompts) * num_prompts if num_prompts else 0


def _context_by_progress(steps: Sequence[StepRecord]) -> tuple[list[float], list[float], list[float]]:
    """Return the tokens computed up to each step, and its context tokens per decode and per prompt token.

    A step without decodes, or without prompts, has the figure of the one before.
    """
    progress, per_decode, per_prefill = [0.0], [0.0], [0.0]
    for step in steps:
        prefill_tokens = sum(entry.tokens for entry in step.prefill)
        context = sum(entry.computed for entry in step.decode)
        pairs = sum(pairs_of_chunk(entry.computed, entry.tokens) for entry in step.prefill)
        progress.append(progress[-1] + prefill_tokens + len(step.decode))
        per_decode.append(context / len(step.decode) if step.decode else per_decode[-1])
        per_prefill.append(pairs / prefill_tokens if prefill_tokens else per_prefill[-1])
    return progress, per_decode, per_prefill
