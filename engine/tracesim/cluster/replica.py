"""`Replica`: an engine of a cluster, as its router sees it, and how far it may run."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from tracesim.engine.llm_engine import LLMEngine
from tracesim.engine.progress import RequestProgress
from tracesim.requests.arrival_queue import TimedArrivals, Wait
from tracesim.requests.request import Request, RequestState


class Load(NamedTuple):
    """What a replica has to do from `time` on: its requests, and the fraction of its KV blocks in use."""

    time: int
    num_waiting: int
    num_running: int
    kv_cache_usage: float


class RoutedArrivals(TimedArrivals):
    """The requests that a router has sent to a replica, until they arrive; none of them waits for another."""

    num_waiting = 0
    depends_on_ends = True

    def __init__(self) -> None:
        super().__init__()
        self._horizon: int | None = None
        self._finished: list[tuple[int, Sequence[RequestState]]] = []

    def set_horizon(self, time: int | None) -> None:
        """Set until when no further request will be sent; None if none will be sent any more."""
        self._horizon = time
        self._set_next_time(self.next_time)

    def _set_next_time(self, time: int | None) -> None:
        """Set when the next request arrives of those that were sent."""
        self.next_time = time
        times = [each for each in (time, self._horizon) if each is not None]
        self.no_arrival_before = min(times, default=None)

    def add_waiting(self, state: RequestState, wait: Wait) -> None:
        """Raise AssertionError: a request is sent when it waits for no other any more."""
        raise AssertionError(f"{state!r} waits for others, and was sent to a replica")

    def on_finish(self, finished: Sequence[RequestState], now: int) -> Sequence[RequestState]:
        """Keep the requests that have finished."""
        self._finished.append((now, finished))
        return ()

    def on_abort(self, request_id: str, now: int) -> Sequence[RequestState]:
        """Do nothing: no request waits for another here."""
        return ()

    def drop_waiting(self) -> Sequence[RequestState]:
        """Return nothing: no request waits for another here."""
        return ()

    def take_finished(self) -> Sequence[tuple[int, Sequence[RequestState]]]:
        """Return the requests that have finished since the last call, and when."""
        taken, self._finished = self._finished, []
        return taken


class Replica:
    """An engine of a cluster, and what a router may know of it when a request arrives.

    The engine runs when somebody asks for what it has done, up to `now`, the time of the arrival. A step that
    has started by then is complete in the engine; requests that finish with its end still count as unfinished
    until then. `finished` has the requests that have finished and when, until somebody takes them.
    """

    def __init__(
        self, index: int, engine: LLMEngine, arrivals: RoutedArrivals, *, keeps_loads: bool = False
    ) -> None:
        """`arrivals` is the queue of `engine`. Without `keeps_loads` there are no loads."""
        self.index = index
        self.engine = engine
        self.now = 0
        self.finished: list[tuple[int, Sequence[RequestState]]] = []
        self.arrivals = arrivals
        self._unfinished: dict[RequestState, None] = {}
        self._causing_arrivals: set[RequestState] = set()
        self._least_output = sys.maxsize
        self._ends: deque[tuple[int, int]] = deque()
        self._num_ending = 0
        self._loads = deque([Load(-1, 0, 0, 0.0)])
        self._keeps_loads = keeps_loads

    @property
    def num_requests(self) -> int:
        """How many requests were sent to the replica and have not finished."""
        if self._unfinished and self.engine.earliest_finish(self._least_output) <= self.now:
            self.run_until(self.now)
        while self._ends and self._ends[0][0] <= self.now:
            self._num_ending -= self._ends.popleft()[1]
        return len(self._unfinished) + self._num_ending

    @property
    def not_prefilled(self) -> list[RequestState]:
        """The requests that have not emitted a token, in the order in which they were sent."""
        self.run_until(self.now)
        return [state for state in self._unfinished if not state.num_output_tokens]

    @property
    def num_blocks_in_use(self) -> int:
        """How many KV blocks requests hold."""
        self.run_until(self.now)
        cache = self.engine.scheduler.cache
        return cache.capacity - cache.num_free_blocks

    def num_cached_tokens(self, request: Request) -> int:
        """Return how many tokens of a prompt are in the prefix cache."""
        self.run_until(self.now)
        return self.engine.scheduler.cache.num_cached_tokens(request)

    def take_loads(self) -> list[Load]:
        """Return the load that was the last one at the last call, and those since then.

        There is one for each time at which a step started or ended with more or fewer requests than before.
        """
        self.run_until(self.now)
        taken = [self._loads[0]]
        while len(self._loads) > 1 and self._loads[1].time <= self.now:
            self._loads.popleft()
            taken.append(self._loads[0])
        return taken

    def receive(self, progress: RequestProgress, *, causes_arrivals: bool) -> None:
        """Take a request that the router has sent; others may arrive because it finishes."""
        progress.replica = self.index
        self.engine.intake.receive(progress)
        self._unfinished[progress.state] = None
        self._least_output = min(self._least_output, progress.request.num_output_tokens)
        if causes_arrivals:
            self._causing_arrivals.add(progress.state)

    @property
    def earliest_cause(self) -> int | None:
        """A time before which no request finishes that may let others arrive; None if there is none."""
        if not self._causing_arrivals:
            return None
        return self.engine.earliest_finish(self._least_output)

    def advance(self, horizon: int | None, limit: int = sys.maxsize) -> None:
        """Take the next step and, up to a change, others that start before `horizon`: at most `limit`."""
        self.arrivals.set_horizon(horizon)
        self._advance(limit)
        self._note_finished()

    def run_until(self, time: int | None) -> None:
        """Take every step that starts before a time; None for all that there are."""
        self.arrivals.set_horizon(time)
        engine = self.engine
        while (start := engine.next_step_time) is not None and (time is None or start < time):
            self._advance()
        self._note_finished()

    def _advance(self, limit: int = sys.maxsize) -> None:
        if self._keeps_loads:
            self.engine.admit_arrivals()
            self._note_load()
        self.engine.advance(limit)
        if self._keeps_loads:
            self._note_load()

    def _note_finished(self) -> None:
        """Take note of the requests that have finished."""
        for time, states in self.arrivals.take_finished():
            for state in states:
                del self._unfinished[state]
            self._causing_arrivals.difference_update(states)
            self._ends.append((time, len(states)))
            self._num_ending += len(states)
            self.finished.append((time, states))

    def _note_load(self) -> None:
        """Keep the current load if there are more or fewer requests than before."""
        scheduler = self.engine.scheduler
        num_waiting, num_running = scheduler.num_waiting, len(scheduler.running)
        if self._loads[-1][1:3] != (num_waiting, num_running):
            cache = scheduler.cache
            usage = 0.0 if cache.num_blocks is None else 1 - cache.num_free_blocks / cache.capacity
            self._loads.append(Load(self.engine.now, num_waiting, num_running, usage))
