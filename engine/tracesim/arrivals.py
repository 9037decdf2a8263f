"""Requests that are still to arrive."""

from __future__ import annotations

from collections import deque

from tracesim.request import RequestState


class Arrivals:
    """Requests by their arrival step, and in the order they were added where they arrive together.

    `next_step` is the step of the next arrival; None when all have arrived.
    """

    def __init__(self) -> None:
        self.next_step: int | None = None
        self._states: deque[RequestState] = deque()
        self._in_order = True

    def add(self, state: RequestState) -> None:
        """Let a request arrive before its arrival step."""
        step = state.request.arrival_step
        if self.next_step is None or step < self.next_step:
            self.next_step = step
        if self._states and step < self._states[-1].request.arrival_step:
            self._in_order = False
        self._states.append(state)

    def take(self, step: int) -> list[RequestState]:
        """The requests that arrive before `step` is run."""
        if not self._in_order:
            self._states = deque(sorted(self._states, key=lambda state: state.request.arrival_step))
            self._in_order = True
        states, taken = self._states, []
        while states and states[0].request.arrival_step <= step:
            taken.append(states.popleft())
        self.next_step = states[0].request.arrival_step if states else None
        return taken
