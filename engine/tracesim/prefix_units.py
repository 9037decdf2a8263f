"""What KV blocks hold, as numbers: equal exactly where all tokens up to a block's end are equal."""

from __future__ import annotations

import sys
from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple

from tracesim.request import Request

TOKENS_PER_HASH_ID = 512
"""Prompt tokens that one of a trace's `hash_ids` stands for, as in the Mooncake traces."""


class Units(NamedTuple):
    """A request's blocks as blocks of units: the first `known` ones by `span` in each of `numbers`.

    The blocks after these hold what equals nothing else; all of them are one unit, `own`.
    """

    numbers: Sequence[int]
    span: int
    known: int
    own: int

    def place(self, block: int) -> tuple[int, int, int]:
        """A block's unit, its offset there, and before which offset the request has the unit's blocks."""
        if block >= self.known:
            return self.own, block - self.known, sys.maxsize
        index = block // self.span
        first = index * self.span
        return self.numbers[index], block - first, min(self.span, self.known - first)


class PrefixUnits:
    """Numbers chains of units: a unit is the number of (the unit before it, what it holds).

    No hashing, so no collisions. Where token ids are known, a unit is one block. Where `hash_ids` stand for
    the prompt, chunk h being the tokens 512h ... 512h + 511, it is all blocks of a chunk, or one block where
    blocks straddle chunks. What is not known, such as an output of which only the length is, equals nothing
    but itself.
    """

    def __init__(self, block_size: int) -> None:
        self._block_size = block_size
        self._per_chunk = TOKENS_PER_HASH_ID // block_size if TOKENS_PER_HASH_ID % block_size == 0 else 1
        self._numbers: dict[tuple[int, Hashable], int] = {}

    def of(self, request: Request) -> Units:
        """The units of all blocks that a request may come to have."""
        if request.hash_ids is not None:
            span, known = self._per_chunk, request.num_prompt_tokens // self._block_size
            contents = self._of_hash_ids(request.hash_ids, known)
        else:
            token_ids = _known_tokens(request)
            span, known = 1, len(token_ids) // self._block_size
            contents = self._of_tokens(token_ids, known)
        numbers: list[int] = []
        number = -1
        for content in contents:
            number = self._numbers.setdefault((number, content), len(self._numbers))
            numbers.append(number)
        own = self._numbers.setdefault((-1, request.id), len(self._numbers))
        return Units(numbers, span, known, own)

    def _of_hash_ids(self, hash_ids: Sequence[int], known: int) -> Sequence[Hashable] | Iterator[Hashable]:
        if self._per_chunk > 1 or self._block_size == TOKENS_PER_HASH_ID:
            return hash_ids[: -(-known // self._per_chunk)]
        size = self._block_size
        starts = range(0, known * size, size)
        return (
            tuple(hash_ids[start // TOKENS_PER_HASH_ID : -(-(start + size) // TOKENS_PER_HASH_ID)])
            for start in starts
        )

    def _of_tokens(self, token_ids: Sequence[int], known: int) -> Iterator[Hashable]:
        size = self._block_size
        return (tuple(token_ids[start : start + size]) for start in range(0, known * size, size))


def _known_tokens(request: Request) -> Sequence[int]:
    """The token ids of the prompt, and of the output after it, as far as they are known."""
    prompt, output = request.prompt_token_ids, request.output_token_ids
    if prompt is None:
        return ()
    return prompt if output is None else [*prompt, *output[: request.num_output_tokens]]
