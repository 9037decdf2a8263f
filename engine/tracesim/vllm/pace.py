"""Steps that take as long as a clock says."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Generic, TypeVar

from tracesim.requests.batch import Batch
from tracesim.timing.clock import PER_SECOND, Clock

T = TypeVar("T")


class Pacer:
    """Says when steps end, each as long after the one before as `clock` says. Without a clock nothing waits.

    The engine's own work is part of the step, so a busy engine keeps the pace whatever its loop costs; after
    an idle time the pace starts anew. With asynchronous scheduling that work is done while the step before
    runs, and a step begins when the one before ends, or now if that is over.
    """

    def __init__(
        self,
        clock: Clock | None,
        *,
        async_scheduling: bool = False,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._clock = clock
        self._async_scheduling = async_scheduling
        self._now = now
        self._sleep = sleep
        self._due = float("-inf")

    def due(self, batch: Batch) -> float:
        """Return when the step ends that computes `batch` and comes after all steps before."""
        if self._clock is None:
            return self._due
        duration = self._clock.duration(batch) / PER_SECOND
        now = self._now()
        is_busy = now - self._due < (0 if self._async_scheduling else duration)
        self._due = (self._due if is_busy else now) + duration
        return self._due

    def remaining(self, due: float) -> float:
        """Return how many seconds there are until `due`, at least 0."""
        return max(0.0, due - self._now())

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        if seconds > 0:
            self._sleep(seconds)


class DueFuture(Future[T], Generic[T]):
    """A value that is there when a step ends; who asks for it earlier sleeps until then.

    It is done once somebody has asked for it, as are the futures of vLLM's own executors: vLLM before 0.25
    plans no batch ahead of one that is done, and so would plan by the moment.
    """

    def __init__(self, value: T, due: float, pacer: Pacer) -> None:
        """`due` is the end of the step, as `pacer` counts time."""
        super().__init__()
        self._value, self._due, self._pacer = value, due, pacer

    def result(self, timeout: float | None = None) -> T:
        """Return the value at the end of the step. Raises TimeoutError if that is after `timeout` seconds."""
        remaining = self._pacer.remaining(self._due)
        if timeout is not None and timeout < remaining:
            self._pacer.sleep(timeout)
            raise FutureTimeoutError
        self._pacer.sleep(remaining)
        if not self.done():
            self.set_result(self._value)
        return super().result()
