"""Routers: which replica of a cluster gets a request. Each has a rule of a few lines.

Where routers of the field have a rule, it is theirs:

- `vllm`: `DPLBAsyncMPClient.get_core_engine_for_request` and `DPCoordinatorProc` of vLLM 0.32, for engines
  that do not run in lockstep, with one front end; see `tracesim.cluster.vllm_balancer`.
- `prefix`: the worker selection of Dynamo's KV router (`lib/kv-router/src/scheduling/selector.rs`), which
  weighs what has to be prefilled against the blocks in use.
"""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

from tracesim.cluster.replica import Replica
from tracesim.cluster.vllm_balancer import Coordinator, VllmBalancer
from tracesim.errors import ConfigError, brief
from tracesim.limits import MAX_FACTOR, written
from tracesim.requests.request import Request
from tracesim.timing.clock import PER_SECOND


class Router(Protocol):
    """Picks a replica for each request that arrives, in the order of arrival.

    A router that calls `Replica.take_loads` has an attribute `needs_loads`, which is true.
    """

    def choose(self, request: Request, replicas: Sequence[Replica]) -> int:
        """Return the index of the replica that gets a request, which arrives now."""
        ...


class RoundRobin:
    """One replica after the other."""

    def __init__(self) -> None:
        self._num_sent = 0

    def choose(self, request: Request, replicas: Sequence[Replica]) -> int:
        """Return the replica after the last one."""
        self._num_sent += 1
        return (self._num_sent - 1) % len(replicas)


class Random:
    """Any replica, each with the same probability."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def choose(self, request: Request, replicas: Sequence[Replica]) -> int:
        """Return any replica."""
        return self._random.randrange(len(replicas))


class LeastRequests:
    """The replica with the fewest unfinished requests; of several the first."""

    def choose(self, request: Request, replicas: Sequence[Replica]) -> int:
        """Return the replica with the fewest unfinished requests."""
        return min(replicas, key=lambda replica: replica.num_requests).index


class Session:
    """The replica of the session's first turn, which `first` chooses, as it does for requests without one."""

    def __init__(self, first: Router) -> None:
        self._first = first
        self._replicas: dict[str, int] = {}

    def choose(self, request: Request, replicas: Sequence[Replica]) -> int:
        """Return the replica that has the session."""
        if request.session_id is None:
            return self._first.choose(request, replicas)
        if request.session_id not in self._replicas:
            self._replicas[request.session_id] = self._first.choose(request, replicas)
        return self._replicas[request.session_id]


class Prefix:
    """The replica with the lowest cost: `weight` times the blocks to prefill, plus the blocks in use.

    Both are as they would be with the request. The blocks to prefill are those of its prompt that are not in
    the replica's prefix cache, and of the requests that have not emitted a token yet, as they were sent. The
    blocks in use are those that the replica's requests hold, those of the prompts that wait for a block, and
    the new ones of this prompt. Of equal replicas the one with the fewest unfinished requests is chosen.
    """

    def __init__(self, weight: float = 1.0) -> None:
        self._weight = weight
        self._new_tokens: dict[str, int] = {}

    def choose(self, request: Request, replicas: Sequence[Replica]) -> int:
        """Return the replica with the lowest cost."""
        new_tokens = [request.num_prompt_tokens - each.num_cached_tokens(request) for each in replicas]
        costs = [self._cost(*each) for each in zip(replicas, new_tokens, strict=True)]
        best = min(replicas, key=lambda each: (costs[each.index], each.num_requests)).index
        self._new_tokens[request.id] = new_tokens[best]
        return best

    def _cost(self, replica: Replica, new_tokens: int) -> float:
        """Return the cost of a request that needs `new_tokens` tokens of its prompt computed."""
        block_size = replica.engine.config.block_size
        waiting = replica.not_prefilled
        to_prefill = new_tokens + sum(self._new_tokens[each.id] for each in waiting)
        without_blocks = [each.num_tokens for each in waiting if not each.num_computed_tokens]
        in_use = replica.num_blocks_in_use + (new_tokens + sum(without_blocks)) / block_size
        return self._weight * to_prefill / block_size + in_use


class Vllm:
    """The load balancer of vLLM's data parallelism, which sees the loads of the last snapshot.

    A snapshot is published every 100 ms in which loads change; without a clock every step.
    """

    needs_loads = True

    def __init__(self) -> None:
        self._coordinator: Coordinator | None = None
        self._balancer = VllmBalancer()

    def choose(self, request: Request, replicas: Sequence[Replica]) -> int:
        """Return the replica with the lowest score."""
        if self._coordinator is None:
            interval = PER_SECOND // 10 if replicas[0].engine.timekeeper else 1
            self._coordinator = Coordinator(len(replicas), interval)
            self._balancer.snapshot = self._coordinator.snapshot()
        now = replicas[0].now
        if self._coordinator.may_publish_before(now):
            changes = [(load.time, each.index, load) for each in replicas for load in each.take_loads()[1:]]
            for time, index, load in sorted(changes):
                self._publish(self._coordinator.publish_before(time))
                self._coordinator.note(time, index, load)
            self._publish(self._coordinator.publish_before(now))
        return self._balancer.choose([each.num_requests for each in replicas])

    def _publish(self, snapshot: list[list[float]] | None) -> None:
        if snapshot is not None:
            self._balancer.snapshot = snapshot


ROUTERS: Final[Mapping[str, Callable[[int], Router]]] = {
    "round-robin": lambda seed: RoundRobin(),
    "random": Random,
    "least-requests": lambda seed: LeastRequests(),
    "vllm": lambda seed: Vllm(),
    "prefix": lambda seed: Prefix(),
    "session": lambda seed: Session(LeastRequests()),
}
"""Each router by its name, made with the seed of the run."""


def parse_router(value: str, seed: int = 0) -> Router:
    """Return the router with a name, `prefix:WEIGHT`, or an object of the class `module:Class`.

    Raises ConfigError.
    """
    if value in ROUTERS:
        return ROUTERS[value](seed)
    name, colon, rest = value.partition(":")
    if name == "prefix" and colon:
        with suppress(ValueError):
            weight = float(rest)
            if 0 <= weight <= MAX_FACTOR:
                return Prefix(weight)
        raise ConfigError(
            f"is {brief(value)}; the weight must be a number from 0 to {written(MAX_FACTOR)}",
            setting="router",
        )
    if colon and rest.isidentifier():
        return _custom_router(name, rest)
    names = ", ".join(ROUTERS)
    raise ConfigError(f"is {brief(value)}; must be {names}, prefix:WEIGHT or module:Class", setting="router")


def _custom_router(module: str, name: str) -> Router:
    """Return an object of a class that has `choose`. Raises ConfigError."""
    try:
        router: Any = getattr(importlib.import_module(module), name)()
    except (ImportError, AttributeError, TypeError) as error:
        raise ConfigError(f"is {module}:{name}, which cannot be used: {error}", setting="router") from error
    if not callable(getattr(router, "choose", None)):
        raise ConfigError(
            f"is {module}:{name}, which has no method choose(request, replicas)", setting="router"
        )
    custom: Router = router
    return custom
