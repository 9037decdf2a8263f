"""Requests that are still to arrive."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from tracesim.request import RequestState


class Arrivals:
    """Requests by their arrival step, and in the order they were added where they arrive together.

    `next_step` is the step of the next arrival; None when all have arrived.
    """

    def __init__(self) -> None:
        self.next_step: int | None = None
        self._by_step: dict[int, dict[RequestState, None]] = {}
        self._steps: list[int] = []

    def add(self, state: RequestState) -> None:
        """Let a request arrive before its arrival step."""
        step = state.request.arrival_step
        together = self._by_step.get(step)
        if together is None:
            together = self._by_step[step] = {}
            heapq.heappush(self._steps, step)
            self.next_step = self._steps[0]
        together[state] = None

    def remove(self, state: RequestState) -> None:
        """Let a request never arrive."""
        del self._by_step[state.request.arrival_step][state]
        self._look_ahead()

    def take(self, step: int) -> Sequence[RequestState]:
        """The requests that arrive before `step` is run."""
        taken: list[RequestState] = []
        while self.next_step is not None and self.next_step <= step:
            taken += self._by_step.pop(heapq.heappop(self._steps))
            self._look_ahead()
        return taken

    def _look_ahead(self) -> None:
        """Find the step of the next arrival, past those whose requests were all removed."""
        while self._steps and not self._by_step[self._steps[0]]:
            del self._by_step[heapq.heappop(self._steps)]
        self.next_step = self._steps[0] if self._steps else None
