"""What one step computes, in four numbers."""

from __future__ import annotations

from typing import NamedTuple


class Batch(NamedTuple):
    """What one step computes: prompt tokens and decode requests, and the KV cache tokens that these read.

    `context_tokens` is the sum over decode requests, and `prefill_context_tokens` the sum over prompt tokens,
    of the tokens before them in the KV cache; see `pairs_of_chunk`.
    """

    prefill_tokens: int
    num_decodes: int
    context_tokens: int
    prefill_context_tokens: int

    def after(self, steps: int) -> Batch:
        """Return the batch `steps` steps later in a stride that has this one.

        Each decode request has one more token in the KV cache with every step. At most one prompt is
        computed, in chunks of equal size, so each of its tokens has a chunk more before it.
        """
        prefill_tokens, num_decodes, context_tokens, prefill_context_tokens = self
        return Batch(
            prefill_tokens,
            num_decodes,
            context_tokens + steps * num_decodes,
            prefill_context_tokens + steps * prefill_tokens * prefill_tokens,
        )


def pairs_of_chunk(computed: int, tokens: int) -> int:
    """Return how many tokens are before those of a chunk, in sum: `tokens` tokens after `computed` ones.

    The first of them has `computed` tokens before it, and each one more than the one before. A token itself
    does not count, as it does not in the context of a decode request.
    """
    return tokens * computed + tokens * (tokens - 1) // 2
