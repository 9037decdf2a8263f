"""What KV blocks hold, as numbers: equal exactly where all tokens up to a block's end are equal."""

from __future__ import annotations

import sys
from collections.abc import Hashable
from typing import NamedTuple

from tracesim.request import Request

TOKENS_PER_HASH_ID = 512
"""Prompt tokens that one of a trace's `hash_ids` stands for, as in the Mooncake traces."""


class Place(NamedTuple):
    """A block as number `offset` of the blocks of `unit`, of which the request has those before `end`."""

    unit: int
    offset: int
    end: int


class PrefixUnits:
    """Numbers chains of units: a unit is the number of (the unit before it, what it holds).

    No hashing, so no collisions. Where token ids are known, a unit is one block. Where `hash_ids` stand for
    the prompt, chunk h being the tokens 512h ... 512h + 511, it is all blocks of a chunk, or one block where
    blocks straddle chunks. What is not known, such as an output of which only the length is, equals nothing
    but itself: all of it is one unit of that request.
    """

    def __init__(self, block_size: int) -> None:
        self._block_size = block_size
        self._per_chunk = TOKENS_PER_HASH_ID // block_size if TOKENS_PER_HASH_ID % block_size == 0 else 1
        self._numbers: dict[tuple[int, Hashable], int] = {}

    def locate(self, request: Request, units: list[int], block: int) -> Place:
        """Where block number `block` of a request is; `units` are the request's so far, and are extended."""
        known = self._num_known(request)
        if block >= known:
            return Place(self._number(-1, ("of", request.id)), block - known, sys.maxsize)
        span = self._per_chunk if request.hash_ids is not None else 1
        index = block // span
        while len(units) <= index:
            before = units[-1] if units else -1
            units.append(self._number(before, self._content(request, len(units) * span, span)))
        return Place(units[index], block - index * span, min(span, known - index * span))

    def _number(self, before: int, content: Hashable) -> int:
        return self._numbers.setdefault((before, content), len(self._numbers))

    def _num_known(self, request: Request) -> int:
        """How many of a request's first blocks hold nothing but known tokens."""
        if request.hash_ids is None and request.prompt_token_ids is None:
            return 0
        if request.output_token_ids is None or request.prompt_token_ids is None:
            return request.num_prompt_tokens // self._block_size
        return sys.maxsize

    def _content(self, request: Request, block: int, span: int) -> Hashable:
        """What the `span` blocks from number `block` on hold."""
        start, end = block * self._block_size, (block + span) * self._block_size
        if request.hash_ids is not None:
            return (
                "hash_ids",
                *request.hash_ids[start // TOKENS_PER_HASH_ID : -(-end // TOKENS_PER_HASH_ID)],
            )
        prompt, output = request.prompt_token_ids or (), request.output_token_ids or ()
        boundary = request.num_prompt_tokens
        if end <= boundary:
            return tuple(prompt[start:end])
        return (*prompt[start:boundary], *output[max(0, start - boundary) : end - boundary])
