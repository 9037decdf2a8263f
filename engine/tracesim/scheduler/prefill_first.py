"""The scheduler of `simple` and `vllm-v0`: a step is all prefill or all decode, and prefill comes first.

It follows the default policy of vLLM 0.8.5's V0 `Scheduler`, with preemption by recomputation. The two
engines differ in one thing: in `vllm-v0` a prefill emits the request's next token, in `simple` it does not.
"""

from __future__ import annotations

import sys

from tracesim.config import EngineConfig
from tracesim.errors import StalledError
from tracesim.kv_cache.block_accounting import KVCache
from tracesim.requests.batch import Batch
from tracesim.requests.request import FINISHED_IGNORED, Request, RequestState
from tracesim.requests.waiting_queue import FCFSQueue
from tracesim.scheduler.base import BaseScheduler
from tracesim.scheduler.interface import BatchEntry, StepPlan, StepsBeforeArrival, Stride
from tracesim.scheduler.waiting import Cause


class PrefillFirstScheduler(BaseScheduler):
    """Prefills whole prompts while any fits; where none does, lets every running request decode."""

    def __init__(self, config: EngineConfig, *, prefill_samples: bool) -> None:
        """`prefill_samples` is whether a prefill emits a token."""
        super().__init__(config, KVCache(config.num_gpu_blocks, config.block_size), FCFSQueue())
        self._max_num_seqs = config.max_num_seqs
        self._max_tokens = config.max_num_batched_tokens or sys.maxsize
        max_model_len = config.max_model_len or sys.maxsize
        max_prompt_blocks = self._cache.capacity - self._watermark
        self._longest_prefill = min(self._max_tokens, max_model_len, max_prompt_blocks * config.block_size)
        self._prefill_samples = prefill_samples

    def least_steps(self, least_output: int) -> int:
        """Return in how many steps a request can finish: one that waits may be refused in the next."""
        return 1 if self._waiting else super().least_steps(least_output)

    def check(self, request: Request) -> None:
        """Do nothing: a request that can never run is refused when it is next in the queue."""

    def schedule(self) -> StepPlan:
        """Plan a prefill of all that fits or, if nothing does, a decode. Raises StalledError."""
        plan = StepPlan()
        budget = self._max_tokens
        while self._waiting:
            state = self._waiting.peek_request()
            if state.num_tokens > self._longest_prefill:
                state.status = FINISHED_IGNORED
                plan.refused = [*plan.refused, self._waiting.pop_request()]
                continue
            if not self._fits(state, budget):
                plan.waiting_for = self._obstacle
                break
            self._admit(state)
            self._cache.allocate(state, state.num_tokens)
            plan.prefill.append(BatchEntry(state, 0, state.num_tokens))
            state.num_computed_tokens = state.num_tokens
            budget -= state.num_tokens
            if self._prefill_samples:
                plan.sampled.append(state)
            else:
                plan.unsampled = [*plan.unsampled, state]
        if not plan.prefill:
            if self._decoding.num_blocks_needed() < self._cache.num_free_blocks:
                self._cache.allocate_decodes(self._decoding)
            else:
                self._allocate_decodes_in_order(plan)
            # Requests that were prefilled without emitting a token are still `_prefilling`.
            plan.decode = [BatchEntry(state, state.num_computed_tokens, 1) for state in self._prefilling]
            plan.sampled += self._prefilling
            plan.num_decodes = len(self._running)
        return plan

    def stride(self, limit: int, steps_before_arrival: StepsBeforeArrival | None = None) -> Stride | None:
        """Take decode steps up to one in which requests finish; see `Scheduler.stride`."""
        decoding = self._decoding
        if self._prefilling or not decoding.num_requests:
            return None
        waiting_for: Cause | None = None
        if self._waiting:
            state = self._waiting.peek_request()
            if state.num_tokens > self._longest_prefill or self._fits(state, self._max_tokens):
                return None
            waiting_for = self._obstacle
        batch = Batch(0, decoding.num_requests, decoding.context_tokens, 0)
        if steps_before_arrival is not None:
            limit = steps_before_arrival(batch, limit)
        limit = decoding.ticks_to_finish(limit)
        spare = max(1, self._blocks_above_watermark()) if waiting_for == "watermark" else 1
        steps = self._cache.allocate_ticks(decoding, limit, spare=spare)
        return self._take_stride(steps, batch, None, waiting_for) if steps else None

    def _fits(self, state: RequestState, budget: int) -> bool:
        """Return whether a waiting request can be prefilled in a step that has `budget` tokens left.

        If it cannot, set `_obstacle` and `shortage`.
        """
        if len(self._running) >= self._max_num_seqs:
            self._obstacle, self.shortage = "max_num_seqs", None
            return False
        if state.num_tokens > budget:
            self._obstacle, self.shortage = "token_budget", (state.num_tokens, budget)
            return False
        needed = self._cache.blocks_for(state.num_tokens)
        if needed + self._watermark <= self._cache.num_free_blocks:
            return True
        self._note_shortage(needed, self._watermark)
        return False

    def _allocate_decodes_in_order(self, plan: StepPlan) -> None:
        """Allocate blocks request by request and preempt the last admitted one while too few are free.

        The preempted requests return to the waiting queue. vLLM wants to see one free block
        before a decode even if the request's last block is not full, and none if the last block is full and
        no token was emitted since the prefill. Raises StalledError.
        """
        preempted: list[RequestState] = []
        preempted_for: list[RequestState] = []
        for state in list(self._running):
            last_block_is_full = state.num_computed_tokens % self._cache.block_size == 0
            wanted = 0 if last_block_is_full and not state.is_decoding else 1
            while state in self._running and self._cache.num_free_blocks < wanted:
                victim = next(reversed(self._running))
                if len(self._running) == 1 and not victim.is_decoding:
                    raise StalledError(
                        f"request {victim.id!r} can never decode: its prefill of {victim.num_tokens} tokens "
                        f"takes all {self._cache.capacity} KV blocks, and a decode needs a free one; "
                        "raise num_gpu_blocks"
                    )
                self._preempt(victim)
                preempted.append(victim)
                preempted_for.append(state)
            if state in self._running and state.is_decoding:
                self._cache.try_allocate(state, state.current_num_tokens)
        self._waiting.prepend_requests(preempted)
        plan.preempted, plan.preempted_for = preempted, preempted_for
        if preempted:
            plan.waiting_for = "preemption"
            self.shortage = None
