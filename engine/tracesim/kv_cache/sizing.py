"""How many KV cache blocks a GPU's memory has space for, as vLLM counts them.

vLLM 0.32 takes its share of a GPU's memory, subtracts what weights and a trial run of the model take, and
divides the rest into blocks (`get_kv_cache_groups` and `get_kv_cache_config_from_groups` in
`vllm/v1/core/kv_cache_utils.py`). A block has `block_size` tokens of every layer of a *group*. A model all of
whose layers have one kind of attention is one group. Otherwise the layers of each kind are divided into
groups, each of as many layers as the kind with the fewest has. A token then takes a part of one block in
every group, and the groups draw their blocks from one pool. Layers with a sliding window free what lies
before it.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from tracesim.errors import ConfigError, brief
from tracesim.kv_cache.model_config import DTYPE_BYTES, CachedLayer, ModelConfig
from tracesim.kv_cache.parameters import WEIGHT_DTYPES, Weights, count_weights

KV_CACHE_DTYPES: Final = ("auto", "bfloat16", "float16", "fp8", "fp8_e4m3", "fp8_e5m2")

_MAX_SIZE: Final = 1 << 50
_UNITS: Final[Mapping[str, int]] = {
    "": 1,
    "B": 1,
    **{f"{letter}B": 1000**power for power, letter in enumerate("kMGT", start=1)},
    **{f"{letter}iB": 1024**power for power, letter in enumerate("KMGT", start=1)},
}
_SIZE: Final = re.compile(r"(?P<number>[0-9]*\.?[0-9]+)\s*(?P<unit>[A-Za-z]*)")

_SPARSE_FP8_BYTES: Final = 656
"""What vLLM's format `fp8_ds_mla` takes of a token: 512 numbers, four scales, and 64 numbers of two bytes."""


