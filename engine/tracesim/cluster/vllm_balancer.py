"""The load balancer of data parallelism in vLLM 0.32, and the coordinator whose snapshots it sees.

`VllmBalancer` follows `DPLBAsyncMPClient.get_core_engine_for_request` (vllm/v1/engine/core_client.py) of a
deployment with one front end. `Coordinator` follows `DPCoordinatorProc` (vllm/v1/engine/coordinator.py) for
engines that do not run in lockstep: those of models without experts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from tracesim.cluster.replica import Load

_WAITING_PENALTY: Final = 6.0
_FREE_OF_PENALTY: Final = 0.5
_IDLE_INTERVALS: Final = 50
"""Where nothing changes, a snapshot is published after so many intervals: 5 s."""


class VllmBalancer:
    """Scores engines by a snapshot of their loads and by its own requests in flight.

    `snapshot` has, for each engine, the requests that wait, those that run, and the KV cache usage. The
    balancer adds the requests that it sends to those that wait, until the next snapshot replaces them.
    """

    def __init__(self) -> None:
        self.snapshot: list[list[float]] = []
        self._first = 0

    def choose(self, in_flight: Sequence[int]) -> int:
        """Return the engine with the lowest score; `in_flight` counts the unfinished requests of each.

        The score is the larger of the requests in flight and those of the snapshot. Waiting ones cost up to
        three more where more than half of the KV cache is in use. Of equal engines the first one in a
        rotation is chosen.
        """
        num_engines = len(self.snapshot)
        order = [(self._first + at) % num_engines for at in range(num_engines)]
        chosen = min(order, key=lambda index: self._score(index, in_flight[index]))
        self.snapshot[chosen][0] += 1
        self._first = (self._first + 1) % num_engines
        return chosen

    def _score(self, index: int, in_flight: int) -> float:
        waiting, running, usage = self.snapshot[index]
        score = max(in_flight, waiting + running)
        if waiting:
            score += waiting * _WAITING_PENALTY * max(0.0, usage - _FREE_OF_PENALTY)
        return score


class Coordinator:
    """Publishes a snapshot of all loads when one has changed, at most once in an `interval`."""

    def __init__(self, num_engines: int, interval: int) -> None:
        self._interval = interval
        self._loads = [[0.0, 0.0, 0.0] for _ in range(num_engines)]
        self._changed_at: int | None = None
        self._published_at = -interval

    def may_publish_before(self, time: int) -> bool:
        """Return whether a snapshot can be published before a time, whatever changes."""
        return self._published_at + self._interval < time

    def note(self, time: int, index: int, load: Load) -> None:
        """Take note of a load that an engine has sent."""
        self._loads[index] = [load.num_waiting, load.num_running, load.kv_cache_usage]
        if self._changed_at is None:
            self._changed_at = time

    def publish_before(self, time: int) -> list[list[float]] | None:
        """Return the last snapshot that was published before a time; None if there is no new one."""
        is_new = False
        if self._changed_at is not None:
            due = max(self._changed_at, self._published_at + self._interval)
            if due >= time:
                return None
            self._published_at, self._changed_at, is_new = due, None, True
        idle = self._interval * _IDLE_INTERVALS
        num_idle = max(0, math.ceil((time - self._published_at) / idle) - 1)
        self._published_at += num_idle * idle
        return self.snapshot() if is_new or num_idle else None

    def snapshot(self) -> list[list[float]]:
        """Return the current loads."""
        return [list(load) for load in self._loads]
