"""When each decoding request needs a KV block and when it finishes, known ahead and kept by the step.

At every tick each decoding request emits one token. So nothing is updated request by request: the calendar
counts ticks, and a request's own counters follow from the tick.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Sequence
from operator import attrgetter

from tracesim.requests.request import RequestState

by_admission = attrgetter("admission")
"""The key that sorts running requests into the scheduler's order."""


class DecodeCalendar:
    """The requests that decode: `num_requests` of them. Each emits one token per tick; `tick` is the next.

    A request with n tokens has n - 1 of them in the KV cache, so its next token begins a block if n - 1 is a
    multiple of the block size, and so does every `block_size`-th token after it. The requests stand in a ring
    of `block_size` slots, each in that of the ticks at which it begins a block; an empty slot does not
    exist. With blocks of 4 tokens and the next tick being 8:

        tick                 8    9   10   11   12 ...
        slot (tick % 4)      0    1    2    3    0 ...
        begin a block        a         b              a has 13 tokens, 12 of them computed: 3 full blocks
                                       c              b has 11 and c has 7: both fill a block in two ticks

    The sum over requests of `tick - num_tokens`, which a tick does not change, gives the context tokens.
    """

    def __init__(self, block_size: int) -> None:
        self.tick = 0
        self.num_requests = 0
        self._block_size = block_size
        self._ring: dict[int, dict[RequestState, None]] = {}
        self._finishing: dict[int, dict[RequestState, None]] = {}
        self._finish_ticks: list[int] = []
        self._sum_offsets = 0

    def join(self, state: RequestState) -> None:
        """Add a request; it decodes from the next tick on.

        One that has emitted all its tokens, which the scheduler does not know yet, decodes until it leaves.
        """
        state.calendar = self
        state.joined_at = self.tick
        offset = self.tick - state.num_tokens
        slot = (offset + 1) % self._block_size
        if slot in self._ring:
            self._ring[slot][state] = None
        else:
            self._ring[slot] = {state: None}
        if state.num_tokens < state.total_tokens:
            self.note_end(state)
        self._sum_offsets += offset
        self.num_requests += 1

    def note_end(self, state: RequestState) -> None:
        """Note the tick at which a request of the calendar emits its last token, by its `total_tokens`."""
        last_tick = state.joined_at + state.total_tokens - state.num_tokens - 1
        finishing = self._finishing.get(last_tick)
        if finishing is None:
            finishing = self._finishing[last_tick] = {}
            heapq.heappush(self._finish_ticks, last_tick)
        finishing[state] = None

    def leave(self, state: RequestState) -> None:
        """Remove a request that `advance` did not remove, and write its counters back to it."""
        last_tick = state.joined_at + state.total_tokens - state.num_tokens - 1
        if last_tick >= self.tick:
            del self._finishing[last_tick][state]
        self._remove(state, state.num_tokens + self.tick - state.joined_at)

    def advance(self, ticks: int) -> list[RequestState]:
        """Let `ticks` ticks pass; return the requests that emit their last token in the last one.

        They are removed, except those whose end is found late. No request may finish before the last tick,
        see `ticks_to_finish`.
        """
        last_tick = self.tick + ticks - 1
        self.tick = last_tick + 1
        finished = list(self._finishing.pop(last_tick, ()))
        for state in finished:
            if not state.ends_late:
                self._remove(state, state.total_tokens)
        return finished

    def _remove(self, state: RequestState, num_tokens: int) -> None:
        """Remove a request from the ring; from now on its counters are its own, with `num_tokens` tokens."""
        offset = state.joined_at - state.num_tokens
        number = (offset + 1) % self._block_size
        slot = self._ring[number]
        del slot[state]
        if not slot:
            del self._ring[number]
        self._sum_offsets -= offset
        state.calendar = None
        state.num_tokens = num_tokens
        state.num_computed_tokens = num_tokens - 1
        self.num_requests -= 1

    @property
    def context_tokens(self) -> int:
        """Tokens of all these requests in the KV cache: all but the newest of each."""
        return self.num_requests * (self.tick - 1) - self._sum_offsets

    def requests_needing_block(self, ahead: int = 0) -> Sequence[RequestState]:
        """Return who begins a block at the next tick, or `ahead` ticks after it, in order of admission."""
        return sorted(self._ring.get((self.tick + ahead) % self._block_size, ()), key=by_admission)

    def num_blocks_needed(self, ticks: int = 1) -> int:
        """Return how many blocks these requests begin in the next `ticks` ticks."""
        size, first = self._block_size, self.tick % self._block_size
        if ticks == 1:
            return len(self._ring.get(first, ()))
        rounds, rest = divmod(ticks, size)
        begun = [len(slot) for number, slot in self._ring.items() if (number - first) % size < rest]
        return rounds * self.num_requests + sum(begun)

    def ticks_to_finish(self, limit: int) -> int:
        """Return how many ticks it takes until a request finishes in the last of them, at most `limit`."""
        while self._finish_ticks:
            first = self._finish_ticks[0]
            if self._finishing.get(first):
                return min(limit, first + 1 - self.tick)
            self._finishing.pop(heapq.heappop(self._finish_ticks), None)
        return limit

    def finishing_in(self, ticks: int) -> Collection[RequestState]:
        """Return the requests that emit their last token in the last of the next `ticks` ticks."""
        return self._finishing.get(self.tick + ticks - 1, ())

    def ticks_within(self, num_blocks: int) -> int:
        """Return for how many ticks `num_blocks` blocks suffice; there must be a request."""
        rounds, left = divmod(num_blocks, self.num_requests)
        ticks = rounds * self._block_size
        size, first = self._block_size, self.tick % self._block_size
        for ahead, number in sorted([((number - first) % size, number) for number in self._ring]):
            left -= len(self._ring[number])
            if left < 0:
                return ticks + ahead
        return ticks + self._block_size

    def ticks_without_block(self, limit: int) -> int:
        """Return how many ticks pass before one at which a request begins a block, at most `limit`."""
        size, first = self._block_size, self.tick % self._block_size
        return min([limit, *[(number - first) % size for number in self._ring]])
