"""Why a step leaves requests waiting: the causes, one for each condition that an admission has to meet."""

from __future__ import annotations

from typing import Final, Literal, get_args

Cause = Literal["max_num_seqs", "token_budget", "kv_blocks", "watermark", "preemption", "chunked_prefill_off"]
"""Why the first request of the waiting queue is not admitted, and with it none of those behind it.

- `max_num_seqs`: as many requests run as may.
- `token_budget`: too little of the step's token budget is left; in `vllm-v1`, nothing.
- `kv_blocks`: the request needs more KV blocks than are free.
- `watermark`: enough blocks are free, but fewer than the watermark would stay free.
- `preemption`: the step preempts a request, and such a step admits none.
- `chunked_prefill_off`: the prompt is longer than what is left of the budget, and must not be cut.

Where several hold, it is the one that the scheduler checks first: `simple` and `vllm-v0` in the order
`max_num_seqs`, `token_budget`, `kv_blocks` and `watermark`; `vllm-v1`, as vLLM does, `preemption`,
`token_budget`, `max_num_seqs`, `chunked_prefill_off`, `kv_blocks` and `watermark`.
"""

CAUSES: Final[tuple[Cause, ...]] = get_args(Cause)

BUDGET_SPENT: Final[Cause] = "token_budget"
"""The cause that holds unless a scheduler finds another one first."""
