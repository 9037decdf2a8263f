"""A radix tree of what KV blocks contain: requests share its nodes as far as their tokens are equal."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

from tracesim.requests.request import Request


class Node:
    """The blocks from `start` on that a set of requests has in common, up to where two of them differ.

    Each of `contents` stands for `span` blocks. A node has one child for each way in which requests go on,
    under the first of its contents.
    """

    __slots__ = ("children", "contents", "parent", "span", "start")

    def __init__(self, start: int, contents: Sequence[Hashable], span: int, parent: Node | None) -> None:
        self.start = start
        self.contents = contents
        self.span = span
        self.parent = parent
        self.children: dict[Hashable, Node] = {}

    def num_common(self, contents: Sequence[Hashable]) -> int:
        """Return how many of the node's contents are equal to `contents` from their beginning on."""
        own = self.contents
        if own == contents:
            return len(own)
        pairs = enumerate(zip(own, contents, strict=False))
        return next((at for at, (mine, other) in pairs if mine != other), min(len(own), len(contents)))

    def split(self, at: int) -> Node:
        """Split the node after `at` of its contents and return the new node, which is the upper part.

        The node itself becomes the lower part, so that a leaf stays a leaf.
        """
        assert self.parent is not None, "a root cannot be split"
        upper = Node(self.start, self.contents[:at], self.span, self.parent)
        self.parent.children[upper.contents[0]] = upper
        self.start += at * self.span
        self.contents = self.contents[at:]
        self.parent = upper
        upper.children[self.contents[0]] = self
        return upper


class Path(NamedTuple):
    """Where a request's blocks are: the first `num_shared` between the root and `leaf`, the rest in `own`.

    No other request has the node `own`: it stands for tokens that are not known, which equal no others.
    """

    leaf: Node
    num_shared: int
    own: Node

    def node_at(self, block: int) -> tuple[Node, int]:
        """Return the node of a block, and the first block after it that is in another node."""
        if block >= self.num_shared:
            return self.own, sys.maxsize
        node, end = self.leaf, self.num_shared
        while node.start > block:
            end = min(end, node.start)
            assert node.parent is not None, f"block {block} lies before the root"
            node = node.parent
        return node, end


class RadixTree:
    """The contents of all requests' blocks, compared for equality and not by a hash, so without collisions.

    Where token ids are known, a content is the ids of one block. Where `hash_ids` stand for the prompt, each
    for `hash_block_size` tokens, a content is one hash id if that fills whole blocks, and otherwise the hash
    ids that one block overlaps. Requests with different hash block sizes have nothing in common. What is
    not known, such as an output of which only the length is, equals nothing else.

    Where a later turn of a session continues a request, the tokens of that turn's prompt are those of the
    request's prompt and output, as far as both reach: also those of an output of which only the length is
    known, and of the end of a prompt that fills no whole hash block.
    """

    def __init__(self, block_size: int, on_split: Callable[[Node, Node], object]) -> None:
        """Make an empty tree, which calls `on_split` with the upper and lower part of each node it splits."""
        self._block_size = block_size
        self._on_split = on_split
        self._roots: dict[int | None, Node] = defaultdict(lambda: Node(0, (), 1, None))

    def path_of(self, request: Request, next_turn: Request | None = None) -> Path:
        """Return where the blocks of a request are; add nodes for those that no request had before.

        `next_turn` is a request that continues it.
        """
        contents, span, num_blocks = self._contents_of(request, next_turn)
        node, at = self._root_of(request), 0
        while at < len(contents):
            child = node.children.get(contents[at])
            if child is None:
                child = node.children[contents[at]] = Node(at * span, contents[at:], span, node)
                at = len(contents)
            else:
                common = child.num_common(contents[at : at + len(child.contents)])
                at += common
                if common < len(child.contents) and at < len(contents):
                    upper = child.split(common)
                    self._on_split(upper, child)
                    child = upper
            node = child
        return Path(node, num_blocks, Node(num_blocks, (), 1, None))

    def find(self, request: Request) -> Path:
        """Return where the blocks of a request would be, as far as other requests had them before."""
        contents, span, num_blocks = self._contents_of(request)
        node, at = self._root_of(request), 0
        while at < len(contents) and (child := node.children.get(contents[at])):
            common = child.num_common(contents[at : at + len(child.contents)])
            node, at = child, at + common
            if common < len(child.contents):
                break
        return Path(node, min(num_blocks, at * span), Node(num_blocks, (), 1, None))

    def _root_of(self, request: Request) -> Node:
        """Return the root of all requests that can have something in common with this one."""
        return self._roots[None if request.hash_ids is None else request.hash_block_size]

    def _contents_of(
        self, request: Request, next_turn: Request | None = None
    ) -> tuple[Sequence[Hashable], int, int]:
        """Return a request's known contents, how many blocks each stands for, and how many blocks all do."""
        num_output_tokens, *_ = request.core_end or (request.num_output_tokens,)
        known = request if next_turn is None else next_turn
        num_known = known.num_prompt_tokens
        if next_turn is not None:
            num_known = min(num_known, request.num_prompt_tokens + num_output_tokens)
        size, hash_ids, token_ids = self._block_size, known.hash_ids, known.prompt_token_ids
        if hash_ids is not None:
            hash_size, num_blocks = request.hash_block_size, num_known // size
            if hash_size % size == 0:
                span = hash_size // size
                return hash_ids[: -(-num_blocks // span)], span, num_blocks
            starts = range(0, num_blocks * size, size)
            overlapped = [(start // hash_size, -(-(start + size) // hash_size)) for start in starts]
            return [tuple(hash_ids[first:end]) for first, end in overlapped], 1, num_blocks
        if token_ids is None:
            return (), 1, 0
        if next_turn is not None:
            token_ids = token_ids[:num_known]
        elif request.output_token_ids is not None:
            token_ids = [*token_ids, *request.output_token_ids[:num_output_tokens]]
        num_blocks = len(token_ids) // size
        starts = range(0, num_blocks * size, size)
        return [tuple(token_ids[start : start + size]) for start in starts], 1, num_blocks
