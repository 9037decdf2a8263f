"""The calculation of `tracesim kv-blocks` as a JSON document, `KV_BLOCKS_SCHEMA`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from tracesim.kv_cache.model_config import ModelConfig
from tracesim.kv_cache.sizing import Sizing
from tracesim_cli.terminal.json_output import json_document

KV_BLOCKS_SCHEMA = "tracesim.kv-blocks/1"


class MemorySizes(TypedDict):
    """Sizes in bytes of one GPU: its memory, what vLLM uses of it, and how that is divided."""

    memory: int
    utilization: float
    usable: int
    weights: int
    overhead: int
    kv_cache: int


class PartWeights(TypedDict):
    """The parameters of one part of the model: in all, on each GPU, and their bytes there."""

    part: str
    parameters: int
    parameters_per_gpu: int
    bytes_per_gpu: int


class CachedLayers(TypedDict):
    """Layers whose KV cache is alike. `window` is in tokens, and null for full attention."""

    kind: str
    layers: int
    window: int | None
    heads_per_gpu: int
    bytes_per_token: int
    groups: int


class KvBlocksDocument(TypedDict):
    """The number of KV cache blocks, and all that it follows from.

    A request of `request_tokens` takes `request_blocks` of the `vllm_num_gpu_blocks`, over all groups.
    """

    schema: str
    model: str
    attention: str
    tp: int
    block_size: int
    memory: MemorySizes
    weights: Sequence[PartWeights]
    layers: Sequence[CachedLayers]
    block_bytes: int
    vllm_num_gpu_blocks: int
    request_tokens: int
    request_blocks: int
    num_gpu_blocks: int
    cache_tokens: int


def format_json(model: ModelConfig, sizing: Sizing) -> bytes:
    """Return the document."""
    settings = sizing.settings
    document: KvBlocksDocument = {
        "schema": KV_BLOCKS_SCHEMA,
        "model": model.architecture or model.model_type,
        "attention": model.attention,
        "tp": settings.tp,
        "block_size": settings.block_size,
        "memory": {
            "memory": settings.memory,
            "utilization": settings.utilization,
            "usable": sizing.usable_bytes,
            "weights": sizing.weights_bytes,
            "overhead": settings.overhead,
            "kv_cache": sizing.cache_bytes,
        },
        "weights": [
            {
                "part": each.name,
                "parameters": each.parameters,
                "parameters_per_gpu": each.per_gpu,
                "bytes_per_gpu": each.bytes_per_gpu,
            }
            for each in sizing.weights
        ],
        "layers": [
            {
                "kind": kind.layer.kind,
                "layers": kind.num_layers,
                "window": kind.layer.window,
                "heads_per_gpu": kind.heads_per_gpu,
                "bytes_per_token": kind.bytes_per_token,
                "groups": kind.num_groups,
            }
            for kind in sizing.kinds
        ],
        "block_bytes": sizing.block_bytes,
        "vllm_num_gpu_blocks": sizing.total_blocks,
        "request_tokens": sizing.request_tokens,
        "request_blocks": sizing.request_blocks,
        "num_gpu_blocks": sizing.num_gpu_blocks,
        "cache_tokens": sizing.cache_tokens,
    }
    return json_document(document)
