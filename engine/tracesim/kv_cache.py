"""The KV cache as a scheduler sees it: blocks of `block_size` tokens, held by requests."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tracesim.request import Block, RequestState

_ENDLESS = sys.maxsize


class KVCache:
    """KV blocks without prefix caching: one is as good as another, so they are counted.

    `free` blocks of `capacity` are held by nobody. `PrefixCache` is the same with identities.
    """

    def __init__(self, num_blocks: int | None, block_size: int, *, reserved: int = 0) -> None:
        """A cache of `num_blocks` (None: endless) blocks, of which `reserved` are never handed out."""
        self.block_size = block_size
        self.num_blocks = num_blocks
        self.capacity = _ENDLESS if num_blocks is None else num_blocks - reserved
        self.free = self.capacity

    @property
    def num_free_blocks(self) -> int | None:
        """Blocks that nobody holds; None when the cache is endless."""
        return None if self.num_blocks is None else self.free

    def blocks_for(self, num_tokens: int) -> int:
        """Blocks that `num_tokens` tokens fill or begin."""
        return -(-num_tokens // self.block_size)

    def find_prefix(self, state: RequestState) -> Sequence[Block]:
        """The cached blocks that a waiting request could start from."""
        return ()

    def blocks_needed(self, state: RequestState, num_tokens: int, prefix: Sequence[Block] = ()) -> int:
        """Free blocks that it takes to give a request room for `num_tokens` tokens, `prefix` included."""
        return max(0, self.blocks_for(num_tokens) - state.num_blocks)

    def allocate(self, state: RequestState, num_tokens: int, prefix: Sequence[Block] = ()) -> None:
        """Give a request room for `num_tokens` tokens; the caller has seen that the blocks are free."""
        needed = max(0, self.blocks_for(num_tokens) - state.num_blocks)
        assert needed <= self.free, f"{state!r} needs {needed} of {self.free} free blocks"
        self.free -= needed
        state.num_blocks += needed

    def release(self, state: RequestState) -> None:
        """Take back all blocks of a request."""
        self.free += state.num_blocks
        state.num_blocks = 0
        assert self.free <= self.capacity, f"{self.free} free blocks of {self.capacity}"
