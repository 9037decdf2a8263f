"""Steps that last as long as a real model's would."""

from __future__ import annotations

import time
from collections.abc import Callable


class Pacer:
    """Lets each step end `step_time` seconds after the one before, the engine's own work included.

    So a busy engine keeps the pace whatever its loop costs; after a pause the pace starts anew.
    """

    def __init__(
        self,
        step_time: float,
        *,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._step_time = step_time
        self._now = now
        self._sleep = sleep
        self._due = float("-inf")

    def wait(self) -> None:
        """Wait for the end of the step."""
        if not self._step_time:
            return
        now = self._now()
        began = self._due if now - self._due < self._step_time else now
        self._due = began + self._step_time
        self._sleep(max(0.0, self._due - now))
