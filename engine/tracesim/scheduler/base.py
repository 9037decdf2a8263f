"""What every policy shares: two queues, a KV cache, and how requests come, finish and make room."""

from __future__ import annotations

from collections.abc import Sequence

from tracesim.config import EngineConfig
from tracesim.kv_cache import KVCache
from tracesim.request import Request, RequestState, RequestStatus
from tracesim.scheduler.interface import StepPlan
from tracesim.waiting import WaitingQueue


class BaseScheduler:
    """The part of the `Scheduler` protocol that does not decide anything."""

    def __init__(self, config: EngineConfig, cache: KVCache, waiting: WaitingQueue) -> None:
        self._config = config
        self._cache = cache
        self._waiting = waiting
        self._running: list[RequestState] = []
        self._watermark = int((config.watermark or 0) * (config.num_gpu_blocks or 0))

    @property
    def running(self) -> Sequence[RequestState]:
        """The requests that hold KV blocks, in the order of their admission."""
        return self._running

    @property
    def num_waiting(self) -> int:
        """How many requests wait, preempted ones included."""
        return len(self._waiting)

    @property
    def num_free_blocks(self) -> int | None:
        """KV blocks that nobody holds; None when they are endless."""
        return self._cache.num_free_blocks

    def add_request(self, request: Request) -> RequestState:
        """Queue a request that has arrived."""
        state = RequestState(request)
        self._waiting.add(state)
        return state

    def abort_request(self, state: RequestState) -> None:
        """Drop a request, wherever it is, and free its blocks."""
        if state.status is RequestStatus.RUNNING:
            self._running.remove(state)
            self._cache.release(state)
        else:
            self._waiting.remove(state)
        state.status = RequestStatus.FINISHED

    def update(self, plan: StepPlan) -> list[RequestState]:
        """Book the emitted tokens; requests that emitted their last leave and free their blocks."""
        finished = [*plan.refused]
        for state in plan.sampled:
            if state.num_tokens < state.total_tokens:
                state.num_tokens += 1
            if state.num_tokens == state.total_tokens:
                state.status = RequestStatus.FINISHED
                self._cache.release(state)
                state.prefix_keys = []
                finished.append(state)
        if len(finished) > len(plan.refused):
            self._running = [state for state in self._running if state.status is RequestStatus.RUNNING]
        return finished

    def _preempt(self, victim: RequestState) -> None:
        """Take the blocks of a victim, which has left `running` and is not queued again yet."""
        self._cache.release(victim)
        victim.status = RequestStatus.PREEMPTED
        victim.num_computed_tokens = 0
        victim.num_preemptions += 1
