"""The queues in which requests wait to be scheduled."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable
from typing import Protocol

from tracesim.requests.request import RequestState


class WaitingQueue(Protocol):
    """Requests that wait, and which of them is next."""

    def __len__(self) -> int: ...

    def add(self, state: RequestState) -> None:
        """Queue a request that has just arrived."""
        ...

    def peek(self) -> RequestState:
        """The request that is next; the queue must not be empty."""
        ...

    def take(self) -> RequestState:
        """Take the request that is next; the queue must not be empty."""
        ...

    def put_back(self, preempted: Iterable[RequestState]) -> None:
        """Return preempted requests, in the order in which they were preempted."""
        ...

    def remove(self, state: RequestState) -> None:
        """Take out a request, wherever it stands."""
        ...


def make_queue(policy: str | None) -> WaitingQueue:
    """The queue of a scheduling policy, `fcfs` or `priority`."""
    return PriorityQueue() if policy == "priority" else FCFSQueue()


class FCFSQueue(deque[RequestState]):
    """First come, first served; a preempted request goes back to the front."""

    add = deque.append
    take = deque.popleft
    put_back = deque.extendleft

    def peek(self) -> RequestState:
        """The request that is next; the queue must not be empty."""
        return self[0]


class PriorityQueue:
    """The most urgent first, then the one that was added first, preempted or not."""

    def __init__(self) -> None:
        self._heap: list[tuple[tuple[int, int], RequestState]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, state: RequestState) -> None:
        """Queue a request that has just arrived."""
        heapq.heappush(self._heap, (state.urgency, state))

    def peek(self) -> RequestState:
        """The request that is next; the queue must not be empty."""
        return self._heap[0][1]

    def take(self) -> RequestState:
        """Take the request that is next; the queue must not be empty."""
        return heapq.heappop(self._heap)[1]

    def put_back(self, preempted: Iterable[RequestState]) -> None:
        """Return preempted requests to where their urgency places them."""
        for state in preempted:
            self.add(state)

    def remove(self, state: RequestState) -> None:
        """Take out a request, wherever it stands."""
        self._heap.remove((state.urgency, state))
        heapq.heapify(self._heap)
