"""What one step computes, in three numbers."""

from __future__ import annotations

from typing import NamedTuple


class Batch(NamedTuple):
    """What one step computes: prompt tokens, decode requests, and the KV cache tokens that these read."""

    prefill_tokens: int
    num_decodes: int
    context_tokens: int
