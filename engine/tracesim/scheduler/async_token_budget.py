"""Asynchronous scheduling of `vllm-v1`: a step is planned before the tokens of the step before are known.

It follows vLLM 0.32's `AsyncScheduler` in `EngineCore.step_with_batch_queue`: batch n + 1 is planned, and
then the output of batch n is taken in. It differs from `TokenBudgetScheduler` only in what a plan knows:

- A token in flight counts as a token of its request, but the cache does not know it yet.
- A request whose end is a token is planned once more, in vain. One whose end is a limit is passed over.
  Both leave when their last token comes, after the next plan: until then they keep their place and blocks.
- A preempted request's token still comes. If it is the last one, the request leaves the waiting queue.
"""

from __future__ import annotations

from collections.abc import Sequence

from tracesim.config import EngineConfig
from tracesim.kv_cache.async_prefix_cache import AsyncPrefixCache
from tracesim.kv_cache.prefix_cache import PrefixCache
from tracesim.requests.batch import Batch
from tracesim.requests.decode_calendar import AsyncDecodeCalendar, by_admission
from tracesim.requests.request import FINISHED, RUNNING, RequestState
from tracesim.scheduler.interface import StepPlan, StepsBeforeArrival, Stride
from tracesim.scheduler.token_budget import TokenBudgetScheduler


class AsyncTokenBudgetScheduler(TokenBudgetScheduler):
    """A `TokenBudgetScheduler` that plans one step ahead of the tokens.

    `_ending` are the requests whose last token is in flight, `_skipped` the decoding requests that the last
    plan skipped and that have no token in flight.
    """

    _prefix_cache_type: type[PrefixCache] = AsyncPrefixCache
    plans_ahead = 1

    def __init__(self, config: EngineConfig) -> None:
        super().__init__(config)
        self._decoding = AsyncDecodeCalendar(config.block_size)
        self._ending: Sequence[RequestState] = ()
        self._skipped: frozenset[RequestState] = frozenset()

    def schedule(self) -> StepPlan:
        """Plan a step as `TokenBudgetScheduler` does, without knowing the tokens in flight."""
        plan = super().schedule()
        if self._ending:
            plan.discarded = [s for s in self._ending if s.is_decoding and s not in plan.skipped]
        return plan

    def decoding_requests(self, plan: StepPlan) -> list[RequestState]:
        """Return who decodes by the calendar: not the requests that are passed over."""
        decoding = super().decoding_requests(plan)
        passed_over = {state for state in self._ending if not state.is_decoding}
        return [state for state in decoding if state not in passed_over] if passed_over else decoding

    def update(self, plan: StepPlan) -> list[RequestState]:
        """Take in the output of the batch before `plan`, then launch that of `plan`.

        Return the requests that finished with the output that was taken in.
        """
        finished = self._settle(plan)
        self._ending = self._count_tokens(plan)
        for state in self._ending:
            if state.request.ends_late:
                if not state.is_decoding:
                    self._decoding.join(state)
            else:
                state.num_computed_tokens = state.num_tokens - 1
        self._skipped = frozenset(plan.skipped)
        if isinstance(self._cache, AsyncPrefixCache):
            self._cache.without_token_in_flight = self._skipped
        self.awaits_output = bool(plan)
        return finished

    def stride(self, limit: int, steps_before_arrival: StepsBeforeArrival | None = None) -> Stride | None:
        """Take steps at once as `TokenBudgetScheduler` does, while the counters of all requests agree."""
        if self._ending or self._skipped:
            return None
        return super().stride(limit, steps_before_arrival)

    def _take_stride(self, steps: int, batch: Batch) -> Stride:
        self._ending = sorted(self._decoding.advance(steps), key=by_admission)
        self.awaits_output = True
        return Stride(steps, batch, ())

    def _settle(self, plan: StepPlan) -> list[RequestState]:
        """Let the requests leave whose last token has come, in the order of their batch."""
        finished = [state for state in self._ending if state.status is not FINISHED]  # it may be aborted
        for state in finished:
            num_known = state.current_num_tokens - 1  # the token that ends a response is never cached
            if state.status is RUNNING:
                self._stop_running(state)
            else:
                self._waiting.remove_request(state)
                num_known = 0
            self._cache.finish(state, int(state in plan.discarded), num_known)
            state.status = FINISHED
        if plan.skipped:
            plan.skipped = [state for state in plan.skipped if state.status is RUNNING]
            if isinstance(self._cache, AsyncPrefixCache):
                for state in plan.skipped:
                    if state not in self._skipped:
                        self._cache.insert(state, state.current_num_tokens - 1)
        return finished

    def _num_known_tokens(self, state: RequestState) -> int | None:
        """Return how many tokens the cache may know: not the one in flight, nor the one computed for it."""
        if state in self._prefilling or state.status is not RUNNING:
            return None
        return state.current_num_tokens - (1 if state in self._skipped else 2)
