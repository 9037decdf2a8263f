"""What every policy shares: two queues, a KV cache, a calendar, and how requests come, decode and go."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tracesim.config import EngineConfig
from tracesim.kv_cache.block_accounting import KVCache
from tracesim.requests.batch import Batch, new_batch
from tracesim.requests.decode_calendar import DecodeCalendar, by_admission
from tracesim.requests.request import FINISHED, PREEMPTED, RUNNING, WAITING, RequestState
from tracesim.requests.waiting_queue import WaitingQueue
from tracesim.scheduler.interface import Scheduled, StepPlan, Stride, new_scheduled


class BaseScheduler:
    """The part of the `Scheduler` protocol that does not decide anything.

    Running requests either decode by the calendar or are `_prefilling`: scheduled one by one until they
    decode.
    """

    def __init__(self, config: EngineConfig, cache: KVCache, waiting: WaitingQueue) -> None:
        self._config = config
        self._cache = cache
        self._waiting = waiting
        self._running: dict[RequestState, None] = {}
        self._prefilling: dict[RequestState, None] = {}
        self._decoding = DecodeCalendar(config.block_size)
        self._watermark = int((config.watermark or 0) * (config.num_gpu_blocks or 0))
        self._num_admissions = 0

    @property
    def running(self) -> Collection[RequestState]:
        """The requests that hold KV blocks, in the order of their admission."""
        return self._running

    @property
    def num_waiting(self) -> int:
        """How many requests wait, preempted ones included."""
        return len(self._waiting)

    @property
    def num_free_blocks(self) -> int | None:
        """KV blocks that nobody holds; None when they are endless."""
        return None if self._cache.num_blocks is None else self._cache.num_free_blocks

    @property
    def peak_kv_cache_usage(self) -> float | None:
        """The largest part of the KV cache that was skipped at once, up to 1; None when it is endless."""
        return self._cache.peak_usage

    def add_request(self, state: RequestState) -> None:
        """Queue a request that has arrived."""
        state.status = WAITING
        self._waiting.add(state)

    def abort_request(self, state: RequestState) -> None:
        """Drop a request, wherever it is, and free its blocks."""
        if state.status is RUNNING:
            self._stop(state)
        else:
            self._waiting.remove(state)
        self._cache.finish(state)
        state.status = FINISHED

    def decoding_requests(self, plan: StepPlan) -> list[RequestState]:
        """Who decodes by the calendar in this step, in the order of admission; before `update`."""
        if plan.num_decodes == len(plan.decode):
            return []
        decoding = [state for state in self._running if state.is_decoding]
        return [state for state in decoding if state not in plan.skipped] if plan.skipped else decoding

    def decode_batch(self, plan: StepPlan) -> list[Scheduled]:
        """The whole decode batch of a plan, in the order of admission; before `update`."""
        batch = [
            new_scheduled((state, state.current_num_tokens - 1, 1)) for state in self.decoding_requests(plan)
        ]
        if plan.decode:
            batch += plan.decode
            batch.sort(key=lambda entry: entry.state.admission)
        return batch

    def update(self, plan: StepPlan) -> list[RequestState]:
        """Book the emitted tokens; requests that emitted their last leave and free their blocks."""
        finished = self._tick(plan.skipped) if plan.num_decodes > len(plan.decode) else []
        for state in plan.sampled:
            del self._prefilling[state]
            tokens_left = state.total_tokens - state.num_tokens
            if tokens_left:
                state.num_tokens += 1
            if tokens_left > 1:
                self._decoding.join(state)
            else:
                finished.append(state)
        self._finish(finished)
        return [*plan.refused, *finished] if plan.refused else finished

    def _tick(self, skipped: Sequence[RequestState]) -> list[RequestState]:
        """Let all that decode emit a token, but for those held back; return who emitted its last."""
        if not skipped:
            return self._decoding.advance(1)
        for state in skipped:
            self._decoding.leave(state)
        finished = self._decoding.advance(1)
        for state in skipped:
            self._decoding.join(state)
        return finished

    def batch_counts(self, plan: StepPlan) -> Batch:
        """What the step of a plan computes; before `update`."""
        prefill_tokens = context = 0
        for _, _, tokens in plan.prefill:
            prefill_tokens += tokens
        for _, computed, _ in plan.decode:
            context += computed
        if plan.num_decodes > len(plan.decode):
            context += self._decoding.context_tokens
            for state in plan.skipped:
                context -= state.current_num_computed_tokens
        return new_batch((prefill_tokens, plan.num_decodes, context))

    def _stride(self, steps: int, batch: Batch) -> Stride:
        """Let all that decode emit `steps` tokens; nobody finishes before the last one."""
        finished = self._decoding.advance(steps)
        self._finish(finished)
        return Stride(steps, batch, finished)

    def _finish(self, finished: list[RequestState]) -> None:
        """Let requests leave, in the order of their admission, and free their blocks."""
        if len(finished) > 1:
            finished.sort(key=by_admission)
        for state in finished:
            del self._running[state]
            self._cache.finish(state)
            state.status = FINISHED

    def _admit(self, state: RequestState) -> None:
        """Let the request that is next in the queue run."""
        self._waiting.take()
        self._num_admissions += 1
        state.admission = self._num_admissions
        state.status = RUNNING
        self._running[state] = None
        self._prefilling[state] = None

    def _stop(self, state: RequestState) -> None:
        """Take a request out of those that run."""
        del self._running[state]
        if state.is_decoding:
            self._decoding.leave(state)
        else:
            del self._prefilling[state]

    def _preempt(self, victim: RequestState, num_scheduled: int = 0) -> None:
        """Take a running request's place and blocks; it waits to be computed again."""
        self._stop(victim)
        self._cache.release(victim, num_scheduled)
        victim.status = PREEMPTED
        victim.num_computed_tokens = 0
        victim.num_preemptions += 1
