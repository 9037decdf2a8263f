"""The decode calendar against requests whose counters are updated one by one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracesim.requests.decode_calendar import DecodeCalendar, SparseDecodeCalendar, decode_calendar
from tracesim.requests.request import Request, RequestState

BLOCK_SIZE = 4
KINDS = (DecodeCalendar, SparseDecodeCalendar)


def a_decoding_request(name: str, num_tokens: int, num_left: int = 9) -> RequestState:
    """Return a request that has `num_tokens` tokens and is to emit `num_left` more."""
    return RequestState(Request(name, num_tokens, num_left))


@pytest.mark.parametrize("kind", KINDS)
def test_requests_begin_blocks_at_their_ticks(kind: type[DecodeCalendar]) -> None:
    """This is the example in the docstring of `DecodeCalendar`, with ticks from 0."""
    calendar = kind(BLOCK_SIZE)
    for name, num_tokens in (("a", 13), ("b", 11), ("c", 7)):
        calendar.join(a_decoding_request(name, num_tokens))

    names = [[state.id for state in calendar.requests_needing_block(ahead)] for ahead in range(5)]
    assert names == [["a"], [], ["b", "c"], [], ["a"]]
    assert [calendar.num_blocks_needed(ticks) for ticks in range(1, 6)] == [1, 1, 3, 3, 4]
    assert [calendar.ticks_within(num_blocks) for num_blocks in range(4)] == [0, 2, 2, 4]


@pytest.mark.parametrize("kind", KINDS)
@given(
    lengths=st.lists(st.tuples(st.integers(1, 30), st.integers(1, 12)), min_size=1, max_size=6),
    strides=st.lists(st.integers(1, 5)),
)
def test_counters_follow_from_the_tick(
    kind: type[DecodeCalendar], lengths: list[tuple[int, int]], strides: list[int]
) -> None:
    """Requests finish when all tokens are emitted; before each stride the first one leaves and rejoins."""
    calendar = kind(BLOCK_SIZE)
    states = [a_decoding_request(f"r{number}", *each) for number, each in enumerate(lengths)]
    expected = {state: state.num_tokens for state in states}
    for state in states:
        calendar.join(state)
    for stride in strides:
        if not expected:
            break
        state = next(iter(expected))
        calendar.leave(state)
        assert (state.num_tokens, state.num_computed_tokens) == (expected[state], expected[state] - 1)
        calendar.join(state)
        ticks = calendar.ticks_to_finish(stride)
        begun = sum((num + tick - 1) % BLOCK_SIZE == 0 for num in expected.values() for tick in range(ticks))

        assert calendar.num_blocks_needed(ticks) == begun
        assert calendar.ticks_without_block(0) == 0
        free = calendar.ticks_without_block(BLOCK_SIZE)
        assert not any(calendar.requests_needing_block(ahead) for ahead in range(free))
        assert free == BLOCK_SIZE or calendar.requests_needing_block(free)
        within = calendar.ticks_within(begun)
        assert calendar.num_blocks_needed(within) <= begun < calendar.num_blocks_needed(within + 1)
        finished = set(calendar.advance(ticks))
        expected = {state: num + ticks for state, num in expected.items()}
        assert finished == {state for state, num in expected.items() if num == state.total_tokens}
        expected = {state: num for state, num in expected.items() if state not in finished}
        assert {state: state.current_num_tokens for state in expected} == expected
        assert calendar.context_tokens == sum(num - 1 for num in expected.values())


def test_the_memory_of_a_calendar_does_not_grow_with_its_blocks() -> None:
    assert type(decode_calendar(16)) is DecodeCalendar
    assert type(decode_calendar(10**9)) is SparseDecodeCalendar
