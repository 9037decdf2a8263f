"""Prefix caching as vLLM's V1 does it: blocks with identities, shared by requests with equal prefixes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from tracesim.kv_cache import KVCache
from tracesim.prefix_keys import PrefixKeys
from tracesim.request import Block, RequestState


class PrefixCache(KVCache):
    """KV blocks that keep what they hold after they are freed, until they are handed out again.

    A full block is found by its key, which stands for all tokens up to its end. The free queue has the
    blocks that nobody holds in the order in which they will be handed out: those without a key in front, the
    last freed first, then those with a key, the least recently used first; of one request's, its last block
    first. These are the rules of `BlockPool` and `FullAttentionManager` in vLLM 0.32.
    """

    def __init__(self, num_blocks: int | None, block_size: int, *, reserved: int = 0) -> None:
        super().__init__(num_blocks, block_size, reserved=reserved)
        self._keys = PrefixKeys(block_size)
        self._by_key: dict[int, Block] = {}
        self._copies: dict[int, list[Block]] = {}
        self._queue: OrderedDict[Block, None] = OrderedDict()
        if num_blocks is not None:
            self._queue.update((Block(), None) for _ in range(self.capacity))

    def find_prefix(self, state: RequestState) -> Sequence[Block]:
        """The longest cached prefix; at least the last token is always left to compute."""
        usable = (state.num_tokens - 1) // self.block_size
        found: list[Block] = []
        for key in self._keys.of(state, usable):
            block = self._by_key.get(key)
            if block is None:
                break
            found.append(block)
        return found

    def blocks_needed(self, state: RequestState, num_tokens: int, prefix: Sequence[Block] = ()) -> int:
        """Free blocks that it takes: the new ones, and those of `prefix` that nobody holds."""
        new = self.blocks_for(num_tokens) - state.num_blocks - len(prefix)
        return max(0, new) + sum(block.ref_count == 0 for block in prefix)

    def allocate(self, state: RequestState, num_tokens: int, prefix: Sequence[Block] = ()) -> None:
        """Take hold of `prefix` and of new blocks; from now each block that is full can be found."""
        for block in prefix:
            if block.ref_count == 0:
                self._leave_queue(block)
            block.ref_count += 1
        state.blocks += prefix
        state.num_keyed_blocks += len(prefix)
        for _ in range(self.blocks_for(num_tokens) - len(state.blocks)):
            state.blocks.append(self._new_block())
        state.num_blocks = len(state.blocks)
        self._publish(state, min(num_tokens, state.num_tokens) // self.block_size)

    def release(self, state: RequestState) -> None:
        """Let go of all blocks of a request; what they hold can still be found."""
        released = []
        for block in reversed(state.blocks):
            block.ref_count -= 1
            if block.ref_count == 0:
                released.append(block)
        self._join_queue(released)
        state.blocks = []
        state.num_blocks = state.num_keyed_blocks = 0

    def _new_block(self) -> Block:
        """The first block of the free queue; what it held is forgotten."""
        if self.num_blocks is None and not self._queue:
            block = Block()
        else:
            block, _ = self._queue.popitem(last=False)
        self.free -= 1
        block.ref_count = 1
        if block.key is not None:
            self._forget(block)
        return block

    def _leave_queue(self, block: Block) -> None:
        if self.num_blocks is not None:
            del self._queue[block]
        self.free -= 1

    def _join_queue(self, blocks: Sequence[Block]) -> None:
        """An endless cache never hands out a block with a key again, so there those need no place."""
        self.free += len(blocks)
        for block in reversed(blocks):
            if block.key is None:
                self._queue[block] = None
                self._queue.move_to_end(block, last=False)
        if self.num_blocks is not None:
            self._queue.update((block, None) for block in blocks if block.key is not None)

    def _publish(self, state: RequestState, num_full: int) -> None:
        """Give the request's full blocks their keys."""
        if num_full <= state.num_keyed_blocks:
            return
        keys = self._keys.of(state, num_full)
        for index in range(state.num_keyed_blocks, num_full):
            block, key = state.blocks[index], keys[index]
            block.key = key
            if key in self._by_key:
                self._copies.setdefault(key, []).append(block)
            else:
                self._by_key[key] = block
        state.num_keyed_blocks = num_full

    def _forget(self, block: Block) -> None:
        """Take a block out of the index; of several with its key the next oldest is found from now."""
        assert block.key is not None
        copies = self._copies.get(block.key)
        if copies is None:
            del self._by_key[block.key]
        else:
            if self._by_key[block.key] is block:
                self._by_key[block.key] = copies.pop(0)
            else:
                copies.remove(block)
            if not copies:
                del self._copies[block.key]
        block.key = None
