"""The queue of requests that have not arrived yet: at times of their own, after others, or sent by users."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tracesim.requests.request import RequestState


@dataclass(slots=True)
class Wait:
    """What a request waits for: it arrives `delay` after the last of the requests `after` has finished.

    It arrives no earlier than `offset` after the arrival of `first`, or after the start of the run if that is
    None. `num_unfinished` counts those of `after` that have not finished. Times are in steps or in the units
    of a clock.
    """

    after: Sequence[str]
    delay: int = 0
    first: RequestState | None = None
    offset: int = 0
    num_unfinished: int = 0

    def arrival(self, now: int) -> int:
        """Return when the request arrives if the last of the others finishes `now`."""
        start = 0 if self.first is None else self.first.arrival
        return max(now + self.delay, start + self.offset)


class ArrivalQueue(Protocol):
    """Requests that have not arrived yet. Times are steps or, in a run with a clock, those of the clock.

    `next_time` is when the next request arrives, None while no arrival is known. No request arrives before
    `no_arrival_before`, whether known or not; None if none will ever arrive, as far as is known.
    """

    next_time: int | None
    no_arrival_before: int | None

    @property
    def num_waiting(self) -> int:
        """How many requests wait for others."""
        ...

    @property
    def depends_on_ends(self) -> bool:
        """Whether something follows from the end of a request, so that `on_finish` has to be called."""
        ...

    def add(self, state: RequestState) -> None:
        """Add a request that arrives at its `arrival`."""
        ...

    def add_waiting(self, state: RequestState, wait: Wait) -> None:
        """Add a request that arrives after others."""
        ...

    def remove(self, state: RequestState) -> None:
        """Remove a request, which then never arrives."""
        ...

    def pop_due(self, now: int) -> Sequence[RequestState]:
        """Remove and return the requests that arrive by `now`; their `arrival` is final then."""
        ...

    def on_finish(self, finished: Sequence[RequestState], now: int) -> Sequence[RequestState]:
        """Take note that requests have finished, so that others may arrive because of it.

        Return the requests that will never arrive, as one for which they wait was rejected.
        """
        ...

    def on_abort(self, request_id: str, now: int) -> Sequence[RequestState]:
        """Take note that a request was refused or aborted; return the requests that never arrive now."""
        ...

    def drop_waiting(self) -> Sequence[RequestState]:
        """Remove and return the requests that wait for others: these will not come any more."""
        ...


class TimedArrivals:
    """Requests that arrive at times of their own, and in the order of adding where these are equal."""

    def __init__(self) -> None:
        self.next_time: int | None = None
        self.no_arrival_before: int | None = None
        self._by_time: dict[int, dict[RequestState, None]] = {}
        self._times: list[int] = []

    def add(self, state: RequestState) -> None:
        """Add a request that arrives at its `arrival`."""
        simultaneous = self._by_time.get(state.arrival)
        if simultaneous is None:
            simultaneous = self._by_time[state.arrival] = {}
            heapq.heappush(self._times, state.arrival)
            self._set_next_time(self._times[0])
        simultaneous[state] = None

    def remove(self, state: RequestState) -> None:
        """Remove a request, which then never arrives."""
        del self._by_time[state.arrival][state]
        self._drop_empty()

    def pop_due(self, now: int) -> Sequence[RequestState]:
        """Remove and return the requests whose `arrival` is `now` or before."""
        due: list[RequestState] = []
        while self._times and self._times[0] <= now:
            due += self._by_time.pop(heapq.heappop(self._times))
        self._drop_empty()
        return due

    def _drop_empty(self) -> None:
        """Drop times that have no requests left, and find the next one."""
        while self._times and not self._by_time[self._times[0]]:
            del self._by_time[heapq.heappop(self._times)]
        self._set_next_time(self._times[0] if self._times else None)

    def _set_next_time(self, time: int | None) -> None:
        """Set when the next request arrives."""
        self.next_time = self.no_arrival_before = time


@dataclass(slots=True)
class _Conversation:
    """What one user sends: a first request, and those that wait for it; `num_open` have not finished."""

    num_open: int


class SessionArrivals(TimedArrivals):
    """Requests that arrive at times of their own or after others have finished: turns of sessions.

    With `num_users` a request that waits for no other does not arrive at its own time: a user sends it, and
    everything that waits for it follows. A user whose requests have all finished sends the next such request,
    in the order of adding. So there are never more conversations at once than users.
    """

    def __init__(self, num_users: int = 0) -> None:
        """Make an empty queue; 0 users stand for requests that arrive at times of their own."""
        super().__init__()
        self._has_users = num_users > 0
        self._num_idle_users = num_users
        self._to_send: dict[RequestState, None] = {}
        self._conversations: dict[str, _Conversation] = {}
        self._followers: dict[str, list[RequestState]] = {}
        self._waits: dict[RequestState, Wait] = {}

    def add(self, state: RequestState) -> None:
        """Add a request that arrives at its `arrival` or, if there are users, when one of them sends it."""
        if self._has_users:
            self._to_send[state] = None
            self._send(state.arrival)
        else:
            super().add(state)

    def add_waiting(self, state: RequestState, wait: Wait) -> None:
        """Add a request that arrives after others, which are unfinished, or were not added yet."""
        self._waits[state] = wait
        wait.num_unfinished = len(wait.after)
        for request_id in wait.after:
            self._followers.setdefault(request_id, []).append(state)

    @property
    def num_waiting(self) -> int:
        """How many requests wait for others."""
        return len(self._waits)

    def remove(self, state: RequestState) -> None:
        """Remove a request, which then never arrives."""
        if state in self._waits:
            del self._waits[state]
        elif state in self._to_send:
            del self._to_send[state]
        else:
            super().remove(state)

    @property
    def depends_on_ends(self) -> bool:
        """Whether a request may arrive because another one has finished."""
        return bool(self._waits or self._to_send)

    def delay_after(self, state: RequestState) -> int | None:
        """Return how long after the end of a request another may arrive because of it; None if none does."""
        if self._to_send:
            return 0
        delays = [
            self._waits[each].delay for each in self._followers.get(state.id, ()) if each in self._waits
        ]
        return min(delays, default=None)

    def on_finish(self, finished: Sequence[RequestState], now: int) -> Sequence[RequestState]:
        """Let those arrive that waited for these requests, and let users without a request send another."""
        dropped: list[RequestState] = []
        for state in finished:
            conversation = self._conversations.pop(state.id, None)
            if state.is_rejected:
                dropped += self._drop_followers(state.id)
            for follower in self._followers.pop(state.id, ()):
                self._on_predecessor_finished(follower, now, conversation)
            self._leave(conversation)
        self._send(now)
        return dropped

    def on_abort(self, request_id: str, now: int) -> Sequence[RequestState]:
        """Drop everything that waits for a request that was refused or aborted."""
        dropped = self._drop_followers(request_id)
        self._leave(self._conversations.pop(request_id, None))
        self._send(now)
        return dropped

    def drop_waiting(self) -> Sequence[RequestState]:
        """Remove and return the requests that wait for others: these will not come any more."""
        dropped = list(self._waits)
        self._waits.clear()
        self._followers.clear()
        return dropped

    def _on_predecessor_finished(
        self, state: RequestState, now: int, conversation: _Conversation | None
    ) -> None:
        """Let a request arrive if it waits for no other any more."""
        wait = self._waits.get(state)
        if wait is None:
            return
        wait.num_unfinished -= 1
        if wait.num_unfinished:
            return
        del self._waits[state]
        state.arrival = wait.arrival(now)
        super().add(state)
        if conversation is not None:
            conversation.num_open += 1
            self._conversations[state.id] = conversation

    def _drop_followers(self, request_id: str) -> list[RequestState]:
        """Remove and return the requests that wait for this one, and those that wait for them, and so on."""
        dropped: list[RequestState] = []
        ids = [request_id]
        while ids:
            for state in self._followers.pop(ids.pop(), ()):
                if self._waits.pop(state, None):
                    dropped.append(state)
                    ids.append(state.id)
        return dropped

    def _leave(self, conversation: _Conversation | None) -> None:
        """Count that a request of a conversation has ended; after the last one its user is idle."""
        if conversation is not None:
            conversation.num_open -= 1
            self._num_idle_users += not conversation.num_open

    def _send(self, now: int) -> None:
        """Let each idle user send a request."""
        while self._num_idle_users and self._to_send:
            state = next(iter(self._to_send))
            del self._to_send[state]
            self._num_idle_users -= 1
            self._conversations[state.id] = _Conversation(1)
            state.arrival = max(state.arrival, now)
            super().add(state)
