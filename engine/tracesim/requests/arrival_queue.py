"""The queues of requests that have not arrived yet."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from itertools import islice
from typing import Protocol

from tracesim.requests.request import RequestState


class ArrivalQueue(Protocol):
    """Requests that have not arrived yet. Times are steps or, in a run with a clock, femtoseconds.

    `next_time` is when the next request arrives, None while no arrival is known.
    """

    next_time: int | None

    def add(self, state: RequestState) -> None:
        """Add a request."""
        ...

    def remove(self, state: RequestState) -> None:
        """Remove a request, which then never arrives."""
        ...

    def pop_due(self, now: int) -> Sequence[RequestState]:
        """Remove and return the requests that arrive by `now`; their `arrival` is final then."""
        ...

    def on_finish(self, finished: Sequence[RequestState]) -> None:
        """Take note that requests have finished or were aborted: others may arrive because of it."""
        ...


class OpenLoopArrivals:
    """Requests that arrive at times of their own, and in the order of adding where these are equal."""

    def __init__(self) -> None:
        self.next_time: int | None = None
        self._by_time: dict[int, dict[RequestState, None]] = {}
        self._times: list[int] = []

    def add(self, state: RequestState) -> None:
        """Add a request that arrives at its `arrival`."""
        simultaneous = self._by_time.get(state.arrival)
        if simultaneous is None:
            simultaneous = self._by_time[state.arrival] = {}
            heapq.heappush(self._times, state.arrival)
            self.next_time = self._times[0]
        simultaneous[state] = None

    def remove(self, state: RequestState) -> None:
        """Remove a request, which then never arrives."""
        del self._by_time[state.arrival][state]
        self._update_next_time()

    def pop_due(self, now: int) -> Sequence[RequestState]:
        """Remove and return the requests whose `arrival` is `now` or before."""
        due: list[RequestState] = []
        while self.next_time is not None and self.next_time <= now:
            due += self._by_time.pop(heapq.heappop(self._times))
            self._update_next_time()
        return due

    def on_finish(self, finished: Sequence[RequestState]) -> None:
        """Do nothing: no arrival depends on other requests."""

    def _update_next_time(self) -> None:
        """Set `next_time` to the first time that has requests left."""
        while self._times and not self._by_time[self._times[0]]:
            del self._by_time[heapq.heappop(self._times)]
        self.next_time = self._times[0] if self._times else None


class ClosedLoopArrivals:
    """Users who each send the next request, in the order of adding, when their last one has finished."""

    def __init__(self, num_users: int) -> None:
        self.next_time: int | None = None
        self._num_idle_users = num_users
        self._states: dict[RequestState, None] = {}

    def add(self, state: RequestState) -> None:
        """Add a request, which a user will send."""
        self._states[state] = None
        self._update_next_time()

    def remove(self, state: RequestState) -> None:
        """Remove a request, which then never arrives."""
        del self._states[state]
        self._update_next_time()

    def pop_due(self, now: int) -> Sequence[RequestState]:
        """Remove and return a request for each idle user; it arrives `now`."""
        due = list(islice(self._states, self._num_idle_users))
        for state in due:
            del self._states[state]
            state.arrival = now
        self._num_idle_users -= len(due)
        self._update_next_time()
        return due

    def on_finish(self, finished: Sequence[RequestState]) -> None:
        """Let the users of these requests send their next ones."""
        self._num_idle_users += len(finished)
        self._update_next_time()

    def _update_next_time(self) -> None:
        """Set `next_time` to 0, which is always due, if a user is idle and a request is left."""
        self.next_time = 0 if self._num_idle_users and self._states else None
