"""Keys of full KV blocks: equal exactly where all tokens up to the block's end are equal."""

from __future__ import annotations

from collections.abc import Hashable

from tracesim.request import Request

TOKENS_PER_HASH_ID = 512
"""Prompt tokens that one of a trace's `hash_ids` stands for, as in the Mooncake traces."""


class PrefixKeys:
    """Numbers chains of blocks: a key is the number of (key of the block before, what the block holds).

    No hashing, so no collisions. Where a request has `hash_ids` these stand for its prompt's tokens: chunk h
    is the tokens 512h ... 512h + 511. An output whose tokens are not known equals nothing but itself.
    """

    def __init__(self, block_size: int) -> None:
        self._block_size = block_size
        self._numbers: dict[tuple[int, Hashable], int] = {}

    def extend(self, keys: list[int], request: Request, count: int) -> None:
        """Add to the keys of a request's first blocks those of the next, up to `count` in all."""
        while len(keys) < count:
            link = (keys[-1] if keys else -1, self._content(request, len(keys)))
            keys.append(self._numbers.setdefault(link, len(self._numbers)))

    def _content(self, request: Request, index: int) -> Hashable:
        """What block `index` holds, as told apart from all that a block after the same prefix may hold."""
        start = index * self._block_size
        end = start + self._block_size
        prompt, output, boundary = (
            request.prompt_token_ids,
            request.output_token_ids,
            request.num_prompt_tokens,
        )
        if end <= boundary and request.hash_ids is not None:
            return (
                "hash_ids",
                *request.hash_ids[start // TOKENS_PER_HASH_ID : -(-end // TOKENS_PER_HASH_ID)],
            )
        if prompt is None or (output is None and end > boundary):
            return ("of", request.id)
        if end <= boundary or output is None:
            return tuple(prompt[start:end])
        return (*prompt[start:boundary], *output[max(0, start - boundary) : end - boundary])
