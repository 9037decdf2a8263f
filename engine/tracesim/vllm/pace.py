"""Steps that take as long as a clock says."""

from __future__ import annotations

import time
from collections.abc import Callable

from tracesim.requests.batch import Batch
from tracesim.timing.clock import PER_SECOND, Clock


class Pacer:
    """Lets each step end when `clock` says, counted from the end of the step before.

    The engine's own work is part of the step, so a busy engine keeps the pace whatever its loop costs; after
    an idle time the pace starts anew. Without a clock nothing waits.
    """

    def __init__(
        self,
        clock: Clock | None,
        *,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._clock = clock
        self._now = now
        self._sleep = sleep
        self._due = float("-inf")

    def wait(self, batch: Batch) -> None:
        """Wait for the end of the step that computes `batch`."""
        if self._clock is None:
            return
        duration = self._clock.duration(batch) / PER_SECOND
        now = self._now()
        began = self._due if now - self._due < duration else now
        self._due = began + duration
        self._sleep(max(0.0, self._due - now))
