"""Requests that are still to arrive."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from itertools import islice
from typing import Protocol

from tracesim.requests.request import RequestState


class Arrivals(Protocol):
    """Where requests are until they arrive. Times are steps or, in a run with a clock, picoseconds.

    `next_time` is when the next one arrives; None while none will.
    """

    next_time: int | None

    def add(self, state: RequestState) -> None:
        """Let a request arrive."""
        ...

    def remove(self, state: RequestState) -> None:
        """Let a request never arrive."""
        ...

    def take(self, now: int) -> Sequence[RequestState]:
        """The requests that arrive before the step that begins `now`."""
        ...

    def arrival_of(self, state: RequestState, now: int) -> int:
        """When a request arrived that was just taken."""
        ...

    def leave(self, num_requests: int) -> None:
        """Note that requests are done."""
        ...


class OpenArrivals:
    """Each request at its own time, and in the order they were added where they arrive together."""

    def __init__(self) -> None:
        self.next_time: int | None = None
        self._by_time: dict[int, dict[RequestState, None]] = {}
        self._times: list[int] = []

    def add(self, state: RequestState) -> None:
        """Let a request arrive at its time."""
        time = state.request.arrival
        together = self._by_time.get(time)
        if together is None:
            together = self._by_time[time] = {}
            heapq.heappush(self._times, time)
            self.next_time = self._times[0]
        together[state] = None

    def remove(self, state: RequestState) -> None:
        """Let a request never arrive."""
        del self._by_time[state.request.arrival][state]
        self._look_ahead()

    def take(self, now: int) -> Sequence[RequestState]:
        """The requests whose time has come."""
        taken: list[RequestState] = []
        while self.next_time is not None and self.next_time <= now:
            taken += self._by_time.pop(heapq.heappop(self._times))
            self._look_ahead()
        return taken

    def arrival_of(self, state: RequestState, now: int) -> int:
        """Its own time, which may lie within the step before."""
        return state.request.arrival

    def leave(self, num_requests: int) -> None:
        """Nobody waits for others to be done."""

    def _look_ahead(self) -> None:
        """Find the time of the next arrival, past those whose requests were all removed."""
        while self._times and not self._by_time[self._times[0]]:
            del self._by_time[heapq.heappop(self._times)]
        self.next_time = self._times[0] if self._times else None


class ClosedArrivals:
    """`users` users, each of whom sends the next request in the order of adding when the last is done."""

    def __init__(self, users: int) -> None:
        self.next_time: int | None = None
        self._idle = users
        self._states: dict[RequestState, None] = {}

    def add(self, state: RequestState) -> None:
        """Let a request wait for a user."""
        self._states[state] = None
        self._look_ahead()

    def remove(self, state: RequestState) -> None:
        """Let a request never arrive."""
        del self._states[state]
        self._look_ahead()

    def take(self, now: int) -> Sequence[RequestState]:
        """A request for each user who has none."""
        taken = list(islice(self._states, self._idle))
        for state in taken:
            del self._states[state]
        self._idle -= len(taken)
        self._look_ahead()
        return taken

    def arrival_of(self, state: RequestState, now: int) -> int:
        """At once: its user's last request was done then."""
        return now

    def leave(self, num_requests: int) -> None:
        """Let the users of requests that are done send their next."""
        self._idle += num_requests
        self._look_ahead()

    def _look_ahead(self) -> None:
        self.next_time = 0 if self._idle and self._states else None
