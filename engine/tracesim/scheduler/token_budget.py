"""The scheduler of `vllm-v1`: prompts, in chunks, and decodes share one token budget a step.

It follows vLLM 0.32's V1 `Scheduler` without asynchronous scheduling: running requests first, in order, then
waiting ones; where a running request finds no KV block, another makes room and is computed again later.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import islice

from tracesim.config import EngineConfig
from tracesim.errors import RequestError
from tracesim.kv_cache.block_accounting import KVCache, Prefix
from tracesim.kv_cache.prefix_cache import PrefixCache
from tracesim.requests.batch import Batch
from tracesim.requests.request import RUNNING, Request, RequestState
from tracesim.requests.waiting_queue import make_queue
from tracesim.scheduler.base import BaseScheduler
from tracesim.scheduler.interface import NO_STRIDE, Pace, Scheduled, StepPlan, Stride, new_scheduled

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
        self._max_num_seqs = config.max_num_seqs
        self._threshold = config.long_prefill_token_threshold or 0
        self._chunks_prefills = config.enable_chunked_prefill
        self._reserves_prompt = config.scheduler_reserve_full_isl

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
        if self._waiting and not batch.preempted:
            self._schedule_waiting(batch, chunk)
        return self._plan(batch)

    def stride(self, limit: int, pace: Pace | None = None) -> Stride:
        """Take the steps in which all decode and, at most, one prompt takes the rest of the budget.

        In none of them is a request admitted or preempted, or its prompt done; in the last some may finish.
        """
        decoding = self._decoding
        rest = self._budget - decoding.size
        prefilling = next(iter(self._prefilling), None)
        if prefilling is not None:
            if not self._takes_all(prefilling, rest):
                return NO_STRIDE
            limit = min(limit, (prefilling.num_tokens - prefilling.num_computed_tokens - 1) // rest)
        elif not decoding.size or rest < 0 or self._can_admit(rest):
            return NO_STRIDE
        batch = Batch(rest if prefilling else 0, decoding.size, decoding.context_tokens)
        if pace is not None:
            limit = pace(batch, limit)
        steps = self._cache.allocate_ticks(decoding, decoding.ticks_to_finish(limit), prefilling, rest)
        if not steps:
            return NO_STRIDE
        if prefilling is not None:
            prefilling.num_computed_tokens += steps * rest
        return self._stride(steps, batch)

    def _takes_all(self, prefilling: RequestState, rest: int) -> bool:
        """Whether a prompt takes all the rest of the budget and is not done then, and is the last to run."""
        if not 0 < rest < prefilling.num_tokens - prefilling.num_computed_tokens or len(self._prefilling) > 1:
            return False
        return next(reversed(self._running)) is prefilling and rest <= self._longest_chunk()

    def _can_admit(self, rest: int) -> bool:
        """Whether the next waiting request could start in a step with `rest` tokens left."""
        if not self._waiting or rest == 0:
            return False
        state = self._waiting.peek()
        return self._first_tokens(state, self._cache.find_prefix(state), rest, self._longest_chunk()) > 0

    def _longest_chunk(self) -> int:
        """The most tokens of one request in this step; a request that is alone has nobody to wait for."""
        if self._threshold and len(self._running) + len(self._waiting) > 1:
            return self._threshold
        return sys.maxsize

    def _schedule_running(self, batch: _Batch, chunk: int) -> None:
        """Give running requests their tokens in order; all that decode at once where order is no matter."""
        if self._is_crowded(chunk):
            self._schedule_one_by_one(list(self._running), batch, chunk)
            batch.skipped = [s for s in self._running if s.is_decoding and s not in batch.scheduled]
            return
        self._schedule_decodes(batch)
        if self._prefilling:
            self._schedule_one_by_one(list(self._prefilling), batch, chunk)

    def _schedule_decodes(self, batch: _Batch) -> None:
        """Let all decode. Where blocks are short, those who come first take all, then the last makes room."""
        cache, decoding = self._cache, self._decoding
        num_served = 0
        while decoding.num_beginning() - num_served > cache.num_free_blocks:
            num_served += cache.take_rest()
            self._preempt_one(batch)
        cache.allocate_decodes(decoding, num_served)
        batch.budget -= decoding.size

    def _is_crowded(self, chunk: int) -> bool:
        """Whether it may matter in which order the running requests get tokens and blocks.

        It does not while prompts come after all that decode, and the budget is for all of these: then what
        one gets takes nothing from another. Where blocks are short, the last admitted makes room, and has
        not had its turn; by priority it may be anyone.
        """
        if self._decoding.size > self._budget:
            return True
        if not self._prefilling:
            return self._by_priority and self._decoding.num_beginning() > self._cache.num_free_blocks
        for state in islice(reversed(self._running), len(self._prefilling)):
            if state.is_decoding:
                return True
        if not self._by_priority:
            return False
        wanted = sum(self._wanted_blocks(state, chunk) for state in self._prefilling)
        return self._decoding.num_beginning() + wanted > self._cache.num_free_blocks

    def _wanted_blocks(self, state: RequestState, chunk: int) -> int:
        most = min(state.num_tokens, state.num_computed_tokens + min(chunk, self._budget))
        return self._cache.blocks_needed(state, most)

    def _schedule_one_by_one(self, states: Sequence[RequestState], batch: _Batch, chunk: int) -> None:
        cache = self._cache
        for state in states:
            if batch.budget == 0:
                return
            if state.status is not RUNNING:
                continue
            computed = state.current_num_computed_tokens
            tokens = min(state.current_num_tokens - computed, chunk, batch.budget)
            while not cache.try_allocate(state, computed + tokens):
                if self._preempt_one(batch) is state:
                    return
            batch.add(state, tokens)

    def _preempt_one(self, batch: _Batch) -> RequestState:
        """Preempt a running request; which one."""
        victim = self._victim()
        self._preempt(victim, batch.drop(victim))
        self._waiting.put_back([victim])
        batch.preempted = [*batch.preempted, victim]
        return victim

    def _victim(self) -> RequestState:
        """The request admitted last; by priority, the last to arrive of the least urgent."""
        if self._by_priority:
            return max(self._running, key=lambda state: state.urgency)
        return next(reversed(self._running))

    def _schedule_waiting(self, batch: _Batch, chunk: int) -> None:
        cache = self._cache
        while self._waiting and batch.budget > 0:
            state = self._waiting.peek()
            prefix = cache.find_prefix(state)
            tokens = self._first_tokens(state, prefix, batch.budget, chunk)
            if not tokens:
                break
            computed = prefix.num_blocks * cache.block_size
            cache.allocate(state, computed + tokens, prefix)
            self._admit(state)
            state.num_computed_tokens = computed
            batch.add(state, tokens)
            if computed:
                batch.cached = [*batch.cached, (state, computed)]
            if state.num_cached_tokens is None:
                state.num_cached_tokens = computed

    def _first_tokens(self, state: RequestState, prefix: Prefix, budget: int, chunk: int) -> int:
        """How many tokens a waiting request would get after `prefix` in this step; 0 when it has to wait."""
        if len(self._running) >= self._max_num_seqs:
            return 0
        cache = self._cache
        computed = prefix.num_blocks * cache.block_size
        tokens = state.num_tokens - computed
        if tokens > chunk:
            tokens = chunk
        if tokens > budget:
            if not self._chunks_prefills:
                return 0
            tokens = budget
        must_fit = state.num_tokens if self._reserves_prompt else computed + tokens
        headroom = self._watermark if self._running else 0
        needed = -(-must_fit // cache.block_size) - prefix.num_held + headroom
        return tokens if needed <= cache.num_free_blocks else 0

    def _plan(self, batch: _Batch) -> StepPlan:
        """The step; from here on its tokens count as computed."""
        prefill: list[Scheduled] = []
        decode: list[Scheduled] = []
        sampled: list[RequestState] = []
        for state, tokens in batch.scheduled.items():
            if state.is_decoding:
                continue
            computed = state.num_computed_tokens
            state.num_computed_tokens = after = computed + tokens
            kind = prefill
            if after == state.num_tokens:
                sampled.append(state)
                if tokens == 1 and state.num_output_tokens:
                    kind = decode
            kind.append(new_scheduled((state, computed, tokens)))
        num_decodes = self._decoding.size - len(batch.skipped) + len(decode)
        return StepPlan(num_decodes, prefill, sampled, decode, batch.cached, batch.skipped, batch.preempted)


class _Batch:
    """A step in the making: who is scheduled one by one, who is held back, and the budget that is left."""

    cached: Sequence[tuple[RequestState, int]] = ()
    skipped: Sequence[RequestState] = ()
    preempted: Sequence[RequestState] = ()

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.scheduled: dict[RequestState, int] = {}

    def add(self, state: RequestState, tokens: int) -> None:
        """Compute `tokens` more tokens of a request."""
        self.scheduled[state] = tokens
        self.budget -= tokens

    def drop(self, state: RequestState) -> int:
        """Take a request out again and give its tokens back to the budget; how many they were."""
        tokens = self.scheduled.pop(state, 0)
        self.budget += tokens
        return tokens
