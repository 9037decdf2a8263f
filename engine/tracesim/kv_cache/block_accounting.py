"""The KV cache as a scheduler sees it: blocks of `block_size` tokens, held by requests."""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, NamedTuple

from tracesim.requests.decode_calendar import DecodeCalendar
from tracesim.requests.request import RequestState

_UNLIMITED = sys.maxsize


class Prefix(NamedTuple):
    """Cached blocks that a waiting request could start from; others hold `num_held` of them already."""

    num_blocks: int
    num_held: int
    parts: Sequence[Any]


NO_PREFIX = Prefix(0, 0, ())


class KVCache:
    """KV blocks without prefix caching: one is as good as another, so they are counted.

    A request holds the blocks that its computed tokens fill or begin. `free` blocks of `capacity` are held by
    nobody. `PrefixCache` is the same with identities.
    """

    def __init__(self, num_blocks: int | None, block_size: int, *, reserved: int = 0) -> None:
        """A cache of `num_blocks` (None: endless) blocks, of which `reserved` are never handed out."""
        self.block_size = block_size
        self.num_blocks = num_blocks
        self.capacity = _UNLIMITED if num_blocks is None else num_blocks - reserved
        self.num_free_blocks = self.capacity
        self._lowest_free = self.capacity

    @property
    def peak_usage(self) -> float | None:
        """The largest part of the cache that was held at once, up to 1; None when the cache is endless."""
        if self.num_blocks is None or not self.capacity:
            return None
        return 1 - min(self._lowest_free, self.num_free_blocks) / self.capacity

    def blocks_for(self, num_tokens: int) -> int:
        """Blocks that `num_tokens` tokens fill or begin."""
        return -(-num_tokens // self.block_size)

    def find_prefix(self, state: RequestState) -> Prefix:
        """The cached blocks that a waiting request could start from."""
        return NO_PREFIX

    def blocks_needed(self, state: RequestState, num_tokens: int) -> int:
        """Free blocks that it takes to have `num_tokens` tokens of a running request computed."""
        size = self.block_size
        computed = state.num_computed_tokens if not state.is_decoding else state.current_num_computed_tokens
        return -(-num_tokens // size) - -(-computed // size)

    def allocate(self, state: RequestState, num_tokens: int, prefix: Prefix = NO_PREFIX) -> None:
        """Give a waiting request room to have `num_tokens` tokens computed, `prefix` included.

        The caller has seen that there is.
        """
        self.num_free_blocks -= -(-num_tokens // self.block_size) - prefix.num_held

    def try_allocate(self, state: RequestState, num_tokens: int) -> bool:
        """Give a running request room to have `num_tokens` tokens computed, if there is."""
        needed = self.blocks_needed(state, num_tokens)
        if needed > self.num_free_blocks:
            return False
        self.num_free_blocks -= needed
        return True

    def allocate_decodes(self, calendar: DecodeCalendar, num_served: int = 0) -> None:
        """Give all that decode room for their next token; `num_served` have taken their block already."""
        self.num_free_blocks -= calendar.num_beginning() - num_served

    def take_rest(self) -> int:
        """Hand out every free block; how many they were."""
        taken, self.num_free_blocks = self.num_free_blocks, 0
        return taken

    def allocate_ticks(
        self,
        calendar: DecodeCalendar,
        limit: int,
        prefilling: RequestState | None = None,
        chunk: int = 0,
        spare: int = 0,
    ) -> int:
        """Give room for several ticks at once, `limit` at most; return for how many there was.

        That is for all that decode and for `prefilling` with `chunk` more tokens a tick; `spare` blocks are
        left free.
        """

        def taken(ticks: int) -> int:
            blocks = calendar.num_beginning(ticks)
            if prefilling is not None:
                blocks += self.blocks_needed(prefilling, prefilling.num_computed_tokens + ticks * chunk)
            return blocks

        room = self.num_free_blocks - spare
        if room < 0:
            return 0
        blocks = taken(limit)
        if blocks > room:
            if prefilling is None:
                limit = calendar.ticks_within(room)
            else:
                limit = bisect_right(range(1, limit), room, key=taken)
            blocks = taken(limit)
        self.num_free_blocks -= blocks
        return limit

    def release(self, state: RequestState, num_scheduled: int = 0) -> None:
        """Take back all blocks of a request, those for tokens that are scheduled but not computed too."""
        if self.num_free_blocks < self._lowest_free:
            self._lowest_free = self.num_free_blocks
        self.num_free_blocks += -(-(state.num_computed_tokens + num_scheduled) // self.block_size)
        assert self.num_free_blocks <= self.capacity, f"{self.num_free_blocks} free blocks of {self.capacity}"

    finish = release
    """The same, of a request that never comes back."""

    def num_blocks_held(self, states: Sequence[RequestState]) -> int:
        """How many blocks these requests hold in all."""
        return sum(self.blocks_for(state.current_num_computed_tokens) for state in states)
