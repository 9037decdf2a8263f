"""The prefix cache against a naive model of vLLM's block pool, and the keys of blocks."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tracesim.prefix_cache import PrefixCache
from tracesim.prefix_keys import PrefixKeys
from tracesim.request import Request, RequestState

BLOCK_SIZE = 2
NUM_BLOCKS = 9


def a_state(tokens: list[int], **fields: Any) -> RequestState:
    request = Request("r", len(tokens), 0, prompt_token_ids=tokens, output_token_ids=[], **fields)
    return RequestState(request)


class NaivePool:
    """vLLM's rules in plain lists. A block is [number, references, tokens up to its end or None]."""

    def __init__(self) -> None:
        self.queue = [[number, 0, None] for number in range(NUM_BLOCKS)]
        self.blocks: list[Any] = list(self.queue)
        self.cached_in_order: list[Any] = []

    def prefix(self, tokens: list[int]) -> list[Any]:
        found = []
        for end in range(BLOCK_SIZE, len(tokens), BLOCK_SIZE):
            block = next((b for b in self.cached_in_order if b[2] == tokens[:end]), None)
            if block is None:
                break
            found.append(block)
        return found

    def needed(self, tokens: list[int], prefix: list[Any]) -> int:
        free = [block for block in prefix if block[1] == 0]
        return -(-len(tokens) // BLOCK_SIZE) - len(prefix) + len(free)

    def allocate(self, tokens: list[int], prefix: list[Any]) -> list[Any]:
        for block in prefix:
            if block[1] == 0:
                self.queue.remove(block)
            block[1] += 1
        held = list(prefix)
        while len(held) * BLOCK_SIZE < len(tokens):
            block = self.queue.pop(0)
            if block[2] is not None:
                self.cached_in_order.remove(block)
            block[1], block[2] = 1, None
            held.append(block)
        for index in range(len(prefix), len(tokens) // BLOCK_SIZE):
            held[index][2] = tokens[: (index + 1) * BLOCK_SIZE]
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

    def __init__(self) -> None:
        super().__init__()
        self.cache = PrefixCache(NUM_BLOCKS, BLOCK_SIZE)
        self.pool = NaivePool()
        self.held: list[tuple[RequestState, list[Any]]] = []

    @rule(tokens=st.lists(st.integers(0, 1), min_size=1, max_size=9))
    def admit(self, tokens: list[int]) -> None:
        state = a_state(tokens)
        prefix, expected = self.cache.find_prefix(state), self.pool.prefix(tokens)
        assert len(prefix) == len(expected)

        needed = self.cache.blocks_needed(state, len(tokens), prefix)
        assert needed == self.pool.needed(tokens, expected)

        if needed <= self.cache.free:
            self.cache.allocate(state, len(tokens), prefix)
            self.held.append((state, self.pool.allocate(tokens, expected)))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        state, blocks = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        self.cache.release(state)
        self.cache.forget(state)
        self.pool.release(blocks)

    @invariant()
    def blocks_are_conserved(self) -> None:
        distinct = {id(block) for state, _ in self.held for block in self.cache.blocks_of(state)}
        assert self.cache.free + len(distinct) == NUM_BLOCKS
        assert self.cache.free == len(self.pool.queue)

    @invariant()
    def requests_share_the_same_blocks(self) -> None:
        ours = [[block.ref_count for block in self.cache.blocks_of(state)] for state, _ in self.held]
        assert ours == [[block[1] for block in blocks] for _, blocks in self.held]


TestPrefixCache = PrefixCacheMachine.TestCase


def keys_of(block_size: int, *states: RequestState, count: int) -> list[list[int]]:
    numbers = PrefixKeys(block_size)
    keys: list[list[int]] = [[] for _ in states]
    for state, own in zip(states, keys, strict=True):
        numbers.extend(own, state.request, count)
    return keys


def test_keys_are_equal_exactly_up_to_the_first_difference() -> None:
    first, second = keys_of(2, a_state([1, 2, 3, 4, 5, 6]), a_state([1, 2, 3, 9, 5, 6]), count=3)

    assert [a == b for a, b in zip(first, second, strict=True)] == [True, False, False]


def test_hash_ids_stand_for_512_tokens_each() -> None:
    """Blocks of 384 tokens: the second straddles the chunks, so a different second id tells it apart."""
    states = [RequestState(Request("r", 1024, 0, hash_ids=hash_ids)) for hash_ids in ([7, 8], [7, 9])]
    first, second = keys_of(384, *states, count=2)

    assert [a == b for a, b in zip(first, second, strict=True)] == [True, False]


def test_an_output_without_token_ids_equals_nothing_but_itself() -> None:
    one, other = (RequestState(Request(name, 2, 4, hash_ids=[7])) for name in ("one", "other"))
    first, second, again = keys_of(2, one, other, RequestState(one.request), count=3)

    assert first[0] == second[0]
    assert first[1] != second[1]
    assert first == again


def test_an_output_is_found_by_a_prompt_that_repeats_it() -> None:
    """The second turn of a chat starts with the first turn's prompt and response."""
    first = RequestState(Request("1", 3, 3, prompt_token_ids=[1, 2, 3], output_token_ids=[4, 5, 6]))
    turns = keys_of(2, first, a_state([1, 2, 3, 4, 5, 6]), count=3)

    assert turns[0] == turns[1]
