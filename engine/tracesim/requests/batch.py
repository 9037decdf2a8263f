"""What one step computes, in three numbers."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple


class Batch(NamedTuple):
    """What a step computes: tokens of prompts, requests that decode, and their tokens in the KV cache."""

    prefill_tokens: int
    num_decodes: int
    context_tokens: int


# What `_make` does, without a Python frame for each batch.
new_batch = partial(tuple.__new__, Batch)
