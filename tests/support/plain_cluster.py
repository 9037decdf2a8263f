"""A cluster in its simplest form: a step at a time, in the replica whose next step starts first."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

from factories import a_simulator
from tracesim import ArrivalProcess, Clock, EngineArgs, StepRecord, TraceRecord
from tracesim.cluster.cluster import Cluster
from tracesim.cluster.routers import parse_router
from tracesim.requests.request import Request


def a_cluster(
    records: Sequence[TraceRecord],
    replicas: int,
    router: str = "round-robin",
    clock: Clock | None = None,
    arrivals: ArrivalProcess | None = None,
    **settings: Any,
) -> Cluster:
    """Return a cluster to which the records have been added."""
    config = EngineArgs(**settings).create_engine_config()
    cluster = Cluster(config, a_simulator(), replicas, parse_router(router), clock=clock, arrivals=arrivals)
    assert cluster.add_records(records) == []
    return cluster


def run_plainly(cluster: Cluster, choose: Callable[[Request, Sequence[int]], int]) -> None:
    """Run a cluster without its loop and its router: step by step, in the order of time.

    An end is handled before arrivals and steps of the same time, and an arrival before such steps. `choose`
    gets a request and the number of unfinished requests of each replica, and returns a replica.
    """
    engines, intake = cluster.engines, cluster.intake
    ends: list[tuple[int, int, int, str]] = []
    numbers = count()
    unfinished = [0] * len(engines)
    steps: list[StepRecord] = []
    for engine in engines:
        engine.follow(steps.append)
    while True:
        next_times = [engine.next_step_time for engine in engines]
        starts = [(time, at) for at, time in enumerate(next_times) if time is not None]
        start, index = min(starts, default=(None, 0))
        arrival = intake.queue.next_time
        times = [time for time in (start, ends[0][0] if ends else None, arrival) if time is not None]
        if not times:
            return
        if ends and ends[0][0] == min(times):
            time, at, _, request_id = heapq.heappop(ends)
            unfinished[at] -= 1
            intake.on_finish([intake.requests[request_id].state], time)
        elif arrival == min(times):
            (state, *others) = intake.queue.pop_due(arrival)
            for each in (state, *others):
                chosen = choose(each.request, unfinished)
                unfinished[chosen] += 1
                intake.requests[each.id].replica = chosen
                engines[chosen].intake.receive(intake.requests[each.id])
        else:
            engines[index].advance()
            for time, states in cluster.replicas[index].arrivals.take_finished():
                for each in states:
                    heapq.heappush(ends, (time, index, next(numbers), each.id))
