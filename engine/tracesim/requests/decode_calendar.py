"""When each decoding request needs a KV block and when it finishes, known ahead and kept by the step.

At every tick each decoding request emits one token. So nothing is updated request by request: the calendar
counts ticks, and a request's own counters follow from the tick.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Collection, Sequence
from operator import attrgetter
from typing import Any, Final

from tracesim.requests.request import RequestState

by_admission = attrgetter("admission")
"""The key that sorts running requests into the scheduler's order."""


_MAX_RING: Final = 4096
"""The largest block size for which every slot of the ring exists."""


def decode_calendar(block_size: int) -> DecodeCalendar:
    """Return an empty calendar, whose memory does not grow with the block size."""
    return DecodeCalendar(block_size) if block_size <= _MAX_RING else SparseDecodeCalendar(block_size)


class DecodeCalendar:
    """The requests that decode: `num_requests` of them. Each emits one token per tick; `tick` is the next.

    A request with n tokens has n - 1 of them in the KV cache, so its next token begins a block if n - 1 is a
    multiple of the block size, and so does every `block_size`-th token after it. The requests stand in a ring
    of `block_size` slots, each in that of the ticks at which it begins a block. With blocks of 4 tokens and
    the next tick being 8:

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
        self._ring: list[dict[RequestState, None]] = self._new_ring()
        self._finishing: dict[int, dict[RequestState, None]] = {}
        self._finish_ticks: list[int] = []
        self._sum_offsets = 0

    def _new_ring(self) -> Any:
        return [{} for _ in range(self._block_size)]

    def join(self, state: RequestState) -> None:
        """Add a request; it decodes from the next tick on.

        One that has emitted all its tokens, which the scheduler does not know yet, decodes until it leaves.
        """
        state.calendar = self
        state.joined_at = self.tick
        offset = self.tick - state.num_tokens
        self._ring[(offset + 1) % self._block_size][state] = None
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
        del self._ring[(offset + 1) % self._block_size][state]
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
        return sorted(self._ring[(self.tick + ahead) % self._block_size], key=by_admission)

    def num_blocks_needed(self, ticks: int = 1) -> int:
        """Return how many blocks these requests begin in the next `ticks` ticks."""
        ring, first = self._ring, self.tick % self._block_size
        if ticks == 1:
            return len(ring[first])
        rounds, rest = divmod(ticks, self._block_size)
        slots = ring[first : first + rest] + ring[: max(0, first + rest - self._block_size)]
        return rounds * self.num_requests + sum(map(len, slots))

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
        first, ticks = self.tick % self._block_size, rounds * self._block_size
        for slot in self._ring[first:] + self._ring[:first]:
            left -= len(slot)
            if left < 0:
                break
            ticks += 1
        return ticks

    def ticks_without_block(self, limit: int) -> int:
        """Return how many ticks pass before one at which a request begins a block, at most `limit`."""
        for ahead in range(min(limit, self._block_size)):
            if self._ring[(self.tick + ahead) % self._block_size]:
                return ahead
        return limit


class SparseDecodeCalendar(DecodeCalendar):
    """A calendar for large blocks: only those slots of its ring exist that requests have stood in."""

    def _new_ring(self) -> Any:
        return defaultdict(dict)

    def requests_needing_block(self, ahead: int = 0) -> Sequence[RequestState]:
        """Return who begins a block at the next tick, or `ahead` ticks after it, in order of admission."""
        return sorted(self._slots().get((self.tick + ahead) % self._block_size, ()), key=by_admission)

    def num_blocks_needed(self, ticks: int = 1) -> int:
        """Return how many blocks these requests begin in the next `ticks` ticks."""
        rounds, rest = divmod(ticks, self._block_size)
        return rounds * self.num_requests + sum(num for ahead, num in self._slots_ahead() if ahead < rest)

    def ticks_within(self, num_blocks: int) -> int:
        """Return for how many ticks `num_blocks` blocks suffice; there must be a request."""
        rounds, left = divmod(num_blocks, self.num_requests)
        for ahead, num in sorted(self._slots_ahead()):
            left -= num
            if left < 0:
                return rounds * self._block_size + ahead
        raise AssertionError("the requests of the calendar stand in its slots")

    def ticks_without_block(self, limit: int) -> int:
        """Return how many ticks pass before one at which a request begins a block, at most `limit`."""
        return min([limit, *(ahead for ahead, num in self._slots_ahead() if num)])

    def _slots_ahead(self) -> list[tuple[int, int]]:
        """Return for each slot that exists in how many ticks it is next, and its number of requests."""
        size, first = self._block_size, self.tick % self._block_size
        return [((number - first) % size, len(slot)) for number, slot in self._slots().items()]

    def _slots(self) -> dict[int, dict[RequestState, None]]:
        ring: Any = self._ring
        slots: dict[int, dict[RequestState, None]] = ring
        return slots
