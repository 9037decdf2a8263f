"""`Cluster`: replicas of an engine under one clock, and a router that sends each request to one of them."""

from __future__ import annotations

import heapq
import sys
from collections.abc import Callable, Sequence

from tracesim.cluster.replica import Replica, RoutedArrivals
from tracesim.cluster.routers import Router
from tracesim.config import EngineConfig
from tracesim.engine.intake import RequestIntake
from tracesim.engine.llm_engine import LLMEngine
from tracesim.engine.step_records import StepRecord
from tracesim.engine.stride_records import StrideRecord
from tracesim.errors import RequestError, StepLimitError
from tracesim.requests.arrival_queue import SessionArrivals
from tracesim.requests.request import RequestState
from tracesim.responses.sampling_params import SamplingParams
from tracesim.responses.simulator import TraceSimulator
from tracesim.timing.arrival_process import ArrivalProcess
from tracesim.timing.clock import Clock
from tracesim.trace.record import TraceRecord


class Cluster:
    """Replicas of an engine, with caches of their own, under one virtual clock; without a clock in lockstep.

    When a request arrives, `router` picks a replica from what all of them are at that moment. A replica runs
    no further than it must, and never past a time at which a request could still arrive: the next arrival
    that is known, and the earliest one that the end of another request could cause. So it takes strides, and
    where no request waits for others only a router that asks for loads cuts them.

    `engines` are the replicas' engines, and `requests` has every request by id, as in `LLMEngine`.
    """

    def __init__(
        self,
        config: EngineConfig,
        simulator: TraceSimulator,
        num_replicas: int,
        router: Router,
        *,
        clock: Clock | None = None,
        arrivals: ArrivalProcess | None = None,
        params: SamplingParams | None = None,
    ) -> None:
        """`config`, `clock`, `arrivals` and `params` mean what they mean in `LLMEngine`."""
        self.config = config
        self.simulator = simulator
        keeps_loads = getattr(router, "needs_loads", False)
        self.replicas = []
        for index in range(num_replicas):
            queue = RoutedArrivals()
            engine = LLMEngine(config, simulator, clock=clock, queue=queue, replica=index)
            self.replicas.append(Replica(index, engine, queue, keeps_loads=keeps_loads))
        self.engines = [replica.engine for replica in self.replicas]
        self.now = 0
        process = arrivals or ArrivalProcess()
        self._router = router
        self._queue = SessionArrivals(process.users)
        self.intake = RequestIntake(
            config,
            simulator,
            self._queue,
            self.engines[0].scheduler.check,
            process=process,
            time=self,
            has_clock=clock is not None,
            params=params,
        )
        self.requests = self.intake.requests
        self._ends: list[tuple[int, int, int, Sequence[RequestState]]] = []
        self._num_ends = 0
        self._in_order = False

    def add_records(
        self, records: Sequence[TraceRecord], params: SamplingParams | None = None
    ) -> list[tuple[TraceRecord, RequestError]]:
        """Add the requests that records have, as `LLMEngine.add_records` does; return the refused ones."""
        return self.intake.add_records(records, params)

    def get_num_unfinished_requests(self) -> int:
        """Return how many requests are waiting, running or still to arrive."""
        return self.intake.num_unfinished

    def run(
        self,
        on_step: Callable[[StepRecord], object] | None = None,
        *,
        write: Callable[[bytes], object] | None = None,
        on_stride: Callable[[StrideRecord], object] | None = None,
        max_steps: int | None = None,
    ) -> None:
        """Step until every request is finished; see `LLMEngine.run`.

        Steps of all replicas are counted for `max_steps`. Records come in the order in which their steps or
        strides start, and of the replicas where these are equal.
        """
        for engine in self.engines:
            engine.follow(on_step, write=write, on_stride=on_stride)
        self._in_order = bool(on_step or write or on_stride)
        self.intake.start()
        while self.intake.num_unfinished:
            next_time = self._queue.next_time
            if not self._in_order and max_steps is None and not self._queue.depends_on_ends:
                self._run_freely(next_time)
                continue
            replica, horizon = self._next_replica(next_time)
            if replica is not None:
                self._advance(replica, horizon, max_steps)
            elif self._ends and (next_time is None or self._ends[0][0] <= next_time):
                self._handle_end()
            elif next_time is not None:
                self._route(next_time)
        for replica in self.replicas:  # what is left is computed in vain
            replica.run_until(None)

    def _run_freely(self, next_time: int | None) -> None:
        """Send the next request, or let every replica run to its end: no arrival depends on what they do."""
        if next_time is not None:
            self._route(next_time)
            return
        for replica in self.replicas:
            replica.run_until(None)
            self._take_finished(replica)
        while self._ends:
            self._handle_end()

    def _handle_end(self) -> None:
        """Take note of the earliest end of requests that was not handled yet."""
        time, _, _, finished = heapq.heappop(self._ends)
        self.now = max(self.now, time)
        self.intake.on_finish(finished, time)

    def _next_replica(self, next_time: int | None) -> tuple[Replica | None, int | None]:
        """Return the replica that takes the next step, and up to when; None if a request arrives first.

        A replica has to step before the next arrival or end that is known if, by then, a request could finish
        in it and let another one arrive; or if records are made in order. The first to step is the one in
        which that could happen first. It steps up to when it could happen in another.
        """
        times = [time for time in (next_time, self._ends[0][0] if self._ends else None) if time is not None]
        until = min(times, default=None)
        chosen: tuple[bool, int, int] | None = None
        bounds: list[int | None] = []
        for replica in self.replicas:
            starts = replica.engine.next_step_time
            bound = replica.earliest_cause
            bounds.append(bound)
            if starts is None or (until is not None and starts >= until):
                continue
            has_to = until is None or self._in_order or (bound is not None and bound <= until)
            by_start = self._in_order or bound is None
            key = by_start, starts if by_start or bound is None else bound, replica.index
            if has_to and (chosen is None or key < chosen):
                chosen = key
        if chosen is None:
            return None, None
        *_, index = chosen
        times += [bound for at, bound in enumerate(bounds) if bound is not None and at != index]
        return self.replicas[index], min(times, default=None)

    def _route(self, time: int) -> None:
        """Send the requests that arrive at a time to replicas, in order."""
        self.now = time
        for replica in self.replicas:
            replica.now = time
        for state in self._queue.pop_due(time):
            replica = self.replicas[self._router.choose(state.request, self.replicas)]
            causes_arrivals = self._queue.delay_after(state) is not None
            replica.receive(self.requests[state.id], causes_arrivals=causes_arrivals)
        for replica in self.replicas:
            self._take_finished(replica)

    def _advance(self, replica: Replica, horizon: int | None, max_steps: int | None) -> None:
        """Let a replica take steps. Raises StepLimitError if `max_steps` of all replicas have been taken."""
        limit = sys.maxsize
        if max_steps is not None:
            limit = max_steps - sum(engine.counts.steps for engine in self.engines)
            if limit <= 0:
                unfinished = f"{self.intake.num_unfinished} of {len(self.requests)} requests"
                raise StepLimitError(f"{unfinished} are unfinished after {max_steps} steps")
        replica.advance(horizon, limit)
        self._take_finished(replica)

    def _take_finished(self, replica: Replica) -> None:
        """Take the requests that have finished in a replica, to handle them in the order of their ends."""
        for time, finished in replica.finished:
            self._num_ends += 1
            heapq.heappush(self._ends, (time, replica.index, self._num_ends, finished))
        replica.finished.clear()