@dataclass(frozen=True, slots=True)
class MemorySettings:
    """What the size of the KV cache depends on beside the model; sizes are in bytes, of one GPU.

    `memory` is the GPU's, of which vLLM uses `utilization`. `overhead` is what activations, CUDA graphs and
    libraries take, an assumption. `weights` replaces the size that the configuration gives. `tp` is the
    number of GPUs of tensor parallelism. `request_tokens` is the length of a request for which the blocks of
    layers with a sliding window are counted, as it decodes; None is a request within every window.
    """

    memory: int
    utilization: float = 0.92
    overhead: int = 2 << 30
    weights: int | None = None
    tp: int = 1
    dtype: str = "auto"
    kv_cache_dtype: str = "auto"
    block_size: int = 16
    request_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class LayerKind:
    """Layers whose KV cache is alike: `bytes_per_token` are those of one layer on one GPU.

    They are in `num_groups` groups. A page is what a block has of one layer: `tokens_per_page` tokens, in
    `page_bytes` bytes.
    """

    layer: CachedLayer
    num_layers: int
    heads_per_gpu: int
    bytes_per_number: int
    bytes_per_token: int
    num_groups: int
    tokens_per_page: int
    page_bytes: int

    def blocks_of(self, tokens: int) -> int:
        """Return the blocks that a request of this length takes while it decodes.

        A window may start within a block, so that it lies in one more than it has tokens for.
        """
        blocks = -(-tokens // self.tokens_per_page)
        if self.layer.window is not None:
            blocks = min(blocks, -(-(self.layer.window - 1) // self.tokens_per_page) + 1)
        return self.num_groups * blocks


@dataclass(frozen=True, slots=True)
class Sizing:
    """The calculation, from the memory to the blocks. Sizes are in bytes, of one GPU.

    `total_blocks` are vLLM's own, which all groups share: a request of `request_tokens` takes
    `request_blocks` of them. `num_gpu_blocks` are those of a cache in which a request takes one block for
    every `block_size` tokens, as in a replay. With one group both numbers are equal.
    """

    settings: MemorySettings
    weights: tuple[Weights, ...]
    weights_bytes: int
    kinds: tuple[LayerKind, ...]
    layers_per_group: int
    block_bytes: int
    usable_bytes: int
    cache_bytes: int
    total_blocks: int
    request_tokens: int
    request_blocks: int
    num_gpu_blocks: int

    @property
    def num_groups(self) -> int:
        """The groups of layers."""
        return sum(kind.num_groups for kind in self.kinds)

    @property
    def cache_tokens(self) -> int:
        """The tokens that `num_gpu_blocks` have space for."""
        return self.num_gpu_blocks * self.settings.block_size


def parse_size(name: str, text: str) -> int:
    """Return the bytes of a size such as `80GiB`, `24GB` or `512`. Raises ConfigError, which has the name."""
    match = _SIZE.fullmatch(text.strip())
    units = {unit.lower(): factor for unit, factor in _UNITS.items()}
    factor = units.get(match["unit"].lower()) if match else None
    if match is None or factor is None or not 0 <= float(match["number"]) * factor <= _MAX_SIZE:
        raise ConfigError(
            f"is {brief(text)}; must be a size up to 1024TiB, such as 80GiB (1024 x 1024 x 1024 bytes each) "
            "or 24GB (1,000,000,000 bytes each)",
            setting=name,
        )
    return round(float(match["number"]) * factor)


def size_kv_cache(model: ModelConfig, settings: MemorySettings) -> Sizing:
    """Return how many blocks the memory has space for. Raises ConfigError, also if it is not one block."""
    _check(model, settings)
    weights = () if settings.weights is not None else tuple(count_weights(model, settings.tp, settings.dtype))
    weights_bytes = (
        sum(each.bytes_per_gpu for each in weights) if settings.weights is None else settings.weights
    )
    kinds, layers_per_group = _grouped(model, settings)
    block_bytes = max(kind.page_bytes for kind in kinds) * layers_per_group
    if sum(kind.num_groups for kind in kinds) == 1:
        block_bytes = sum(kind.page_bytes * kind.num_layers for kind in kinds)
    usable = int(settings.memory * settings.utilization)
    cache_bytes = usable - weights_bytes - settings.overhead
    if cache_bytes < block_bytes:
        share = f"{settings.utilization:g} of {in_gib(settings.memory)} is {in_gib(usable)}"
        raise ConfigError(
            f"is too small: {share}, the weights take {in_gib(weights_bytes)} and the overhead "
            f"{in_gib(settings.overhead)}; use more GPUs (--tp), a smaller --dtype, or more memory",
            setting="memory",
        )
    total = cache_bytes // block_bytes
    tokens = settings.request_tokens or max(kind.tokens_per_page for kind in kinds)
    needed = sum(kind.blocks_of(tokens) for kind in kinds)
    plain = -(-tokens // settings.block_size)
    return Sizing(
        settings=settings,
        weights=weights,
        weights_bytes=weights_bytes,
        kinds=kinds,
        layers_per_group=layers_per_group,
        block_bytes=block_bytes,
        usable_bytes=usable,
        cache_bytes=cache_bytes,
        total_blocks=total,
        request_tokens=tokens,
        request_blocks=needed,
        num_gpu_blocks=total * plain // needed,
    )


def in_gib(size: int) -> str:
    """Return a size in bytes as it is written in messages: in GiB, with two digits after the point."""
    return f"{size / 1024**3:,.2f} GiB"


def _check(model: ModelConfig, settings: MemorySettings) -> None:
    """Raise ConfigError for a setting that is not accepted, or that the model cannot have."""
    if not 0 < settings.utilization <= 1:
        raise ConfigError(f"is {settings.utilization:g}; must be over 0 and at most 1", setting="utilization")
    for name, value, accepted in (
        ("dtype", settings.dtype, WEIGHT_DTYPES),
        ("kv_cache_dtype", settings.kv_cache_dtype, KV_CACHE_DTYPES),
    ):
        if value not in accepted:
            raise ConfigError(f"is {brief(value)}; must be one of {', '.join(accepted)}", setting=name)
    tp, heads, kv_heads = settings.tp, model.num_heads, model.num_kv_heads
    if heads % tp:
        raise ConfigError(
            f"is {tp}; must divide the model's {heads} attention heads, as vLLM requires", setting="tp"
        )
    if kv_heads % tp and tp % kv_heads and model.layers[0].kind != "mla":
        raise ConfigError(
            f"is {tp}; must divide the model's {kv_heads} key and value heads or be a multiple of them, as "
            "vLLM requires",
            setting="tp",
        )


def _grouped(model: ModelConfig, settings: MemorySettings) -> tuple[tuple[LayerKind, ...], int]:
    """Return the kinds of layers with their groups, and the number of layers in each group."""
    kinds = [_kind(model, layer, number, settings) for layer, number in Counter(model.layers).items()]
    if len({kind.layer.window for kind in kinds}) == 1:
        return tuple(kinds), sum(kind.num_layers for kind in kinds)
    fewest, most = (function(kind.num_layers for kind in kinds) for function in (min, max))
    # As in vLLM: rather a few layers of padding than twice as many groups.
    per_group = most if most < 1.5 * fewest else fewest
    largest = max(kind.page_bytes for kind in kinds)
    unified = []
    for kind in kinds:
        # A page that does not divide the largest is padded; one that does gets more tokens.
        more = largest // kind.page_bytes if largest % kind.page_bytes == 0 else 1
        unified.append(
            replace(
                kind,
                num_groups=math.ceil(kind.num_layers / per_group),
                tokens_per_page=settings.block_size * more,
                page_bytes=largest,
            )
        )
    return tuple(unified), per_group


def _kind(model: ModelConfig, layer: CachedLayer, number: int, settings: MemorySettings) -> LayerKind:
    """Return what one kind of layers takes, as a group of its own."""
    dtype = model.dtype if settings.kv_cache_dtype == "auto" else settings.kv_cache_dtype
    size = DTYPE_BYTES.get(dtype, 2)
    heads = layer.num_kv_heads if layer.kind == "mla" else max(1, layer.num_kv_heads // settings.tp)
    numbers = heads * (layer.key_size + layer.value_size) * size
    if layer.index_bytes and size == 1:
        numbers = _SPARSE_FP8_BYTES
    per_token = numbers + layer.index_bytes
    page = per_token * settings.block_size
    return LayerKind(layer, number, heads, size, per_token, 1, settings.block_size, page)
