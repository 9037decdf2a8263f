"""The prefix cache against a naive model of vLLM's block pool, and what makes blocks equal."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tracesim.kv_cache.prefix_cache import PrefixCache
from tracesim.kv_cache.radix_tree import RadixTree
from tracesim.requests.request import Request, RequestState


def a_state(tokens: list[int], **fields: Any) -> RequestState:
    request = Request("r", len(tokens), 0, prompt_token_ids=tokens, output_token_ids=[], **fields)
    return RequestState(request)


class NaivePool:
    """vLLM's rules in plain lists. A block is [number, references, tokens up to its end or None]."""

    def __init__(self, num_blocks: int, block_size: int) -> None:
        self.block_size = block_size
        self.queue: list[Any] = [[number, 0, None] for number in range(num_blocks)]
        self.cached_in_order: list[Any] = []

    def prefix(self, tokens: list[int]) -> list[Any]:
        found = []
        for end in range(self.block_size, len(tokens), self.block_size):
            block = next((b for b in self.cached_in_order if b[2] == tokens[:end]), None)
            if block is None:
                break
            found.append(block)
        return found

    def needed(self, tokens: list[int], prefix: list[Any]) -> int:
        free = [block for block in prefix if block[1] == 0]
        return -(-len(tokens) // self.block_size) - len(prefix) + len(free)

    def allocate(self, tokens: list[int], prefix: list[Any]) -> list[Any]:
        for block in prefix:
            if block[1] == 0:
                self.queue.remove(block)
            block[1] += 1
        held = list(prefix)
        while len(held) * self.block_size < len(tokens):
            block = self.queue.pop(0)
            if block[2] is not None:
                self.cached_in_order.remove(block)
            block[1], block[2] = 1, None
            held.append(block)
        for index in range(len(prefix), len(tokens) // self.block_size):
            held[index][2] = tokens[: (index + 1) * self.block_size]
            self.cached_in_order.append(held[index])
        return held

    def release(self, held: list[Any]) -> None:
        for block in held:
            block[1] -= 1
        free = [block for block in reversed(held) if block[1] == 0]
        self.queue[:0] = [block for block in free if block[2] is None]
        self.queue += [block for block in free if block[2] is not None]


class PrefixCacheMachine(RuleBasedStateMachine):
    """Requests come with prompts that share prefixes, and go, in any order."""

    num_blocks = 9
    block_size = 2

    def __init__(self) -> None:
        super().__init__()
        self.cache = PrefixCache(self.num_blocks, self.block_size)
        self.pool = NaivePool(self.num_blocks, self.block_size)
        self.held: list[tuple[RequestState, list[Any]]] = []

    @rule(tokens=st.lists(st.integers(0, 1), min_size=1, max_size=9))
    def admit(self, tokens: list[int]) -> None:
        self.admit_state(a_state(tokens), tokens)

    def admit_state(self, state: RequestState, tokens: list[int]) -> None:
        prefix, expected = self.cache.match_prefix(state), self.pool.prefix(tokens)
        assert prefix.num_blocks == len(expected)

        needed = self.cache.blocks_for(len(tokens)) - prefix.num_held
        assert needed == self.pool.needed(tokens, expected)

        if needed <= self.cache.num_free_blocks:
            self.cache.allocate(state, len(tokens), prefix)
            state.num_computed_tokens = len(tokens)
            self.held.append((state, self.pool.allocate(tokens, expected)))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        state, blocks = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        self.cache.finish(state)
        self.pool.release(blocks)

    @invariant()
    def blocks_are_conserved(self) -> None:
        held = self.cache.num_blocks_held([state for state, _ in self.held])
        distinct = {id(block) for _, blocks in self.held for block in blocks}

        assert held + self.cache.num_free_blocks == self.num_blocks
        assert (held, self.cache.num_free_blocks) == (len(distinct), len(self.pool.queue))


class HashIdsMachine(PrefixCacheMachine):
    """The same with hash_ids: four blocks of a chunk move together, until something comes between them."""

    num_blocks = 18
    block_size = 128

    @rule(hash_ids=st.lists(st.integers(0, 1), min_size=3, max_size=3), length=st.integers(1, 1536))
    def admit(self, hash_ids: list[int], length: int) -> None:
        tokens = [512 * hash_id + index for hash_id in hash_ids for index in range(512)][:length]
        request = Request("r", length, 0, hash_ids=hash_ids[: -(-length // 512)])
        self.admit_state(RequestState(request), tokens)


TestPrefixCache = PrefixCacheMachine.TestCase
TestPrefixCacheOfHashIds = HashIdsMachine.TestCase
TestPrefixCacheOfHashIds.settings = settings(max_examples=40)


def shared_blocks(block_size: int, one: Request, other: Request, count: int) -> list[bool]:
    """For each of the first `count` blocks of two requests whether they lie in the same node."""
    tree = RadixTree(block_size, on_split=lambda first, rest: None)
    paths = [tree.path_of(request) for request in (one, other)]
    return [paths[0].node_at(block)[0] is paths[1].node_at(block)[0] for block in range(count)]


def test_blocks_are_equal_exactly_up_to_the_first_difference() -> None:
    one, other = (a_state(tokens).request for tokens in ([1, 2, 3, 4, 5, 6], [1, 2, 3, 9, 5, 6]))

    assert shared_blocks(2, one, other, count=3) == [True, False, False]


def test_hash_ids_stand_for_512_tokens_each() -> None:
    one, other = (Request("r", 1024, 0, hash_ids=hash_ids) for hash_ids in ([7, 8], [7, 9]))

    assert shared_blocks(256, one, other, count=4) == [True, True, False, False]


def test_a_block_that_straddles_two_hash_ids_is_told_apart_by_both() -> None:
    one, other = (Request("r", 1024, 0, hash_ids=hash_ids) for hash_ids in ([7, 8], [7, 9]))

    assert shared_blocks(384, one, other, count=2) == [True, False]


def test_an_output_without_token_ids_equals_nothing_else() -> None:
    one, other = (Request(name, 2, 4, hash_ids=[7]) for name in ("one", "other"))

    assert shared_blocks(2, one, other, count=3) == [True, False, False]


def test_an_output_is_found_by_a_prompt_that_repeats_it() -> None:
    """The second turn of a chat starts with the first turn's prompt and response."""
    first = Request("1", 3, 3, prompt_token_ids=[1, 2, 3], output_token_ids=[4, 5, 6])

    assert shared_blocks(2, first, a_state([1, 2, 3, 4, 5, 6]).request, count=3) == [True, True, True]
