"""The scheduler of `simple` and `vllm-v0`: a step is all prefill or all decode, and prefill goes first.

It follows the default policy of vLLM 0.8.5's V0 `Scheduler`, preemption by recompute. The two engines
differ in one thing: where a request's first token comes from.
"""

from __future__ import annotations

import sys
from enum import Enum, auto

from tracesim.config import EngineConfig
from tracesim.errors import StalledError
from tracesim.kv_cache.block_accounting import KVCache
from tracesim.requests.batch import Batch
from tracesim.requests.request import FINISHED_IGNORED, Request, RequestState
from tracesim.requests.waiting_queue import FCFSQueue
from tracesim.scheduler.base import BaseScheduler
from tracesim.scheduler.interface import NO_STRIDE, Pace, StepPlan, Stride, new_scheduled


class PrefillFirstScheduler(BaseScheduler):
    """Whole prompts while any fits, else one token for every running request."""

    def __init__(self, config: EngineConfig, *, prefill_samples: bool) -> None:
        """With `prefill_samples` a prefill emits its request's next token, else it is only booked."""
        super().__init__(config, KVCache(config.num_gpu_blocks, config.block_size), FCFSQueue())
        self._max_tokens = config.max_num_batched_tokens or sys.maxsize
        most_blocks = self._cache.capacity - self._watermark
        longest = config.max_model_len or sys.maxsize
        self._longest_prefill = min(self._max_tokens, longest, most_blocks * config.block_size)
        self._max_num_seqs = config.max_num_seqs
        self._prefill_samples = prefill_samples

    def check(self, request: Request) -> None:
        """Refuse nothing: what can never run is ignored when its turn comes."""

    def schedule(self) -> StepPlan:
        """Prefill what fits; where nothing does, decode all that run. Raises StalledError."""
        plan = StepPlan()
        self._schedule_prefills(plan)
        if not plan.prefill:
            self._schedule_decodes(plan)
        return plan

    def stride(self, limit: int, pace: Pace | None = None) -> Stride:
        """Take the decode steps up to one in which requests finish; nobody is prefilled or preempted."""
        if self._prefilling or not self._decoding.size or self._next_prefill(self._max_tokens) is not _WAITS:
            return NO_STRIDE
        decoding = self._decoding
        batch = Batch(0, decoding.size, decoding.context_tokens)
        if pace is not None:
            limit = pace(batch, limit)
        steps = self._cache.allocate_ticks(decoding, decoding.ticks_to_finish(limit), spare=1)
        return self._stride(steps, batch) if steps else NO_STRIDE

    def _schedule_prefills(self, plan: StepPlan) -> None:
        tokens_left = self._max_tokens
        while (found := self._next_prefill(tokens_left)) is not _WAITS:
            state = self._waiting.peek()
            if found is _NEVER_FITS:
                self._waiting.take()
                state.status = FINISHED_IGNORED
                plan.refused = [*plan.refused, state]
            else:
                tokens_left -= state.num_tokens
                self._prefill(state, plan)

    def _next_prefill(self, tokens_left: int) -> _Next:
        """What is to become of the request that is next in the queue."""
        if not self._waiting:
            return _WAITS
        num_tokens = self._waiting.peek().num_tokens
        if num_tokens > self._longest_prefill:
            return _NEVER_FITS
        if num_tokens > tokens_left or len(self._running) >= self._max_num_seqs:
            return _WAITS
        has_blocks = self._cache.blocks_for(num_tokens) <= self._cache.num_free_blocks - self._watermark
        return _FITS if has_blocks else _WAITS

    def _prefill(self, state: RequestState, plan: StepPlan) -> None:
        self._cache.allocate(state, state.num_tokens)
        self._admit(state)
        state.num_computed_tokens = state.num_tokens
        plan.prefill.append(new_scheduled((state, 0, state.num_tokens)))
        if self._prefill_samples:
            plan.sampled.append(state)

    def _schedule_decodes(self, plan: StepPlan) -> None:
        """Let all running requests decode.

        One whose prefill was only booked is `_prefilling` until its first token.
        """
        if self._decoding.num_beginning() < self._cache.num_free_blocks:
            self._cache.allocate_decodes(self._decoding)
        else:
            plan.preempted = self._preempt_for_decodes()
            self._waiting.put_back(plan.preempted)
        plan.decode = [new_scheduled((state, state.num_computed_tokens, 1)) for state in self._prefilling]
        plan.sampled += self._prefilling
        plan.num_decodes = len(self._running)

    def _preempt_for_decodes(self) -> list[RequestState]:
        """Serve all that run in order; where a block is wanted and none is free, the last admitted goes."""
        preempted = []
        for state in list(self._running):
            while state in self._running and self._cache.num_free_blocks < self._blocks_touched(state):
                victim = next(reversed(self._running))
                self._refuse_to_stall(victim)
                self._preempt(victim)
                preempted.append(victim)
            if state in self._running and state.is_decoding:
                self._cache.try_allocate(state, state.current_num_tokens)
        return preempted

    def _blocks_touched(self, state: RequestState) -> int:
        """Free blocks that vLLM wants to see before a decode, even where the last block has room."""
        if state.is_decoding:
            return 1
        last_block_is_full = state.num_computed_tokens % self._cache.block_size == 0
        return 0 if last_block_is_full else 1

    def _refuse_to_stall(self, victim: RequestState) -> None:
        """A request that finds no room alone, before it decoded at all, would come back to this for ever."""
        if len(self._running) == 1 and not victim.is_decoding:
            raise StalledError(
                f"request {victim.id!r} cannot ever decode: its prefill of {victim.num_tokens} tokens fills "
                f"all {self._cache.capacity} KV blocks, and a decode needs one free; raise num_gpu_blocks"
            )


class _Next(Enum):
    """What is to become of the request that is next in the queue."""

    FITS = auto()
    WAITS = auto()
    NEVER_FITS = auto()


_FITS, _WAITS, _NEVER_FITS = _Next
