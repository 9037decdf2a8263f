"""Asynchronous scheduling of `vllm-v1`: a step is planned before the tokens of the step before are known.

It follows vLLM 0.32's `AsyncScheduler` in `EngineCore.step_with_batch_queue`: batch n + 1 is planned, and
then the output of batch n is taken in. It differs from `TokenBudgetScheduler` only in what a plan knows:

- A token in flight counts as a token of its request, but the cache does not know it yet.
- A request whose end is a token is planned once more, in vain. One whose end is a limit is passed over.
  Both leave when their last token comes, after the next plan: until then they keep their place and blocks.
- A preempted request's token still comes. If it is the last one, the request leaves the waiting queue.
"""

from __future__ import annotations

from tracesim.config import EngineConfig
from tracesim.kv_cache.async_prefix_cache import AsyncPrefixCache
from tracesim.kv_cache.prefix_cache import PrefixCache
from tracesim.requests.batch import Batch
from tracesim.requests.decode_calendar import by_admission
from tracesim.requests.request import FINISHED, RUNNING, RequestState
from tracesim.scheduler.interface import BatchEntry, StepPlan, StepsBeforeArrival, Stride
from tracesim.scheduler.token_budget import TokenBudgetScheduler, decodes_in
from tracesim.scheduler.waiting import Cause


class AsyncTokenBudgetScheduler(TokenBudgetScheduler):
    """A `TokenBudgetScheduler` that plans one step ahead of the tokens.

    `_plan` is the one made last. `_ending` are the requests whose last token is in flight, `_skipped` the
    decoding requests that the last plan skipped and that have no token in flight.
    """

    _prefix_cache_type: type[PrefixCache] = AsyncPrefixCache
    plans_ahead = 1
    discards = True

    def __init__(self, config: EngineConfig) -> None:
        super().__init__(config)
        self._plan = StepPlan()
        self._has_batch_in_flight = False
        self._ending: list[RequestState] = []
        self._skipped: frozenset[RequestState] = frozenset()

    def schedule(self) -> StepPlan:
        """Plan a step as `TokenBudgetScheduler` does, without knowing the tokens in flight."""
        self._plan = plan = super().schedule()
        if self._ending:
            in_vain = [state for state in self._ending if decodes_in(plan, state)]
            if plan.discarded:
                in_vain = sorted({*plan.discarded, *in_vain}, key=by_admission)
            plan.discarded = in_vain
        return plan

    def decoding_requests(self, plan: StepPlan) -> list[RequestState]:
        """Return who decodes by the calendar: not the requests that are passed over."""
        decoding = super().decoding_requests(plan)
        passed_over = {state for state in self._ending if not state.is_decoding}
        return [state for state in decoding if state not in passed_over] if passed_over else decoding

    def least_steps(self, least_output: int) -> int:
        """Return in how many steps a request can finish: in none, if its last token is in flight."""
        return 0 if self._ending else super().least_steps(least_output)

    @property
    def awaits_output(self) -> bool:
        """Whether a batch is in flight, so that its output is due, or an abort is due."""
        return self._has_batch_in_flight or super().awaits_output

    def update(self, plan: StepPlan) -> list[RequestState]:
        """Take in the output of the batch before `plan`, then launch that of `plan`.

        Return the requests that finished with the output that was taken in.
        """
        if self._aborts_due:
            self._apply_aborts(plan)
        finished = self._end(self._ending)
        if plan.skipped:
            plan.skipped = [state for state in plan.skipped if state.status is RUNNING]
            if isinstance(self._cache, AsyncPrefixCache):
                for state in plan.skipped:
                    if state not in self._skipped:
                        self._cache.insert(state, state.current_num_tokens - 1)
        self._ending = self._count_tokens(plan)
        self._has_batch_in_flight = bool(plan)
        self._skipped = frozenset(plan.skipped)
        if isinstance(self._cache, AsyncPrefixCache):
            self._cache.without_token_in_flight = self._skipped
        return finished

    def stride(self, limit: int, steps_before_arrival: StepsBeforeArrival | None = None) -> Stride | None:
        """Take steps at once as `TokenBudgetScheduler` does, while the counters of all requests agree.

        The step in which requests decode in vain is the last one, and a stride of its own.
        """
        if self._skipped:
            return None
        if self._ending:
            limit = 1
            for state in self._ending:
                if not state.is_decoding:
                    return None
        return super().stride(limit, steps_before_arrival)

    def _longest_stride(self, limit: int) -> int:
        """Return after how many steps the batch changes: one more, where requests that end decode in vain."""
        steps = super()._longest_stride(limit)
        if steps == limit or self.records_strides:
            return steps
        for state in self._decoding.finishing_in(steps):
            if not state.ends_late:
                return steps
        return steps + 1

    def _take_stride(
        self, steps: int, batch: Batch, prefill: BatchEntry | None, waiting_for: Cause | None
    ) -> Stride:
        """Let all decoding requests emit `steps` tokens; if some end before the last one, that is in vain."""
        first = steps if steps == 1 else self._decoding.ticks_to_finish(steps)
        stride = self._emit(first, batch, prefill, waiting_for)
        if first < steps:
            if prefill is not None:
                prefill = BatchEntry(prefill.state, prefill.computed + first * prefill.tokens, prefill.tokens)
            stride.then = self._emit(1, batch.after(first), prefill, waiting_for)
        return stride

    def _emit(
        self, steps: int, batch: Batch, prefill: BatchEntry | None, waiting_for: Cause | None
    ) -> Stride:
        """Let the requests leave that are ending, then let all that decode emit `steps` tokens."""
        ending = self._ending
        finished = self._end(ending) if ending else ending
        self._ending = ended = self._decoding.advance(steps)
        if len(ended) > 1:
            ended.sort(key=by_admission)
        return Stride(steps, batch, finished, prefill, waiting_for, ending, bool(ended))

    def _finish(self, state: RequestState) -> None:
        """Let a request leave whose last token has come; the next plan was made already."""
        if state.calendar is None:
            # The token that ends a response is never cached, nor anything of a request that was preempted.
            self._remove(state, num_known=state.num_tokens - 1 if state.status is RUNNING else 0)
        else:
            is_scheduled = state not in self._plan.skipped
            self._decoding.leave(state)
            del self._running[state]
            self._cache.finish(state, int(is_scheduled), state.num_tokens - 1)
            state.status = FINISHED

    def _num_known_tokens(self, state: RequestState) -> int | None:
        """Return how many tokens the cache may know: not the one in flight, nor the one computed for it."""
        if state in self._prefilling or state.status is not RUNNING:
            return None
        return state.current_num_tokens - (1 if state in self._skipped else 2)
