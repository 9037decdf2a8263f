"""The KV cache of a scheduler: blocks of `block_size` tokens, which requests hold."""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tracesim.requests.decode_calendar import DecodeCalendar
from tracesim.requests.request import Request, RequestState


@dataclass(slots=True)
class Prefix:
    """Cached blocks that a waiting request could start from; other requests hold `num_in_use` of them."""

    num_blocks: int
    num_in_use: int
    parts: Sequence[Any]


NO_PREFIX = Prefix(0, 0, ())


class KVCache:
    """KV blocks without prefix caching: they have no identity, so they are only counted.

    A request holds a block for every `block_size` of its computed tokens, and one for the rest. Of
    `capacity` blocks `num_free_blocks` are free. `PrefixCache` has the same interface.
    """

    def __init__(self, num_blocks: int | None, block_size: int, *, reserved: int = 0) -> None:
        """Make a cache of `num_blocks` blocks, None for unlimited; `reserved` of them are never allocated."""
        self.block_size = block_size
        self.num_blocks = num_blocks
        self.capacity = sys.maxsize if num_blocks is None else num_blocks - reserved
        self.num_free_blocks = self.capacity
        self._fewest_free = self.capacity

    @property
    def peak_usage(self) -> float | None:
        """The largest fraction of the blocks that was in use at once; None for an unlimited cache."""
        if self.num_blocks is None or not self.capacity:
            return None
        return 1 - min(self._fewest_free, self.num_free_blocks) / self.capacity

    def blocks_for(self, num_tokens: int) -> int:
        """Return how many blocks `num_tokens` tokens take."""
        return -(-num_tokens // self.block_size)

    def match_prefix(self, state: RequestState) -> Prefix:
        """Return the longest cached prefix that a waiting request could start from."""
        return NO_PREFIX

    def num_cached_tokens(self, request: Request) -> int:
        """Return how many tokens of a prompt are cached, whatever becomes of the request."""
        return 0

    def blocks_needed(self, state: RequestState, num_tokens: int) -> int:
        """Return how many more blocks a running request needs to have `num_tokens` tokens computed."""
        size = self.block_size
        computed = state.num_computed_tokens if not state.is_decoding else state.current_num_computed_tokens
        return -(-num_tokens // size) - -(-computed // size)

    def allocate(self, state: RequestState, num_tokens: int, prefix: Prefix = NO_PREFIX) -> None:
        """Allocate blocks for the first `num_tokens` tokens of a waiting request; `prefix` is cached.

        The caller has made sure that enough are free.
        """
        self.num_free_blocks -= -(-num_tokens // self.block_size) - prefix.num_in_use

    def try_allocate(self, state: RequestState, num_tokens: int) -> bool:
        """Allocate what a running request needs for `num_tokens` tokens; return False if it is not free."""
        needed = self.blocks_needed(state, num_tokens)
        if needed > self.num_free_blocks:
            return False
        self.num_free_blocks -= needed
        return True

    def allocate_decodes(self, calendar: DecodeCalendar, num_served: int = 0) -> None:
        """Allocate the blocks that decodes begin next, except `num_served` that were allocated before."""
        self.num_free_blocks -= calendar.num_blocks_needed() - num_served

    def allocate_all_free(self) -> int:
        """Allocate every free block; return how many they were."""
        allocated, self.num_free_blocks = self.num_free_blocks, 0
        return allocated

    def allocate_ticks(
        self,
        calendar: DecodeCalendar,
        limit: int,
        prefilling: RequestState | None = None,
        chunk: int = 0,
        spare: int = 0,
    ) -> int:
        """Allocate the blocks of the next ticks; return how many ticks they are enough for, at most `limit`.

        Every decode computes one token per tick, and `prefilling`, if given, `chunk` tokens. `spare` blocks
        stay free.
        """

        def needed(ticks: int) -> int:
            blocks = calendar.num_blocks_needed(ticks)
            if prefilling is not None:
                blocks += self.blocks_needed(prefilling, prefilling.num_computed_tokens + ticks * chunk)
            return blocks

        available = self.num_free_blocks - spare
        if available < 0:
            return 0
        blocks = needed(limit)
        if blocks > available:
            if prefilling is None:
                limit = calendar.ticks_within(available)
            else:
                limit = bisect_right(range(1, limit), available, key=needed)
            blocks = needed(limit)
        self.num_free_blocks -= blocks
        return limit

    def release(self, state: RequestState, num_scheduled: int = 0, num_known: int | None = None) -> None:
        """Free the blocks of a request, also those for `num_scheduled` tokens that were not computed yet.

        Only blocks that the first `num_known` tokens fill can stay cached; None means all computed ones.
        """
        self._free(-(-(state.num_computed_tokens + num_scheduled) // self.block_size))

    finish = release
    """Free the blocks of a request that will not run again."""

    def _free(self, num_blocks: int) -> None:
        """Add blocks to the free ones, after noting how few these were."""
        if self.num_free_blocks < self._fewest_free:
            self._fewest_free = self.num_free_blocks
        self.num_free_blocks += num_blocks
        assert self.num_free_blocks <= self.capacity, f"{self.num_free_blocks} free blocks of {self.capacity}"

    def num_blocks_in_use(self, states: Sequence[RequestState]) -> int:
        """Return how many blocks these requests hold; one that several of them share counts once."""
        return sum(self.blocks_for(state.current_num_computed_tokens) for state in states)
