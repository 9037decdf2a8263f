"""The scheduler of `vllm-v1`: chunks of prompts and decodes share one token budget per step.

It follows vLLM 0.32's V1 `Scheduler` without asynchronous scheduling. Running requests are scheduled first,
in order, and then waiting ones. If a running request needs a KV block and none is free, a running request is
preempted: its blocks are released, and it is computed again later.

vLLM's front end, not its engine core, finds stop strings, and then aborts the request. In one process the
abort comes with the token. In a server it comes `stop_delay` plans later, while the batch of the last of them
runs: until then the engine core continues the request, which can also end there by itself.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import islice

from tracesim.config import EngineConfig
from tracesim.errors import RequestError
from tracesim.kv_cache.block_accounting import KVCache, Prefix
from tracesim.kv_cache.prefix_cache import PrefixCache
from tracesim.requests.batch import Batch, pairs_of_chunk
from tracesim.requests.decode_calendar import by_admission
from tracesim.requests.request import FINISHED, RUNNING, Request, RequestState
from tracesim.requests.waiting_queue import make_queue
from tracesim.scheduler.base import BaseScheduler
from tracesim.scheduler.interface import BatchEntry, StepPlan, StepsBeforeArrival, Stride
from tracesim.scheduler.waiting import BUDGET_SPENT, Cause

_NUM_NULL_BLOCKS = 1
"""vLLM's V1 keeps one block as a placeholder, the null block, and never allocates it."""


