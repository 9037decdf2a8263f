"""The scheduler of `simple` and `vllm-v0`: a step is all prefill or all decode, and prefill goes first.

It follows the default policy of vLLM 0.8.5's V0 `Scheduler`, preemption by recompute. The two engines
differ in one thing: where a request's first token comes from.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tracesim.config import EngineConfig
from tracesim.errors import StalledError
from tracesim.kv_cache import BlockPool
from tracesim.request import Request, RequestState, RequestStatus
from tracesim.scheduler.interface import Scheduled, StepPlan
from tracesim.waiting import FCFSQueue


class PrefillFirstScheduler:
    """Whole prompts while any fits, else one token for every running request."""

    def __init__(self, config: EngineConfig, *, prefill_samples: bool) -> None:
        """With `prefill_samples` a prefill emits its request's next token, else it is only booked."""
        self._running: list[RequestState] = []
        self._waiting = FCFSQueue()
        self._blocks = BlockPool(config.num_gpu_blocks, config.block_size)
        self._watermark = int((config.watermark or 0) * (config.num_gpu_blocks or 0))
        self._max_num_seqs = config.max_num_seqs
        self._max_tokens = config.max_num_batched_tokens or sys.maxsize
        self._longest_prefill = min(self._max_tokens, config.max_model_len or sys.maxsize)
        self._prefill_samples = prefill_samples

    @property
    def running(self) -> Sequence[RequestState]:
        """The requests that hold KV blocks, in the order of their prefills."""
        return self._running

    @property
    def num_waiting(self) -> int:
        """How many requests wait, preempted ones included."""
        return len(self._waiting)

    @property
    def num_free_blocks(self) -> int | None:
        """KV blocks that nobody holds; None when they are endless."""
        return self._blocks.num_free_blocks

    def add_request(self, request: Request) -> RequestState:
        """Queue a request that has arrived."""
        state = RequestState(request)
        self._waiting.add(state)
        return state

    def abort_request(self, state: RequestState) -> None:
        """Drop a request, wherever it is, and free its blocks."""
        if state.status is RequestStatus.RUNNING:
            self._running.remove(state)
            self._release(state)
        else:
            self._waiting.remove(state)
        state.status = RequestStatus.FINISHED

    def schedule(self) -> StepPlan:
        """Prefill what fits; where nothing does, decode all that run. Raises StalledError."""
        plan = StepPlan()
        self._schedule_prefills(plan)
        if not plan.prefill:
            self._schedule_decodes(plan)
        return plan

    def update(self, plan: StepPlan) -> list[RequestState]:
        """Book the emitted tokens; requests that emitted their last leave and free their blocks."""
        finished = plan.refused
        for state in plan.sampled:
            if state.num_tokens < state.total_tokens:
                state.num_tokens += 1
            if state.num_tokens == state.total_tokens:
                state.status = RequestStatus.FINISHED
                self._release(state)
                finished = [*finished, state]
        if len(finished) > len(plan.refused):
            self._running = [state for state in self._running if state.status is RequestStatus.RUNNING]
        return finished

    def _schedule_prefills(self, plan: StepPlan) -> None:
        tokens_left = self._max_tokens
        while self._waiting:
            state = self._waiting.peek()
            needed = self._blocks.blocks_for(state.num_tokens)
            if state.num_tokens > self._longest_prefill or needed > self._blocks.capacity - self._watermark:
                state.status = RequestStatus.FINISHED_IGNORED
                plan.refused.append(self._waiting.pop())
                continue
            if needed > self._blocks.free - self._watermark:
                break
            if state.num_tokens > tokens_left or len(self._running) >= self._max_num_seqs:
                break
            tokens_left -= state.num_tokens
            self._prefill(self._waiting.pop(), needed, plan)

    def _prefill(self, state: RequestState, needed: int, plan: StepPlan) -> None:
        self._blocks.take(needed)
        state.num_blocks = needed
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
            while self._blocks.free < self._blocks_touched(state):
                victim = running.pop()
                self._preempt(victim, plan)
                if victim is state:
                    break
            else:
                self._decode(state, plan)
                decoded += 1
        self._waiting.put_back(plan.preempted)

    def _blocks_touched(self, state: RequestState) -> int:
        """Free blocks that vLLM wants to see before a decode, even where the last block has room."""
        last_block_is_full = state.num_computed_tokens % self._blocks.block_size == 0
        nothing_to_append = state.num_computed_tokens == state.num_tokens
        return 0 if last_block_is_full and nothing_to_append else 1

    def _decode(self, state: RequestState, plan: StepPlan) -> None:
        plan.decode.append(Scheduled(state, state.num_computed_tokens, 1))
        plan.sampled.append(state)
        state.num_computed_tokens = state.num_tokens
        needed = self._blocks.blocks_for(state.num_tokens)
        if needed > state.num_blocks:
            self._blocks.take(needed - state.num_blocks)
            state.num_blocks = needed

    def _preempt(self, victim: RequestState, plan: StepPlan) -> None:
        decoded_nothing = victim.num_computed_tokens == victim.num_tokens
        if decoded_nothing and not self._running:
            raise StalledError(
                f"request {victim.id!r} cannot ever decode: its prefill of {victim.num_tokens} tokens fills "
                f"all {self._blocks.capacity} KV blocks, and a decode needs one free; raise num_gpu_blocks"
            )
        self._release(victim)
        victim.status = RequestStatus.PREEMPTED
        victim.num_computed_tokens = 0
        victim.num_preemptions += 1
        plan.preempted.append(victim)

    def _release(self, state: RequestState) -> None:
        self._blocks.give_back(state.num_blocks)
        state.num_blocks = 0
