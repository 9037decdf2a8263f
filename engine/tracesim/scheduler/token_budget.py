"""The scheduler of `vllm-v1`: prompts, in chunks, and decodes share one token budget a step.

It follows vLLM 0.32's V1 `Scheduler` without asynchronous scheduling: running requests first, in order, then
waiting ones; where a running request finds no KV block, another makes room and is computed again later.
"""

from __future__ import annotations

import sys

from tracesim.config import EngineConfig
from tracesim.errors import RequestError
from tracesim.kv_cache import KVCache
from tracesim.prefix_cache import PrefixCache
from tracesim.request import Request, RequestState, RequestStatus
from tracesim.scheduler.base import BaseScheduler
from tracesim.scheduler.interface import Scheduled, StepPlan
from tracesim.waiting import make_queue

_NULL_BLOCKS = 1
"""vLLM's V1 keeps one block for itself, to stand for no block."""


class TokenBudgetScheduler(BaseScheduler):
    """One token budget a step, spent on running requests first and then on waiting ones."""

    def __init__(self, config: EngineConfig) -> None:
        kind = PrefixCache if config.enable_prefix_caching else KVCache
        cache = kind(config.num_gpu_blocks, config.block_size, reserved=_NULL_BLOCKS)
        super().__init__(config, cache, make_queue(config.scheduling_policy))
        self._budget = config.max_num_batched_tokens or sys.maxsize
        self._by_priority = config.scheduling_policy == "priority"

    def check(self, request: Request) -> None:
        """Refuse at the door what could never run, as vLLM does. Raises RequestError with need and limit."""
        config = self._config
        # The last token of the output is never computed.
        most = request.num_prompt_tokens + max(0, request.num_output_tokens - 1)
        needed = self._cache.blocks_for(most)
        if config.max_model_len is not None and request.num_prompt_tokens >= config.max_model_len:
            raise RequestError(
                f"the prompt has {request.num_prompt_tokens:,} tokens and leaves no room for output under "
                f"max_model_len {config.max_model_len:,}"
            )
        if needed > self._cache.capacity:
            raise RequestError(
                f"prompt and output need {needed:,} KV blocks of {config.block_size} tokens, more than the "
                f"{self._cache.capacity:,} that there are (num_gpu_blocks less the null block)"
            )
        if not config.enable_chunked_prefill and most > self._budget:
            raise RequestError(
                f"prompt and output have {most:,} tokens, more than max_num_batched_tokens {self._budget:,}; "
                "without chunked prefill they must fit in one step"
            )

    def schedule(self) -> StepPlan:
        """Spend the budget. Nobody is admitted in a step that preempts."""
        batch = _Batch(self._budget)
        chunk = self._longest_chunk()
        self._schedule_running(batch, chunk)
        if not batch.preempted:
            self._schedule_waiting(batch, chunk)
        return batch.plan()

    def _longest_chunk(self) -> int:
        """The most tokens of one request in this step; a request that is alone has nobody to wait for."""
        threshold = self._config.long_prefill_token_threshold
        if threshold and len(self._running) + len(self._waiting) > 1:
            return threshold
        return sys.maxsize

    def _schedule_running(self, batch: _Batch, chunk: int) -> None:
        index = 0
        while index < len(self._running) and batch.budget > 0:
            state = self._running[index]
            tokens = min(state.num_tokens - state.num_computed_tokens, chunk, batch.budget)
            if not self._make_room(state, state.num_computed_tokens + tokens, batch):
                break
            self._cache.allocate(state, state.num_computed_tokens + tokens)
            batch.add(state, tokens)
            index = self._running.index(state, 0, index + 1) + 1

    def _make_room(self, state: RequestState, num_tokens: int, batch: _Batch) -> bool:
        """Preempt others until `state` has room for `num_tokens` tokens; False when it had to go itself."""
        while self._cache.blocks_needed(state, num_tokens) > self._cache.free:
            victim = self._victim()
            self._running.remove(victim)
            batch.drop(victim)
            self._preempt(victim)
            self._waiting.put_back([victim])
            batch.preempted.append(victim)
            if victim is state:
                return False
        return True

    def _victim(self) -> RequestState:
        """The request admitted last; by priority, the last to arrive of the least urgent."""
        if self._by_priority:
            return max(self._running, key=lambda state: state.urgency)
        return self._running[-1]

    def _schedule_waiting(self, batch: _Batch, chunk: int) -> None:
        while self._waiting and batch.budget > 0 and len(self._running) < self._config.max_num_seqs:
            if not self._try_admit(self._waiting.peek(), batch, chunk):
                break

    def _try_admit(self, state: RequestState, batch: _Batch, chunk: int) -> bool:
        prefix = self._cache.find_prefix(state)
        computed = len(prefix) * self._cache.block_size
        wanted = min(state.num_tokens - computed, chunk)
        if wanted > batch.budget and not self._config.enable_chunked_prefill:
            return False
        tokens = min(wanted, batch.budget)
        must_fit = state.num_tokens if self._config.scheduler_reserve_full_isl else computed + tokens
        headroom = self._watermark if self._running else 0
        if self._cache.blocks_needed(state, must_fit, prefix) + headroom > self._cache.free:
            return False
        self._cache.allocate(state, computed + tokens, prefix)
        self._running.append(self._waiting.pop())
        state.status = RequestStatus.RUNNING
        state.num_computed_tokens = computed
        batch.add(state, tokens)
        if computed:
            batch.cached.append((state, computed))
        if state.num_cached_tokens is None:
            state.num_cached_tokens = computed
        return True


class _Batch:
    """A step in the making: what is scheduled so far, and the budget that is left."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.cached: list[tuple[RequestState, int]] = []
        self.preempted: list[RequestState] = []
        self._scheduled: dict[RequestState, int] = {}

    def add(self, state: RequestState, tokens: int) -> None:
        """Compute `tokens` more tokens of a request."""
        self._scheduled[state] = tokens
        self.budget -= tokens

    def drop(self, state: RequestState) -> None:
        """Take a request out again, if it was in, and give its tokens back to the budget."""
        self.budget += self._scheduled.pop(state, 0)

    def plan(self) -> StepPlan:
        """The step; from here on its tokens count as computed."""
        plan = StepPlan(cached=self.cached, preempted=self.preempted)
        for state, tokens in self._scheduled.items():
            computed = state.num_computed_tokens
            state.num_computed_tokens += tokens
            is_last = state.num_computed_tokens == state.num_tokens
            decodes = is_last and tokens == 1 and state.num_output_tokens > 0
            (plan.decode if decodes else plan.prefill).append(Scheduled(state, computed, tokens))
            if is_last:
                plan.sampled.append(state)
        return plan