class TokenBudgetScheduler(BaseScheduler):
    """Spends one token budget per step, on running requests first and then on waiting ones.

    `_aborts_due` are the requests that a stop string has ended and that still run or wait; the abort of each
    comes after that many more plans.
    """

    _prefix_cache_type: type[PrefixCache] = PrefixCache

    def __init__(self, config: EngineConfig) -> None:
        cache_type = self._prefix_cache_type if config.enable_prefix_caching else KVCache
        cache = cache_type(config.num_gpu_blocks, config.block_size, reserved=_NUM_NULL_BLOCKS)
        super().__init__(config, cache, make_queue(config.scheduling_policy))
        self._budget = config.max_num_batched_tokens or sys.maxsize
        self._by_priority = config.scheduling_policy == "priority"
        self._max_num_seqs = config.max_num_seqs
        self._long_prefill_threshold = config.long_prefill_token_threshold or 0
        self._chunks_prefills = config.enable_chunked_prefill
        self._reserves_whole_prompt = config.scheduler_reserve_full_isl
        self._stop_delay = config.stop_delay or 0
        self.discards = self.discards or self._stop_delay > 0
        self._aborts_due: dict[RequestState, int] = {}
        self._recorded_wait: tuple[RequestState, Cause | None, int] | None = None

    def check(self, request: Request) -> None:
        """Raise RequestError, with need and limit, for a request that vLLM refuses: it can never run."""
        config = self._config
        # The last output token is never computed.
        most = request.num_prompt_tokens + max(0, request.num_output_tokens - 1)
        needed = self._cache.blocks_for(most)
        if config.max_model_len is not None and request.num_prompt_tokens >= config.max_model_len:
            raise RequestError(
                f"the prompt has {request.num_prompt_tokens:,} tokens, which leaves none for output under "
                f"max_model_len {config.max_model_len:,}"
            )
        if needed > self._cache.capacity:
            raise RequestError(
                f"prompt and output need {needed:,} KV blocks of {config.block_size} tokens, more than the "
                f"{self._cache.capacity:,} available (num_gpu_blocks less the null block)"
            )
        if not config.enable_chunked_prefill and most > self._budget:
            raise RequestError(
                f"prompt and output have {most:,} tokens, more than max_num_batched_tokens {self._budget:,}; "
                "without chunked prefill they must fit in one step"
            )

    def schedule(self) -> StepPlan:
        """Plan a step: spend the budget on running requests in order, then on waiting ones in order.

        A step that preempts a request admits none.
        """
        cache, decoding = self._cache, self._decoding
        draft = _Draft(self._budget)
        longest_chunk = self._longest_chunk()
        self._obstacle, self.shortage = BUDGET_SPENT, None

        if self._order_matters(longest_chunk):
            self._schedule_in_order(list(self._running), draft, longest_chunk)
            draft.skipped = [s for s in self._running if s.is_decoding and s not in draft.scheduled]
        else:
            # Decodes admitted earlier take the free blocks; the last admitted are preempted for the others.
            num_served = 0
            while decoding.num_blocks_needed() - num_served > cache.num_free_blocks:
                num_served += cache.allocate_all_free()
                self._preempt_one(draft, decoding.requests_needing_block()[num_served])
            cache.allocate_decodes(decoding, num_served)
            draft.budget -= decoding.num_requests
            if self._prefilling:
                self._schedule_in_order(list(self._prefilling), draft, longest_chunk)

        while self._waiting and draft.budget > 0 and not draft.preempted:
            state = self._waiting.peek_request()
            prefix = cache.match_prefix(state)
            tokens = self._first_chunk(state, prefix, draft.budget, longest_chunk)
            if not tokens:
                break
            computed = prefix.num_blocks * cache.block_size
            cache.allocate(state, computed + tokens, prefix)
            self._admit(state)
            state.num_computed_tokens = computed
            draft.scheduled[state] = tokens
            draft.budget -= tokens
            if computed:
                draft.cached = [*draft.cached, (state, computed)]
            if state.num_cached_tokens is None:
                state.num_cached_tokens = computed
        plan = draft.to_plan(decoding.num_requests)
        if self._waiting:
            plan.waiting_for = self._obstacle
        if self._aborts_due:
            individually = {entry.state for entry in (*plan.prefill, *plan.decode)}
            in_vain = [s for s in self._aborts_due if s in individually or decodes_in(plan, s)]
            plan.discarded = sorted(in_vain, key=by_admission)
        return plan

    @property
    def awaits_output(self) -> bool:
        """Whether an abort is due."""
        return bool(self._aborts_due)

    def update(self, plan: StepPlan) -> list[RequestState]:
        """Apply the aborts that come while the batch of `plan` runs; then count its tokens."""
        if self._aborts_due:
            self._apply_aborts(plan)
        return super().update(plan)

    def stride(self, limit: int, steps_before_arrival: StepsBeforeArrival | None = None) -> Stride | None:
        """Take steps in which all decode and at most one prompt takes what is left of the budget.

        In none of them is a request admitted or preempted, or a prompt finished; see `Scheduler.stride`.
        """
        if self._aborts_due:
            return None
        decoding = self._decoding
        budget_left = self._budget - decoding.num_requests
        prefilling = next(iter(self._prefilling), None)
        self._obstacle, self.shortage = BUDGET_SPENT, None
        if prefilling is not None:
            tokens_left = prefilling.num_tokens - prefilling.num_computed_tokens
            needs_more_than_left = 0 < budget_left < tokens_left
            is_only_one_and_last = len(self._prefilling) == 1 and next(reversed(self._running)) is prefilling
            if not needs_more_than_left or not is_only_one_and_last or budget_left > self._longest_chunk():
                return None
            limit = min(limit, (tokens_left - 1) // budget_left)
        elif not decoding.num_requests or budget_left < 0:
            return None
        elif self._waiting and budget_left:
            state = self._waiting.peek_request()
            prefix = self._cache.match_prefix(state)
            is_admitted = self._first_chunk(state, prefix, budget_left, self._longest_chunk()) > 0
            if is_admitted or (self.records_strides and self._begins_wait(state)):
                return None
        pairs = pairs_of_chunk(prefilling.num_computed_tokens, budget_left) if prefilling else 0
        batch = Batch(budget_left if prefilling else 0, decoding.num_requests, decoding.context_tokens, pairs)
        if steps_before_arrival is not None:
            limit = steps_before_arrival(batch, limit)
        limit = self._longest_stride(limit)
        waiting_for = self._obstacle if self._waiting else None
        spare = self._blocks_above_watermark() if waiting_for == "watermark" else 0
        steps = self._cache.allocate_ticks(decoding, limit, prefilling, budget_left, spare)
        if not steps:
            return None
        prefill = None
        if prefilling is not None:
            prefill = BatchEntry(prefilling, prefilling.num_computed_tokens, budget_left)
            prefilling.num_computed_tokens += steps * budget_left
        return self._take_stride(steps, batch, prefill, waiting_for)

    def _begins_wait(self, state: RequestState) -> bool:
        """Return whether `state`, which is first in the queue, or one behind it begins to wait for blocks."""
        wait = None if self.shortage is None else (state, self._obstacle, len(self._waiting))
        begins = wait is not None and wait != self._recorded_wait
        self._recorded_wait = wait
        return begins

    def _longest_stride(self, limit: int) -> int:
        """Return after how many steps, at most `limit`, the batch changes because requests end."""
        return self._decoding.ticks_to_finish(limit)

    def _end(self, ended: list[RequestState]) -> list[RequestState]:
        """Let requests leave that the engine core ends, then those that are aborted; return who finished.

        A request whose abort is due has finished before.
        """
        finished, aborted = [], []
        for state in ended:
            if state.status is FINISHED:  # it was aborted before its last token came
                continue
            if state.request.core_end is None:
                finished.append(state)
                self._finish(state)
            elif self._aborts_due.pop(state, None) is None:
                finished.append(state)
                aborted.append(state)
            else:
                self._finish(state)
        for state in aborted:
            if not self._stop_delay:
                self._finish(state)
                continue
            assert state.request.core_end is not None
            num_output_tokens, state.ends_late = state.request.core_end
            state.total_tokens = state.request.num_prompt_tokens + num_output_tokens
            if state.is_decoding:
                self._decoding.note_end(state)
            self._aborts_due[state] = self._stop_delay
        return finished

    def _apply_aborts(self, plan: StepPlan) -> None:
        """Let requests leave whose abort comes while the batch of `plan` runs: before its output is there."""
        for state, plans_left in list(self._aborts_due.items()):
            if plans_left > 1:
                self._aborts_due[state] = plans_left - 1
                continue
            del self._aborts_due[state]
            num_scheduled = int(decodes_in(plan, state))
            num_known = self._num_known_tokens(state)
            self._remove(state, num_scheduled, None if num_known is None else num_known + num_scheduled)
        plan.sampled = [state for state in plan.sampled if state.status is RUNNING]
        plan.skipped = [state for state in plan.skipped if state.status is RUNNING]

    def _longest_chunk(self) -> int:
        """Return the maximum number of tokens of one request in a step; a request by itself has no limit."""
        if self._long_prefill_threshold and len(self._running) + len(self._waiting) > 1:
            return self._long_prefill_threshold
        return sys.maxsize

    def _order_matters(self, longest_chunk: int) -> bool:
        """Return whether the order in which running requests are served can change what they get.

        It cannot if the budget covers all decodes, and all of these come before the prompts: then every
        decode gets its token, and the prompts share what is left. In order of admission, with a budget of 8:

            d d d d d p p        five decodes take 5, and the prompts share 3: the order does not matter
            d d p d d d p        the first prompt can take 6, which leaves nothing for three decodes
            d d d d d d d d d    the last decode gets nothing

        If too few blocks are free, the request admitted last is preempted, which was not served yet. By
        priority it can be any request, so the order matters whenever blocks are short.
        """
        some_decodes_get_nothing = self._decoding.num_requests > self._budget
        if some_decodes_get_nothing:
            return True
        if self._prefilling:
            for state in islice(reversed(self._running), len(self._prefilling)):
                comes_after_a_prompt = state not in self._prefilling
                if comes_after_a_prompt:
                    return True
        if not self._by_priority:
            return False
        blocks_needed = self._decoding.num_blocks_needed()
        for state in self._prefilling:
            chunk_end = state.num_computed_tokens + min(longest_chunk, self._budget)
            blocks_needed += self._cache.blocks_needed(state, min(state.num_tokens, chunk_end))
        return blocks_needed > self._cache.num_free_blocks

    def _schedule_in_order(self, states: Sequence[RequestState], draft: _Draft, longest_chunk: int) -> None:
        """Give running requests their tokens one after another, until the budget is spent.

        Where blocks are missing, requests are preempted, maybe the one that needs the blocks.
        """
        for state in states:
            if draft.budget == 0:
                return
            # A request that was preempted, or whose last token is in flight, gets nothing.
            if state.status is not RUNNING or not (state in self._prefilling or state.is_decoding):
                continue
            computed = state.current_num_computed_tokens
            tokens = min(state.current_num_tokens - computed, longest_chunk, draft.budget)
            while not self._cache.try_allocate(state, computed + tokens):
                if self._preempt_one(draft, state) is state:
                    return
            draft.add(state, tokens)

    def _preempt_one(self, draft: _Draft, needy: RequestState) -> RequestState:
        """Preempt one running request, because `needy` needs its blocks, and return it.

        It is the one admitted last; by priority, of the least urgent requests the one added last.
        """
        if self._by_priority:
            victim = max(self._running, key=lambda state: state.urgency)
        else:
            victim = next(reversed(self._running))
        self._obstacle = "preemption"
        self._preempt(victim, draft.drop(victim))
        self._waiting.prepend_requests([victim])
        draft.preempted = [*draft.preempted, victim]
        draft.preempted_for = [*draft.preempted_for, needy]
        return victim

    def _first_chunk(self, state: RequestState, prefix: Prefix, budget: int, longest_chunk: int) -> int:
        """Return how many tokens a waiting request would get after `prefix`.

        If it cannot be admitted, return 0 and set `_obstacle` and `shortage`.
        """
        if len(self._running) >= self._max_num_seqs:
            self._obstacle, self.shortage = "max_num_seqs", None
            return 0
        cache = self._cache
        computed = prefix.num_blocks * cache.block_size
        tokens = state.num_tokens - computed
        if tokens > longest_chunk:
            tokens = longest_chunk
        if tokens > budget:
            if not self._chunks_prefills:
                self._obstacle, self.shortage = "chunked_prefill_off", (tokens, budget)
                return 0
            tokens = budget
        must_fit = state.num_tokens if self._reserves_whole_prompt else computed + tokens
        must_stay_free = self._watermark if self._running else 0
        needed = -(-must_fit // cache.block_size) - prefix.num_in_use
        if needed + must_stay_free <= cache.num_free_blocks:
            return tokens
        self._note_shortage(needed, must_stay_free)
        return 0


def decodes_in(plan: StepPlan, state: RequestState) -> bool:
    """Return whether a request decodes by the calendar in the step of a plan, before `update`."""
    return state.is_decoding and state not in plan.skipped


class _Draft:
    """A step while it is planned: the budget left, and the requests scheduled individually.

    A scheduled request can still be preempted, so its counters are not updated before the plan is complete.
    """

    cached: Sequence[tuple[RequestState, int]] = ()
    skipped: Sequence[RequestState] = ()
    preempted: Sequence[RequestState] = ()
    preempted_for: Sequence[RequestState] = ()

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.scheduled: dict[RequestState, int] = {}

    def add(self, state: RequestState, tokens: int) -> None:
        """Schedule `tokens` tokens of a request."""
        self.scheduled[state] = tokens
        self.budget -= tokens

    def drop(self, state: RequestState) -> int:
        """Remove a request, if it is scheduled; return how many tokens that gives back to the budget."""
        tokens = self.scheduled.pop(state, 0)
        self.budget += tokens
        return tokens

    def to_plan(self, num_decoding: int) -> StepPlan:
        """Return the complete plan; from now on its tokens count as computed.

        `num_decoding` requests are in the calendar, and all of them decode except the skipped ones.
        """
        prefill: list[BatchEntry] = []
        decode: list[BatchEntry] = []
        sampled: list[RequestState] = []
        unsampled: list[RequestState] = []
        for state, tokens in self.scheduled.items():
            if state.is_decoding:
                continue
            computed = state.num_computed_tokens
            state.num_computed_tokens = after = computed + tokens
            entries = prefill
            if after == state.num_tokens:
                sampled.append(state)
                if tokens == 1 and state.num_output_tokens:
                    entries = decode
            else:
                unsampled.append(state)
            entries.append(BatchEntry(state, computed, tokens))
        num_decodes = num_decoding - len(self.skipped) + len(decode)
        return StepPlan(
            num_decodes,
            prefill,
            sampled,
            decode,
            unsampled,
            self.cached,
            self.skipped,
            self.preempted,
            self.preempted_for,
        )
