"""vLLM's `SchedulerOutput` read: which requests a step computes, and how far each has come."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from tracesim.requests.batch import Batch, pairs_of_chunk


class _HasPrompt(Protocol):
    @property
    def num_prompt_tokens(self) -> int: ...


class ServedEntry(NamedTuple):
    """A request in a step: `tokens` tokens after `computed` in the KV cache, with `emitted` output tokens.

    It `samples` if all its tokens are computed after the step, and `decodes` if that was one output token.
    """

    request_id: str
    computed: int
    tokens: int
    emitted: int
    samples: bool
    decodes: bool


def entries_of(plan: Any, requests: Mapping[str, _HasPrompt]) -> list[ServedEntry]:
    """Return the batch of a step in the scheduler's order; `requests` are by vLLM's ids."""
    progress = {}  # the computed and the emitted tokens of each request before the step
    for new in plan.scheduled_new_reqs:
        # vLLM's second model runner takes a resumed request as a new one, with its output so far.
        known_ids = getattr(new, "prefill_token_ids", None) or new.prompt_token_ids
        emitted = len(known_ids) - requests[new.req_id].num_prompt_tokens
        progress[new.req_id] = (new.num_computed_tokens, emitted)
    cached = plan.scheduled_cached_reqs
    counts = zip(cached.num_computed_tokens, cached.num_output_tokens, strict=True)
    progress.update(zip(cached.req_ids, counts, strict=True))
    entries = []
    for request_id, tokens in plan.num_scheduled_tokens.items():
        computed, emitted = progress[request_id]
        known = requests[request_id].num_prompt_tokens + emitted
        samples = computed + tokens >= known
        decodes = samples and tokens == 1 and emitted > 0
        entries.append(ServedEntry(request_id, computed, tokens, emitted, samples, decodes))
    return entries


def batch_of(entries: Iterable[ServedEntry]) -> Batch:
    """Return what a step computes, as a clock needs it."""
    prefill_tokens = num_decodes = context_tokens = prefill_context_tokens = 0
    for entry in entries:
        if entry.decodes:
            num_decodes += 1
            context_tokens += entry.computed
        else:
            prefill_tokens += entry.tokens
            prefill_context_tokens += pairs_of_chunk(entry.computed, entry.tokens)
    return Batch(prefill_tokens, num_decodes, context_tokens, prefill_context_tokens)
