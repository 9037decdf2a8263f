"""What kept requests waiting, from when to when, and how that splits the queue time of each request."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Final

from tracesim.scheduler import CAUSES, Cause

RUNNING_STEP: Final = "running_step"
"""The part of a queue time before the first step that could have admitted the request.

Under a clock a request may arrive during a step, and then waits for its end.
"""


class WaitingIntervals:
    """The causes of waiting over a run, as intervals: there is one at a time, as the queue is in order.

    `cause` is the current one, None while nobody waits. `changes` has the start of each interval, and its
    cause. Times are numbers of steps or, under a clock, the starts of batches in femtoseconds. Memory grows
    with the changes of the cause, not with steps or requests.
    """

    def __init__(self) -> None:
        self.cause: Cause | None = None
        self.changes: list[tuple[int, Cause | None]] = []
        self._starts: Sequence[int] = ()
        self._totals: Mapping[Cause, Sequence[int]] = {}

    def begin(self, start: int, cause: Cause | None) -> None:
        """Note that `cause` keeps requests waiting from `start` on; None if nobody waits any more."""
        self.cause = cause
        self.changes.append((start, cause))

    def split(self, start: int, end: int) -> dict[str, int]:
        """Return how long which cause was in effect between two times, without those that were not.

        The parts add up to `end - start`: what no cause covers is `RUNNING_STEP`.
        """
        if start >= end:
            return {}
        if len(self._starts) != len(self.changes):
            self._sum_up()
        first, last = bisect_right(self._starts, start) - 1, bisect_right(self._starts, end) - 1
        parts: dict[str, int] = {}
        for cause, totals in self._totals.items():
            part = self._total(totals, cause, last, end) - self._total(totals, cause, first, start)
            if part:
                parts[cause] = part
        if rest := end - start - sum(parts.values()):
            parts[RUNNING_STEP] = rest
        return parts

    def _total(self, totals: Sequence[int], cause: Cause, index: int, time: int) -> int:
        """Return how long a cause was in effect before `time`, which is in the interval `index`."""
        if index < 0:
            return 0
        start, current = self.changes[index]
        return totals[index] + (time - start if current == cause else 0)

    def _sum_up(self) -> None:
        """Sum up for each cause how long it was in effect before each interval."""
        self._starts = [start for start, _ in self.changes]
        causes = [cause for _, cause in self.changes]
        totals: dict[Cause, list[int]] = {cause: [0] for cause in CAUSES if cause in causes}
        for index in range(1, len(self._starts)):
            for cause, total in totals.items():
                duration = self._starts[index] - self._starts[index - 1]
                total.append(total[-1] + (duration if causes[index - 1] == cause else 0))
        self._totals = totals
