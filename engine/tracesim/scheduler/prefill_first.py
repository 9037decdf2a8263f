"""The scheduler of `simple` and `vllm-v0`: a step is all prefill or all decode, and prefill goes first.

It follows the default policy of vLLM 0.8.5's V0 `Scheduler`, preemption by recompute. The two engines
differ in one thing: where a request's first token comes from.
"""

from __future__ import annotations

import sys

from tracesim.config import EngineConfig
from tracesim.errors import StalledError
from tracesim.kv_cache import KVCache
from tracesim.request import Request, RequestState, RequestStatus
from tracesim.scheduler.base import BaseScheduler
from tracesim.scheduler.interface import Scheduled, StepPlan
from tracesim.waiting import FCFSQueue


class PrefillFirstScheduler(BaseScheduler):
    """Whole prompts while any fits, else one token for every running request."""

    def __init__(self, config: EngineConfig, *, prefill_samples: bool) -> None:
        """With `prefill_samples` a prefill emits its request's next token, else it is only booked."""
        super().__init__(config, KVCache(config.num_gpu_blocks, config.block_size), FCFSQueue())
        self._max_tokens = config.max_num_batched_tokens or sys.maxsize
        self._longest_prefill = min(self._max_tokens, config.max_model_len or sys.maxsize)
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

    def _schedule_prefills(self, plan: StepPlan) -> None:
        tokens_left = self._max_tokens
        while self._waiting:
            state = self._waiting.peek()
            needed = self._cache.blocks_for(state.num_tokens)
            if state.num_tokens > self._longest_prefill or needed > self._cache.capacity - self._watermark:
                state.status = RequestStatus.FINISHED_IGNORED
                plan.refused.append(self._waiting.pop())
                continue
            if needed > self._cache.free - self._watermark:
                break
            if state.num_tokens > tokens_left or len(self._running) >= self._config.max_num_seqs:
                break
            tokens_left -= state.num_tokens
            self._prefill(self._waiting.pop(), plan)

    def _prefill(self, state: RequestState, plan: StepPlan) -> None:
        self._cache.allocate(state, state.num_tokens)
        state.num_computed_tokens = state.num_tokens
        state.status = RequestStatus.RUNNING
        self._running.append(state)
        plan.prefill.append(Scheduled(state, 0, state.num_tokens))
        if self._prefill_samples:
            plan.sampled.append(state)

    def _schedule_decodes(self, plan: StepPlan) -> None:
        running = self._running
        decoded = 0
        while decoded < len(running):
            state = running[decoded]
            while self._cache.free < self._blocks_touched(state):
                victim = running.pop()
                self._refuse_to_stall(victim)
                self._preempt(victim)
                plan.preempted.append(victim)
                if victim is state:
                    break
            else:
                self._decode(state, plan)
                decoded += 1
        self._waiting.put_back(plan.preempted)

    def _blocks_touched(self, state: RequestState) -> int:
        """Free blocks that vLLM wants to see before a decode, even where the last block has room."""
        last_block_is_full = state.num_computed_tokens % self._cache.block_size == 0
        nothing_to_append = state.num_computed_tokens == state.num_tokens
        return 0 if last_block_is_full and nothing_to_append else 1

    def _decode(self, state: RequestState, plan: StepPlan) -> None:
        plan.decode.append(Scheduled(state, state.num_computed_tokens, 1))
        plan.sampled.append(state)
        state.num_computed_tokens = state.num_tokens
        self._cache.allocate(state, state.num_tokens)

    def _refuse_to_stall(self, victim: RequestState) -> None:
        """A request that finds no room alone, before it decoded at all, would come back to this for ever."""
        decoded_nothing = victim.num_computed_tokens == victim.num_tokens
        if decoded_nothing and not self._running:
            raise StalledError(
                f"request {victim.id!r} cannot ever decode: its prefill of {victim.num_tokens} tokens fills "
                f"all {self._cache.capacity} KV blocks, and a decode needs one free; raise num_gpu_blocks"
            )
