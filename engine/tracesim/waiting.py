"""The queues in which requests wait to be scheduled."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from tracesim.request import RequestState


class FCFSQueue:
    """First come, first served; a preempted request goes back to the front."""

    def __init__(self) -> None:
        self._states: deque[RequestState] = deque()

    def __len__(self) -> int:
        return len(self._states)

    def add(self, state: RequestState) -> None:
        """Queue a request that has just arrived."""
        self._states.append(state)

    def peek(self) -> RequestState:
        """The request that is next; the queue must not be empty."""
        return self._states[0]

    def pop(self) -> RequestState:
        """Take the request that is next; the queue must not be empty."""
        return self._states.popleft()

    def put_back(self, preempted: Iterable[RequestState]) -> None:
        """Return preempted requests to the front, each before the one that was preempted before it."""
        self._states.extendleft(preempted)

    def remove(self, state: RequestState) -> None:
        """Take out a request, wherever it stands."""
        self._states.remove(state)
