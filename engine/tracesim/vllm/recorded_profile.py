"""The settings of a running vLLM as a profile for `replay --profile`."""

from __future__ import annotations

import json
from typing import Any


def engine_profile(config: Any, num_gpu_blocks: int, *, own_process: bool) -> bytes:
    """Return the profile of a `VllmConfig` in TOML.

    An engine core in its `own_process` gets the abort of a request with a complete stop string at least one
    plan later than one that shares the front end's.
    """
    scheduler, cache = config.scheduler_config, config.cache_config
    settings = {
        "engine": "vllm-v1",
        "max_num_seqs": scheduler.max_num_seqs,
        "max_num_batched_tokens": scheduler.max_num_batched_tokens,
        "max_model_len": config.model_config.max_model_len,
        "block_size": cache.block_size,
        "num_gpu_blocks": num_gpu_blocks,
        "watermark": scheduler.watermark,
        "enable_prefix_caching": bool(cache.enable_prefix_caching),
        "enable_chunked_prefill": bool(scheduler.enable_chunked_prefill),
        "async_scheduling": bool(scheduler.async_scheduling),
        "stop_delay": int(own_process),
        "scheduling_policy": scheduler.policy,
        "long_prefill_token_threshold": scheduler.long_prefill_token_threshold,
        "scheduler_reserve_full_isl": scheduler.scheduler_reserve_full_isl,
    }
    lines = ["[source]", 'description = "The settings of the vLLM that was recorded."', "", "[engine]"]
    lines += [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    return "\n".join(lines).encode() + b"\n"
