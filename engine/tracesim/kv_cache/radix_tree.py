"""What KV blocks hold, as a tree: requests share its way as far as all their tokens are equal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

from tracesim.requests.request import Request

TOKENS_PER_HASH_ID = 512
"""Prompt tokens that one of a trace's `hash_ids` stands for, as in the Mooncake traces."""


class Node:
    """The blocks from `start` on that all requests which come this way have had in common so far.

    `contents` has one for `span` blocks each.
    """

    __slots__ = ("children", "contents", "parent", "span", "start")

    def __init__(self, start: int, contents: Sequence[Hashable], span: int, parent: Node | None) -> None:
        self.start = start
        self.contents = contents
        self.span = span
        self.parent = parent
        self.children: dict[Hashable, Node] = {}


class Path(NamedTuple):
    """A request's blocks: the first `known` lie between the root and `leaf`, all after them in `own`."""

    leaf: Node
    known: int
    own: Node

    def place(self, block: int) -> tuple[Node, int]:
        """The node in which a block lies, and before which block the request leaves it."""
        if block >= self.known:
            return self.own, sys.maxsize
        node, end = self.leaf, self.known
        while node.start > block:
            end = min(end, node.start)
            assert node.parent is not None, f"block {block} lies before the root"
            node = node.parent
        return node, end


class RadixTree:
    """Finds where requests part: a radix tree, so that blocks that nobody tells apart are one node.

    No hashing, so no collisions. Where token ids are known, a content is those of one block. Where `hash_ids`
    stand for the prompt, chunk h being the tokens 512h ... 512h + 511, it is a chunk, or one block where
    blocks straddle chunks. What is not known, such as an output of which only the length is, equals nothing
    but itself.
    """

    def __init__(self, block_size: int, on_split: Callable[[Node, Node], object]) -> None:
        """`on_split` is told of a node that was cut: the new first part, and the old node, now the rest."""
        self._block_size = block_size
        self._on_split = on_split
        self._per_chunk = TOKENS_PER_HASH_ID // block_size if TOKENS_PER_HASH_ID % block_size == 0 else 1
        self._root = Node(0, (), 1, None)

    def path_of(self, request: Request) -> Path:
        """The way of all blocks that a request may come to have."""
        size = self._block_size
        if request.hash_ids is not None:
            span, known = self._per_chunk, request.num_prompt_tokens // size
            contents = self._of_hash_ids(request.hash_ids, known)
        else:
            tokens = _known_tokens(request)
            span, known = 1, len(tokens) // size
            contents = [tuple(tokens[start : start + size]) for start in range(0, known * size, size)]
        return Path(self._leaf_of(contents, span), known, Node(known, (), 1, None))

    def _leaf_of(self, contents: Sequence[Hashable], span: int) -> Node:
        """The node in which `contents` end, which grows the tree where they part from all others."""
        node, at = self._root, 0
        while at < len(contents):
            child = node.children.get(contents[at])
            if child is None:
                child = node.children[contents[at]] = Node(at * span, contents[at:], span, node)
                return child
            common = _num_common(child.contents, contents[at : at + len(child.contents)])
            at += common
            if common < len(child.contents) and at < len(contents):
                child = self._split(child, common)
            node = child
        return node

    def _split(self, node: Node, at: int) -> Node:
        """Cut a node in two after `at` of its contents. The first part is the new one: leaves stay leaves."""
        assert node.parent is not None, "the root has nothing to be cut"
        first = Node(node.start, node.contents[:at], node.span, node.parent)
        node.parent.children[first.contents[0]] = first
        node.start += at * node.span
        node.contents = node.contents[at:]
        node.parent = first
        first.children[node.contents[0]] = node
        self._on_split(first, node)
        return first

    def _of_hash_ids(self, hash_ids: Sequence[int], known: int) -> Sequence[Hashable]:
        if self._per_chunk > 1 or self._block_size == TOKENS_PER_HASH_ID:
            return hash_ids[: -(-known // self._per_chunk)]
        size = self._block_size
        starts = range(0, known * size, size)
        return [
            tuple(hash_ids[start // TOKENS_PER_HASH_ID : -(-(start + size) // TOKENS_PER_HASH_ID)])
            for start in starts
        ]


def _num_common(one: Sequence[Hashable], other: Sequence[Hashable]) -> int:
    """How many contents two nodes begin with alike."""
    if one == other:
        return len(one)
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (mine, its) in pairs if mine != its), min(len(one), len(other)))


def _known_tokens(request: Request) -> Sequence[int]:
    """The token ids of the prompt, and of the output after it, as far as they are known."""
    prompt, output = request.prompt_token_ids, request.output_token_ids
    if prompt is None:
        return ()
    return prompt if output is None else [*prompt, *output[: request.num_output_tokens]]
