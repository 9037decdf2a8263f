"""Requests that are still to arrive."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from tracesim.request import RequestState


class Arrivals:
    """Requests by their arrival step, and in the order they were added where they arrive together."""

    def __init__(self) -> None:
        self._states: deque[RequestState] = deque()
        self._in_order = True

    def add(self, state: RequestState) -> None:
        """Let a request arrive before its arrival step."""
        if self._states and state.request.arrival_step < self._states[-1].request.arrival_step:
            self._in_order = False
        self._states.append(state)

    @property
    def next_step(self) -> int | None:
        """The step of the next arrival; None when all have arrived."""
        if not self._in_order:
            self._states = deque(sorted(self._states, key=lambda state: state.request.arrival_step))
            self._in_order = True
        return self._states[0].request.arrival_step if self._states else None

    def take(self, step: int) -> Iterator[RequestState]:
        """The requests that arrive before `step` is run."""
        while (arrival := self.next_step) is not None and arrival <= step:
            yield self._states.popleft()
