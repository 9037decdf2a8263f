"""What all policies share: the queues, the KV cache, the calendar, and how requests start and end to run."""

from __future__ import annotations

import sys
from collections.abc import Collection

from tracesim.config import EngineConfig
from tracesim.kv_cache.block_accounting import KVCache
from tracesim.requests.batch import Batch, pairs_of_chunk
from tracesim.requests.decode_calendar import by_admission, decode_calendar
from tracesim.requests.request import FINISHED, PREEMPTED, RUNNING, WAITING, RequestState
from tracesim.requests.waiting_queue import WaitingQueue
from tracesim.scheduler.interface import BatchEntry, StepPlan, Stride
from tracesim.scheduler.waiting import Cause


class BaseScheduler:
    """The part of the `Scheduler` protocol that decides nothing.

    A running request is either `_prefilling`, which means that it is scheduled individually, or it decodes
    by the calendar `_decoding`.
    """

    plans_ahead = 0
    discards = False

    def __init__(self, config: EngineConfig, cache: KVCache, waiting: WaitingQueue) -> None:
        self._config = config
        self.cache = self._cache = cache
        self._waiting = waiting
        self._running: dict[RequestState, None] = {}
        self._prefilling: dict[RequestState, None] = {}
        self._decoding = decode_calendar(config.block_size)
        self._watermark = int((config.watermark or 0) * (config.num_gpu_blocks or 0))
        self._num_admissions = 0
        self._has_preempted = False
        self.shortage: tuple[int, int] | None = None
        self.records_strides = False
        self._obstacle: Cause | None = None

    @property
    def running(self) -> Collection[RequestState]:
        """The requests that were admitted and hold KV blocks, in the order of admission."""
        return self._running

    @property
    def num_waiting(self) -> int:
        """How many requests wait, preempted ones included."""
        return len(self._waiting)

    @property
    def first_waiting(self) -> RequestState:
        """The request that is next in the waiting queue, which must not be empty."""
        return self._waiting.peek_request()

    @property
    def num_free_blocks(self) -> int | None:
        """KV blocks that no request holds; None when they are unlimited."""
        return None if self._cache.num_blocks is None else self._cache.num_free_blocks

    def least_steps(self, least_output: int) -> int:
        """Return in how many steps a request can finish at the earliest: with one token in each."""
        steps = self._decoding.ticks_to_finish(sys.maxsize)
        for state in self._prefilling:
            steps = min(steps, state.total_tokens - state.num_tokens)
        if self._has_preempted:
            least_output = 1
        return max(1, min(steps, least_output) if self._waiting else steps)

    @property
    def peak_kv_cache_usage(self) -> float | None:
        """The largest fraction of the KV blocks that was in use at once; None when they are unlimited."""
        return self._cache.peak_usage

    @property
    def awaits_output(self) -> bool:
        """Whether an output or an abort is due; never, where a step ends with its output."""
        return False

    def add_request(self, state: RequestState) -> None:
        """Put a request that has arrived in the waiting queue."""
        state.status = WAITING
        self._waiting.add_request(state)

    def abort_request(self, state: RequestState) -> None:
        """Drop a waiting or running request and free its blocks. Not between `schedule` and `update`."""
        self._remove(state, num_known=self._num_known_tokens(state))

    def decoding_requests(self, plan: StepPlan) -> list[RequestState]:
        """Return who decodes by the calendar in a plan's step, in order of admission; before `update`."""
        if plan.num_decodes == len(plan.decode):
            return []
        others = {*self._prefilling, *plan.skipped}
        return [state for state in self._running if state not in others] if others else list(self._running)

    def decode_batch(self, plan: StepPlan) -> list[BatchEntry]:
        """Return all decodes of a plan's step, in order of admission; call it before `update`."""
        batch = [BatchEntry(s, s.current_num_tokens - 1, 1) for s in self.decoding_requests(plan)]
        if plan.decode:
            batch += plan.decode
            batch.sort(key=lambda entry: entry.state.admission)
        return batch

    def batch_of(self, plan: StepPlan) -> Batch:
        """Return what a plan's step computes; call it before `update`."""
        prefill_tokens = context_tokens = prefill_context_tokens = 0
        for entry in plan.prefill:
            prefill_tokens += entry.tokens
            prefill_context_tokens += pairs_of_chunk(entry.computed, entry.tokens)
        for entry in plan.decode:
            context_tokens += entry.computed
        if plan.num_decodes > len(plan.decode):
            context_tokens += self._decoding.context_tokens
            for state in plan.skipped:
                context_tokens -= state.current_num_computed_tokens
        return Batch(prefill_tokens, plan.num_decodes, context_tokens, prefill_context_tokens)

    def update(self, plan: StepPlan) -> list[RequestState]:
        """Count the tokens that the step emitted; requests that emitted their last one leave."""
        finished = self._end(self._count_tokens(plan))
        return [*plan.refused, *finished] if plan.refused else finished

    def _count_tokens(self, plan: StepPlan) -> list[RequestState]:
        """Count the tokens that the step emits; return who emits the last one, in order of admission."""
        finished: list[RequestState] = []
        if plan.num_decodes > len(plan.decode):
            for state in plan.skipped:
                self._decoding.leave(state)
            finished = self._decoding.advance(1)
            for state in plan.skipped:
                self._decoding.join(state)
        for state in plan.sampled:
            del self._prefilling[state]
            tokens_left = state.total_tokens - state.num_tokens
            if tokens_left:
                state.num_tokens += 1
            if tokens_left <= 1:
                finished.append(state)
            if tokens_left > 1 or state.ends_late:
                self._decoding.join(state)
        if len(finished) > 1:
            finished.sort(key=by_admission)
        return finished

    def _take_stride(
        self, steps: int, batch: Batch, prefill: BatchEntry | None, waiting_for: Cause | None
    ) -> Stride:
        """Let all decoding requests emit `steps` tokens; none of them finishes before the last step."""
        ended = self._decoding.advance(steps)
        if len(ended) > 1:
            ended.sort(key=by_admission)
        return Stride(steps, batch, self._end(ended), prefill, waiting_for, ends_requests=bool(ended))

    def _note_shortage(self, needed: int, must_stay_free: int) -> None:
        """Note that the next waiting request needs `needed` KV blocks, and that too few of them are free."""
        free = self._cache.num_free_blocks
        if needed > free:
            self._obstacle, self.shortage = "kv_blocks", (needed, free)
        else:
            self._obstacle, self.shortage = "watermark", (needed + must_stay_free, free)

    def _blocks_above_watermark(self) -> int:
        """Return how many blocks the request needs that waits for the watermark, without the watermark.

        While so many are free, it waits for the same cause: with fewer, that is `kv_blocks`.
        """
        assert self.shortage is not None, "no request waits for the watermark"
        return self.shortage[0] - self._watermark

    def _end(self, ended: list[RequestState]) -> list[RequestState]:
        """Let requests leave that have emitted their last token; return those that have finished."""
        for state in ended:
            self._finish(state)
        return ended

    def _finish(self, state: RequestState) -> None:
        """Let a running request leave that the calendar does not have any more."""
        del self._running[state]
        self._cache.finish(state)
        state.status = FINISHED

    def _remove(self, state: RequestState, num_scheduled: int = 0, num_known: int | None = None) -> None:
        """Let a request leave, wherever it is; see `KVCache.release` for its blocks."""
        if state.status is RUNNING:
            self._stop_running(state)
        else:
            self._waiting.remove_request(state)
        self._cache.finish(state, num_scheduled, num_known)
        state.status = FINISHED

    def _admit(self, state: RequestState) -> None:
        """Let the request that is next in the waiting queue run."""
        self._waiting.pop_request()
        self._num_admissions += 1
        state.admission = self._num_admissions
        state.status = RUNNING
        self._running[state] = None
        self._prefilling[state] = None

    def _preempt(self, victim: RequestState, num_scheduled: int = 0) -> None:
        """Stop a running request and release its blocks; it has to be computed again from its beginning.

        `num_scheduled` of its tokens are scheduled in the step that is being planned.
        """
        num_known = self._num_known_tokens(victim)
        self._stop_running(victim)
        self._cache.release(victim, num_scheduled, num_known)
        victim.status = PREEMPTED
        self._has_preempted = True
        victim.num_computed_tokens = 0
        victim.num_preemptions += 1

    def _stop_running(self, state: RequestState) -> None:
        """Remove a request from those that run."""
        del self._running[state]
        if state.is_decoding:
            self._decoding.leave(state)
        else:
            self._prefilling.pop(state, None)

    def _num_known_tokens(self, state: RequestState) -> int | None:
        """Return how many tokens of a request the cache may know; None for all that are computed."""
        return None
