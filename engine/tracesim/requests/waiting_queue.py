"""The waiting queues, one for each scheduling policy, with the methods of vLLM's `RequestQueue`."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable
from typing import Protocol

from tracesim.requests.request import RequestState


class WaitingQueue(Protocol):
    """Requests that wait to be scheduled, in the order in which they will be."""

    def __len__(self) -> int: ...

    def add_request(self, state: RequestState) -> None:
        """Add a request that has just arrived."""
        ...

    def peek_request(self) -> RequestState:
        """Return the request that is next; the queue must not be empty."""
        ...

    def pop_request(self) -> RequestState:
        """Remove and return the request that is next; the queue must not be empty."""
        ...

    def prepend_requests(self, preempted: Iterable[RequestState]) -> None:
        """Put preempted requests back, given in the order in which they were preempted."""
        ...

    def remove_request(self, state: RequestState) -> None:
        """Remove a request from anywhere in the queue."""
        ...


def make_queue(policy: str | None) -> WaitingQueue:
    """Return an empty queue for a scheduling policy, `fcfs` or `priority`."""
    return PriorityQueue() if policy == "priority" else FCFSQueue()


class FCFSQueue(deque[RequestState]):
    """First come, first served; a preempted request returns to the front."""

    add_request = deque.append
    pop_request = deque.popleft
    prepend_requests = deque.extendleft
    remove_request = deque.remove

    def peek_request(self) -> RequestState:
        """Return the request that is next; the queue must not be empty."""
        return self[0]


class PriorityQueue:
    """The most urgent request first; preempted requests are sorted in like all others."""

    def __init__(self) -> None:
        self._heap: list[tuple[tuple[int, int], RequestState]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def add_request(self, state: RequestState) -> None:
        """Add a request that has just arrived."""
        heapq.heappush(self._heap, (state.urgency, state))

    def peek_request(self) -> RequestState:
        """Return the request that is next; the queue must not be empty."""
        return self._heap[0][1]

    def pop_request(self) -> RequestState:
        """Remove and return the request that is next; the queue must not be empty."""
        return heapq.heappop(self._heap)[1]

    def prepend_requests(self, preempted: Iterable[RequestState]) -> None:
        """Put preempted requests back where their urgency sorts them."""
        for state in preempted:
            self.add_request(state)

    def remove_request(self, state: RequestState) -> None:
        """Remove a request from anywhere in the queue."""
        self._heap.remove((state.urgency, state))
        heapq.heapify(self._heap)
