"""The prefix cache against a naive model of vLLM's block pool."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tracesim.kv_cache.prefix_cache import PrefixCache
from tracesim.requests.request import Request, RequestState


class NaivePool:
    """vLLM's rules in plain lists. A block is [number, reference count, tokens up to its end or None]."""

    def __init__(self, num_blocks: int, block_size: int) -> None:
        self.block_size = block_size
        self.free: list[Any] = [[number, 0, None] for number in range(num_blocks)]
        self.cached_in_order: list[Any] = []

    def match_prefix(self, tokens: list[int]) -> list[Any]:
        prefix = []
        for end in range(self.block_size, len(tokens), self.block_size):
            block = next((b for b in self.cached_in_order if b[2] == tokens[:end]), None)
            if block is None:
                break
            prefix.append(block)
        return prefix

    def needed(self, tokens: list[int], prefix: list[Any]) -> int:
        free = [block for block in prefix if block[1] == 0]
        return -(-len(tokens) // self.block_size) - len(prefix) + len(free)

    def allocate(self, tokens: list[int], prefix: list[Any]) -> list[Any]:
        for block in prefix:
            if block[1] == 0:
                self.free.remove(block)
            block[1] += 1
        acquired = list(prefix)
        while len(acquired) * self.block_size < len(tokens):
            block = self.free.pop(0)
            if block[2] is not None:
                self.cached_in_order.remove(block)
            block[1], block[2] = 1, None
            acquired.append(block)
        for index in range(len(prefix), len(tokens) // self.block_size):
            acquired[index][2] = tokens[: (index + 1) * self.block_size]
            self.cached_in_order.append(acquired[index])
        return acquired

    def release(self, acquired: list[Any]) -> None:
        for block in acquired:
            block[1] -= 1
        freed = [block for block in reversed(acquired) if block[1] == 0]
        self.free[:0] = [block for block in freed if block[2] is None]
        self.free += [block for block in freed if block[2] is not None]


class CacheMachine(RuleBasedStateMachine):
    """Requests whose prompts share prefixes start, by the rules of subclasses, and finish in any order."""

    num_blocks: int
    block_size: int

    def __init__(self) -> None:
        super().__init__()
        self.cache = PrefixCache(self.num_blocks, self.block_size)
        self.pool = NaivePool(self.num_blocks, self.block_size)
        self.acquired: list[tuple[RequestState, list[Any]]] = []

    def admit(self, request: Request, tokens: list[int]) -> None:
        state = RequestState(request)
        prefix, expected = self.cache.match_prefix(state), self.pool.match_prefix(tokens)
        assert prefix.num_blocks == len(expected)

        needed = self.cache.blocks_for(len(tokens)) - prefix.num_in_use
        assert needed == self.pool.needed(tokens, expected)

        if needed <= self.cache.num_free_blocks:
            self.cache.allocate(state, len(tokens), prefix)
            state.num_computed_tokens = len(tokens)
            self.acquired.append((state, self.pool.allocate(tokens, expected)))

    @precondition(lambda self: self.acquired)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        state, blocks = self.acquired.pop(data.draw(st.integers(0, len(self.acquired) - 1)))
        self.cache.finish(state)
        self.pool.release(blocks)

    @invariant()
    def blocks_are_conserved(self) -> None:
        num_in_use = self.cache.num_blocks_in_use([state for state, _ in self.acquired])
        distinct = {id(block) for _, blocks in self.acquired for block in blocks}

        assert num_in_use + self.cache.num_free_blocks == self.num_blocks
        assert (num_in_use, self.cache.num_free_blocks) == (len(distinct), len(self.pool.free))

    @invariant()
    def runs_are_counted(self) -> None:
        """This is what the docstring of `PrefixCache` states."""
        cache = self.cache
        runs = {run for runs in cache._runs.values() for run in runs}
        acquired = Counter(run for blocks in cache._request_blocks.values() for run in blocks.current_runs())
        queued = {run for released, _, run in cache._evictable if run.released == released}

        assert {run: run.ref_count for run in runs if run.ref_count} == acquired
        assert queued & runs == {run for run in runs if not run.ref_count}
        assert cache._num_evictable == sum(run.end - run.start for run in queued & runs)
        assert cache._num_evictable <= cache.num_free_blocks


class TokenIdsMachine(CacheMachine):
    """Prompts are known by their token ids."""

    num_blocks = 9
    block_size = 2

    @rule(tokens=st.lists(st.integers(0, 1), min_size=1, max_size=9))
    def admit_tokens(self, tokens: list[int]) -> None:
        self.admit(Request("r", len(tokens), 0, prompt_token_ids=tokens, output_token_ids=[]), tokens)


class HashIdsMachine(CacheMachine):
    """Prompts are known by hash ids of 512 tokens: four blocks move together until a run is cut."""

    num_blocks = 18
    block_size = 128

    @rule(hash_ids=st.lists(st.integers(0, 1), min_size=3, max_size=3), length=st.integers(1, 1536))
    def admit_hash_ids(self, hash_ids: list[int], length: int) -> None:
        tokens = [512 * hash_id + index for hash_id in hash_ids for index in range(512)][:length]
        self.admit(Request("r", length, 0, hash_ids=hash_ids[: -(-length // 512)]), tokens)


TestTokenIds = TokenIdsMachine.TestCase
TestHashIds = HashIdsMachine.TestCase
TestHashIds.settings = settings(max_examples=40)
