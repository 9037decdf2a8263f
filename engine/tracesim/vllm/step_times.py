"""When steps of a real vLLM ran, from the moments at which its scheduler was called."""

from __future__ import annotations

from collections import deque
from typing import Final

_NANOSECONDS: Final = 10**9


class StepTimes:
    """Measures steps as a clock of a replay counts them. Moments are in nanoseconds.

    A step ends when the scheduler gets its output. In a busy engine it begins when the step before ends, so
    that durations add up to the time that passes, the engine's own work included. After an idle time it
    begins when the scheduler is asked for its plan.

    With asynchronous scheduling a step is planned while the step before runs, and begins when that ends: its
    duration is the time from output to output.
    """

    def __init__(self, *, async_scheduling: bool) -> None:
        """Count from `origin`, which is 0 until it is set."""
        self.origin = 0
        self._async_scheduling = async_scheduling
        self._planned: deque[int] = deque()
        self._last_output = 0
        self._is_idle = True

    def planned(self, moment: int) -> None:
        """Note that the plan of a step was asked for."""
        is_busy = not (self._is_idle or self._async_scheduling)
        self._planned.append(self._last_output if is_busy else moment)
        self._is_idle = False

    def computed(self, moment: int) -> tuple[float, float]:
        """Return start and duration, in seconds, of the oldest step that has none: its output is there."""
        start = max(self._planned.popleft(), self._last_output)
        self._last_output = moment
        return (start - self.origin) / _NANOSECONDS, (moment - start) / _NANOSECONDS

    def idle(self) -> None:
        """Note that no request is left: the next step begins with its plan."""
        self._is_idle = True
