"""Which blocks of two requests are in the same node of the radix tree, because their contents are equal."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tracesim.kv_cache.radix_tree import RadixTree
from tracesim.requests.request import Request


def are_shared(block_size: int, one: Request, other: Request, count: int) -> list[bool]:
    """Return for each of the first `count` blocks whether it is shared."""
    tree = RadixTree(block_size, on_split=lambda upper, lower: None)
    paths = [tree.path_of(request) for request in (one, other)]
    return [paths[0].node_at(block)[0] is paths[1].node_at(block)[0] for block in range(count)]


def with_tokens(prompt: Sequence[int], output: Sequence[int] = ()) -> Request:
    return Request("r", len(prompt), len(output), prompt_token_ids=prompt, output_token_ids=output)


def with_hash_ids(*hash_ids: int, size: int = 512) -> Request:
    return Request("r", size * len(hash_ids), 0, hash_ids=hash_ids, hash_block_size=size)


def test_blocks_are_shared_up_to_the_first_difference() -> None:
    one, other = with_tokens([1, 2, 3, 4, 5, 6]), with_tokens([1, 2, 3, 9, 5, 6])

    assert are_shared(2, one, other, count=3) == [True, False, False]


@pytest.mark.parametrize("size", [16, 64, 512])
def test_hash_id_stands_for_hash_block_size_tokens(size: int) -> None:
    one, other = with_hash_ids(7, 8, size=size), with_hash_ids(7, 9, size=size)

    assert are_shared(size // 2, one, other, count=4) == [True, True, False, False]


@pytest.mark.parametrize(("block_size", "shared"), [(384, [True, False]), (1024, [False])])
def test_block_is_shared_if_all_its_hash_ids_are(block_size: int, shared: list[bool]) -> None:
    one, other = with_hash_ids(7, 8), with_hash_ids(7, 9)

    assert are_shared(block_size, one, other, count=len(shared)) == shared


def test_hash_ids_of_different_sizes_are_different() -> None:
    assert are_shared(16, with_hash_ids(7, size=64), with_hash_ids(7, size=32), count=2) == [False, False]


def test_output_without_token_ids_is_not_shared() -> None:
    one, other = (Request(name, 2, 4, hash_ids=[7]) for name in ("one", "other"))

    assert are_shared(2, one, other, count=3) == [True, False, False]


def test_output_is_shared_with_a_prompt_that_repeats_it() -> None:
    """The second turn of a chat begins with the prompt and the response of the first."""
    first, second = with_tokens([1, 2, 3], [4, 5, 6]), with_tokens([1, 2, 3, 4, 5, 6])

    assert are_shared(2, first, second, count=3) == [True, True, True]
