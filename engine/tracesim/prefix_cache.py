"""Prefix caching as vLLM's V1 does it: blocks with identities, shared by requests with equal prefixes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import islice

from tracesim.decode_calendar import DecodeCalendar, by_admission
from tracesim.kv_cache import Block, KVCache
from tracesim.prefix_keys import PrefixKeys
from tracesim.request import RequestState


class _Holding:
    """What a request holds: blocks, the first `num_keyed` of which can be found, and the keys known so far."""

    __slots__ = ("blocks", "keys", "num_keyed")

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self.keys: list[int] = []
        self.num_keyed = 0


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
        self._holdings: dict[RequestState, _Holding] = {}
        self._by_key: dict[int, Block] = {}
        self._copies: dict[int, list[Block]] = {}
        self._queue: OrderedDict[Block, None] = OrderedDict()
        if num_blocks is not None:
            self._queue.update((Block(), None) for _ in range(self.capacity))

    def blocks_of(self, state: RequestState) -> Sequence[Block]:
        """The blocks that a request holds, in the order of its tokens."""
        return self._holding(state).blocks

    def find_prefix(self, state: RequestState) -> Sequence[Block]:
        """The longest cached prefix; at least the last token is always left to compute."""
        usable = (state.num_tokens - 1) // self.block_size
        keys = self._holding(state).keys
        self._keys.extend(keys, state.request, usable)
        found: list[Block] = []
        for key in islice(keys, usable):
            block = self._by_key.get(key)
            if block is None:
                break
            found.append(block)
        return found

    def blocks_needed(self, state: RequestState, num_tokens: int, prefix: Sequence[Block] = ()) -> int:
        """Free blocks that it takes: the new ones, and those of `prefix` that nobody holds."""
        new = self.blocks_for(num_tokens) - len(self._holding(state).blocks) - len(prefix)
        return max(0, new) + sum(block.ref_count == 0 for block in prefix)

    def allocate(self, state: RequestState, num_tokens: int, prefix: Sequence[Block] = ()) -> None:
        """Take hold of `prefix` and of new blocks; from now each block that is full can be found."""
        holding = self._holding(state)
        for block in prefix:
            if block.ref_count == 0:
                self._leave_queue(block)
            block.ref_count += 1
        holding.blocks += prefix
        holding.num_keyed += len(prefix)
        for _ in range(self.blocks_for(num_tokens) - len(holding.blocks)):
            holding.blocks.append(self._new_block())
        self._publish(state, holding, num_tokens // self.block_size)

    def try_allocate(self, state: RequestState, num_tokens: int) -> bool:
        """Give a running request room, if there is, and its full blocks their keys."""
        if self.blocks_needed(state, num_tokens) > self.free:
            return False
        self.allocate(state, num_tokens)
        return True

    def allocate_decode(self, state: RequestState) -> None:
        """Give a decoding request a block where it begins one, a key where it fills one."""
        self.allocate(state, state.current_num_tokens)

    def allocate_decodes(self, calendar: DecodeCalendar) -> None:
        """The same for all that decode, in the order of their admission."""
        for state in self.takers(calendar):
            self.allocate_decode(state)

    def takers(self, calendar: DecodeCalendar) -> Sequence[RequestState]:
        """Who begins a block and who fills one, and so begins the next a tick later."""
        if self.block_size == 1:
            return calendar.beginning()
        return sorted([*calendar.beginning(), *calendar.beginning(1)], key=by_admission)

    def allocate_ticks(
        self,
        calendar: DecodeCalendar,
        limit: int,
        alone: RequestState | None = None,
        chunk: int = 0,
        spare: int = 0,
    ) -> int:
        """Only ticks in which nobody begins or fills a block: each block has its own place in the order."""
        return 0 if alone is not None else max(0, calendar.ticks_to_beginning(limit + 1) - 1)

    def release(self, state: RequestState, num_scheduled: int = 0) -> None:
        """Let go of all blocks of a request; what they hold can still be found."""
        holding = self._holding(state)
        released = []
        for block in reversed(holding.blocks):
            block.ref_count -= 1
            if block.ref_count == 0:
                released.append(block)
        self._join_queue(released)
        holding.blocks = []
        holding.num_keyed = 0

    def forget(self, state: RequestState) -> None:
        """Drop what was remembered of a request; what its blocks hold can still be found."""
        self._holdings.pop(state, None)

    def _holding(self, state: RequestState) -> _Holding:
        holding = self._holdings.get(state)
        if holding is None:
            holding = self._holdings[state] = _Holding()
        return holding

    def _new_block(self) -> Block:
        """The first block of the free queue; what it held is forgotten."""
        if self.num_blocks is None and not self._queue:
            block = Block()
        else:
            block, _ = self._queue.popitem(last=False)
        self.free -= 1
        block.ref_count = 1
        if block.key is not None:
            self._unpublish(block)
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

    def _publish(self, state: RequestState, holding: _Holding, num_full: int) -> None:
        """Give the request's full blocks their keys."""
        if num_full <= holding.num_keyed:
            return
        self._keys.extend(holding.keys, state.request, num_full)
        for index in range(holding.num_keyed, num_full):
            block, key = holding.blocks[index], holding.keys[index]
            block.key = key
            if key in self._by_key:
                self._copies.setdefault(key, []).append(block)
            else:
                self._by_key[key] = block
        holding.num_keyed = num_full

    def _unpublish(self, block: Block) -> None:
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
