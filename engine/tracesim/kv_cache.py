"""The KV cache as a scheduler sees it: blocks of `block_size` tokens, taken and given back."""

from __future__ import annotations

import sys

_ENDLESS = sys.maxsize


class BlockPool:
    """KV blocks, counted: without prefix caching one block is as good as another."""

    def __init__(self, num_blocks: int | None, block_size: int) -> None:
        """A pool of `num_blocks` (None: endless) blocks of `block_size` tokens each."""
        self.block_size = block_size
        self.num_blocks = num_blocks
        self.capacity = _ENDLESS if num_blocks is None else num_blocks
        self.free = self.capacity

    @property
    def num_free_blocks(self) -> int | None:
        """Blocks that nobody holds; None when the pool is endless."""
        return None if self.num_blocks is None else self.free

    def blocks_for(self, num_tokens: int) -> int:
        """Blocks that `num_tokens` tokens fill or begin."""
        return -(-num_tokens // self.block_size)

    def take(self, count: int) -> None:
        """Take `count` free blocks; the caller has made sure that there are as many."""
        assert count <= self.free, f"took {count} of {self.free} free blocks"
        self.free -= count

    def give_back(self, count: int) -> None:
        """Give `count` taken blocks back."""
        self.free += count
        assert self.free <= self.capacity, f"{self.free} free blocks of {self.capacity}"
