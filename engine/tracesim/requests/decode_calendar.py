"""When each decoding request needs a KV block and when it finishes, known ahead and kept by the step.

Every decode moves all decoding requests by one token. So none of them is touched: the calendar counts the
decodes in `tick`, and a request's own counters are worked out from it when somebody asks.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from operator import attrgetter

from tracesim.requests.request import RequestState

by_admission = attrgetter("admission")
"""Sorts running requests in the scheduler's order."""


class DecodeCalendar:
    """The `size` requests that decode. All get one token at every tick, from the one at which they joined.

    A request with n tokens, the newest not in the KV cache yet, begins a block at its next tick if n - 1 fill
    whole blocks, and then at every `block_size`-th tick: one ring of `block_size` groups says who does.
    """

    def __init__(self, block_size: int) -> None:
        self.tick = 0
        self._block_size = block_size
        self._beginning: list[dict[RequestState, None]] = [{} for _ in range(block_size)]
        self._finishing: dict[int, dict[RequestState, None]] = {}
        self._finish_ticks: list[int] = []
        self._sum_offsets = 0
        self.size = 0

    def join(self, state: RequestState) -> None:
        """Let a request that still has tokens to emit decode from the next tick on."""
        state.calendar = self
        state.entered_at = self.tick
        offset = self.tick - state.num_tokens
        self._beginning[(offset + 1) % self._block_size][state] = None
        last = offset + state.total_tokens - 1
        finishing = self._finishing.get(last)
        if finishing is None:
            finishing = self._finishing[last] = {}
            heapq.heappush(self._finish_ticks, last)
        finishing[state] = None
        self._sum_offsets += offset
        self.size += 1

    def leave(self, state: RequestState) -> None:
        """Take a request out; its counters are what they are now."""
        del self._finishing[state.entered_at + state.total_tokens - state.num_tokens - 1][state]
        self._exit(state, state.current_num_tokens)

    def advance(self, ticks: int) -> list[RequestState]:
        """Let that many ticks pass, nobody finishing before the last; take out and return who does then."""
        last = self.tick + ticks - 1
        self.tick = last + 1
        finishing = list(self._finishing.pop(last, ()))
        for state in finishing:
            self._exit(state, state.total_tokens)
        return finishing

    def _exit(self, state: RequestState, num_tokens: int) -> None:
        offset = state.entered_at - state.num_tokens
        del self._beginning[(offset + 1) % self._block_size][state]
        self._sum_offsets -= offset
        state.calendar = None
        state.num_tokens = num_tokens
        state.num_computed_tokens = num_tokens - 1
        self.size -= 1

    @property
    def context_tokens(self) -> int:
        """Tokens in the KV cache of all these requests: all but the newest of each."""
        return self.size * (self.tick - 1) - self._sum_offsets

    def beginning(self, ahead: int = 0) -> Sequence[RequestState]:
        """Who begins a block at the next tick, or `ahead` ticks after it, in the order of admission."""
        return sorted(self._beginning[(self.tick + ahead) % self._block_size], key=by_admission)

    def num_beginning(self, ticks: int = 1) -> int:
        """How many blocks are begun in the next `ticks` ticks."""
        ring, first = self._beginning, self.tick % self._block_size
        if ticks == 1:
            return len(ring[first])
        rounds, rest = divmod(ticks, self._block_size)
        groups = ring[first : first + rest] + ring[: max(0, first + rest - self._block_size)]
        return rounds * self.size + sum(map(len, groups))

    def ticks_to_finish(self, limit: int) -> int:
        """How many ticks there are up to the one at which a request finishes, `limit` at most."""
        while self._finish_ticks:
            first = self._finish_ticks[0]
            if self._finishing.get(first):
                return min(limit, first + 1 - self.tick)
            self._finishing.pop(heapq.heappop(self._finish_ticks), None)
        return limit

    def ticks_within(self, num_blocks: int) -> int:
        """In how many ticks no more than `num_blocks` blocks are begun; somebody must decode."""
        rounds, left = divmod(num_blocks, self.size)
        first, ticks = self.tick % self._block_size, rounds * self._block_size
        for group in self._beginning[first:] + self._beginning[:first]:
            left -= len(group)
            if left < 0:
                break
            ticks += 1
        return ticks

    def ticks_to_beginning(self, limit: int) -> int:
        """How many ticks pass before the one at which a request begins a block, `limit` at most."""
        for ahead in range(min(limit, self._block_size)):
            if self._beginning[(self.tick + ahead) % self._block_size]:
                return ahead
        return limit
