"""The calculation of `tracesim kv-blocks`, line by line."""

from __future__ import annotations

from collections.abc import Iterator

from tracesim.kv_cache.model_config import ModelConfig
from tracesim.kv_cache.parameters import COUNTED
from tracesim.kv_cache.sizing import LayerKind, Sizing, in_gib
from tracesim_cli.terminal.safe_text import visible
from tracesim_cli.terminal.text import counted


def format_sizing(model: ModelConfig, sizing: Sizing) -> Iterator[str]:
    """Yield the lines of the calculation."""
    settings = sizing.settings
    name = visible(model.architecture or model.model_type or model.name)
    yield f"{name}: {counted(model.num_layers, 'layer')}"
    yield f"{model.attention[0].upper()}{model.attention[1:]}."
    if settings.tp > 1:
        yield f"{settings.tp} GPUs with tensor parallelism; all figures are those of one of them."
    yield ""
    yield from _weights(model, sizing)
    yield ""
    yield f"KV cache, in blocks of {counted(settings.block_size, 'token')}"
    for kind in sizing.kinds:
        yield from _layers(kind, settings.tp)
    yield from _block(sizing)
    yield ""
    yield "Memory"
    yield _sum(f"{in_gib(settings.memory)} x {settings.utilization:g}, which vLLM uses", sizing.usable_bytes)
    yield _sum("weights", -sizing.weights_bytes)
    yield _sum("activations, CUDA graphs, libraries (assumed)", -settings.overhead)
    yield _sum("KV cache", sizing.cache_bytes)
    yield ""
    yield from _blocks(sizing)


def _weights(model: ModelConfig, sizing: Sizing) -> Iterator[str]:
    if not sizing.weights:
        yield f"Weights: {in_gib(sizing.weights_bytes)}, as given"
        return
    yield "Weights"
    for part in sizing.weights:
        size = f"{part.per_gpu:,} x {part.bytes_each:.4g} byte{'s' * (part.bytes_each != 1)}"
        yield f"  {part.name:14}{size:>34}{in_gib(part.bytes_per_gpu):>16}"
    total = sum(part.parameters for part in sizing.weights)
    yield f"  {'all':14}{'':34}{in_gib(sizing.weights_bytes):>16}"
    yield f"  The model has {total:,} parameters."
    if model.model_type not in COUNTED:
        known = visible(model.model_type) or "without a name"
        yield f"  Models of the type {known} are counted as if they were like Llama;"
        yield "  --weights SIZE replaces the count."
    if model.has_encoder:
        yield "  These are the language model's; add encoders of images or audio with --overhead."


def _layers(kind: LayerKind, tp: int) -> Iterator[str]:
    """Yield what one layer keeps of a token."""
    layer = kind.layer
    layers = counted(kind.num_layers, "layer")
    if layer.kind == "mla":
        what = "every GPU keeps it whole" if tp > 1 else "shared by all heads"
        yield f"  {layers}: one vector of {layer.key_size} numbers a token, {what}"
        index = f" + {layer.index_bytes} of the index" if layer.index_bytes else ""
        if kind.bytes_per_token == layer.key_size * kind.bytes_per_number + layer.index_bytes:
            own = f"{layer.key_size} x {counted(kind.bytes_per_number, 'byte')}"
        else:
            own = f"{kind.bytes_per_token - layer.index_bytes} bytes in vLLM's format fp8_ds_mla"
        yield f"    {own}{index} = {kind.bytes_per_token:,} bytes"
        return
    window = "full attention" if layer.window is None else f"a sliding window of {layer.window:,} tokens"
    yield f"  {layers} with {window}: one layer keeps of a token"
    if layer.num_kv_heads // tp == 0:
        yield f"    fewer key and value heads ({layer.num_kv_heads}) than GPUs: each GPU keeps one"
    sizes = f"key and value of {layer.key_size} + {layer.value_size} numbers"
    product = f"{counted(kind.heads_per_gpu, 'head')} x {sizes} x {counted(kind.bytes_per_number, 'byte')}"
    yield f"    {product} = {kind.bytes_per_token:,} bytes"


def _block(sizing: Sizing) -> Iterator[str]:
    """Yield what a block has of how many layers."""
    block_size = sizing.settings.block_size
    if sizing.num_groups == 1:
        layers = " + ".join(f"{kind.num_layers} x {kind.bytes_per_token:,}" for kind in sizing.kinds)
        layers = f"({layers})" if len(sizing.kinds) > 1 else layers
        yield f"  A block: {block_size} tokens x {layers} bytes = {sizing.block_bytes:,} bytes"
        return
    size, page = sizing.layers_per_group, sizing.kinds[0].page_bytes
    groups = " + ".join(str(kind.num_groups) for kind in sizing.kinds)
    yield f"  vLLM puts layers of one kind into groups of {size}, here {groups} groups."
    yield f"  A block is one group's: {size} x {page:,} bytes = {sizing.block_bytes:,} bytes"


def _blocks(sizing: Sizing) -> Iterator[str]:
    settings = sizing.settings
    blocks = counted(sizing.num_gpu_blocks, "block")
    total = counted(sizing.total_blocks, "block")
    yield f"{sizing.cache_bytes:,} bytes / {sizing.block_bytes:,} bytes = {total}"
    if sizing.num_groups > 1:
        plain = -(-sizing.request_tokens // settings.block_size)
        takes = f"takes {counted(sizing.request_blocks, 'block')}, and {plain:,} in a cache with one group:"
        yield f"A request of {sizing.request_tokens:,} tokens {takes}"
        yield f"{sizing.total_blocks:,} x {plain:,} / {sizing.request_blocks:,} = {blocks}"
        if settings.request_tokens is None:
            yield "Requests longer than the window take less: see --request-tokens."
    yield f"num_gpu_blocks: {sizing.num_gpu_blocks} ({sizing.cache_tokens:,} tokens)"


def _sum(name: str, size: int) -> str:
    return f"  {name:48}{in_gib(size):>16}"
