"""A model as its Hugging Face configuration (`config.json`) describes it: its layers and data types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import orjson

from tracesim.errors import ConfigError, brief
from tracesim.limits import MAX_INTEGER

MAX_BYTES: Final = 4 << 20
"""The size of the largest configuration that is read."""

_ALIASES: Final[Mapping[str, Sequence[str]]] = {
    "hidden_size": ("n_embd", "d_model"),
    "num_hidden_layers": ("n_layer", "n_layers", "num_layers"),
    "num_attention_heads": ("n_head", "n_heads"),
    "num_key_value_heads": ("num_kv_heads", "n_head_kv"),
    "intermediate_size": ("n_inner", "ffn_dim", "ffn_hidden_size"),
    "max_position_embeddings": ("n_positions", "max_seq_len", "n_ctx"),
    "num_experts": ("num_local_experts", "n_routed_experts"),
    "dtype": ("torch_dtype",),
}
"""What older or other configurations call a field."""

DTYPE_BYTES: Final[Mapping[str, int]] = {
    "bfloat16": 2,
    "float16": 2,
    "half": 2,
    "float32": 4,
    "float": 4,
    "fp8": 1,
    "fp8_e4m3": 1,
    "fp8_e5m2": 1,
    "float8_e4m3fn": 1,
}
"""Data types of one number, by the names that configurations and vLLM's options have for them."""

_RECURRENT: Final = (
    "hybrid_override_pattern",
    "layers_block_type",
    "linear_attn_config",
    "mamba_d_state",
    "ssm_state_size",
    "state_size",
    "attn_type_list",
)
"""Fields of models some of whose layers have a recurrent state in place of a KV cache."""

_ALTERNATING: Final[Mapping[str, int]] = {"gemma2": 2, "gemma3_text": 6, "cohere2": 4, "gpt_oss": 2}
"""Every how many layers one has full attention, in models whose configuration may not say."""

AttentionKind = Literal["full", "sliding_window", "mla"]


@dataclass(frozen=True, slots=True)
class CachedLayer:
    """What one attention layer keeps in the KV cache.

    A token takes `num_kv_heads` keys of `key_size` numbers and as many values of `value_size` numbers; with
    MLA one vector of `key_size` numbers, which every GPU has whole, and no value. `index_bytes` are those of
    a sparse attention's index. A layer with a sliding window of `window` tokens frees what lies before it.
    """

    kind: AttentionKind
    num_kv_heads: int
    key_size: int
    value_size: int
    window: int | None = None
    index_bytes: int = 0


class ModelConfig:
    """A configuration: its fields by their common names, and the layers that have a KV cache.

    `fields` are those of the language model: of a model with images or audio too, those of `text_config`.
    """

    def __init__(self, document: Mapping[str, Any], name: str = "config.json") -> None:
        inner = document.get("text_config")
        self.name = name
        self.has_encoder = isinstance(inner, Mapping)
        self.fields: Mapping[str, Any] = {**inner, **_quantization_of(document, inner)} if inner else document
        architectures = document.get("architectures")
        self.architecture = str(architectures[0]) if architectures and isinstance(architectures, list) else ""
        self.model_type = str(self.fields.get("model_type", ""))
        if "num_hidden_layers" not in self and "num_attention_heads" not in self:
            raise self.error(
                "is not the configuration of a language model: it has neither num_hidden_layers nor "
                "num_attention_heads; give the config.json of a Hugging Face model"
            )
        self.num_layers = self.integer("num_hidden_layers")
        self.hidden_size = self.integer("hidden_size")
        self.num_heads = self.integer("num_attention_heads")
        # Falcon's field; its newer models have the other one as well.
        has_one = self.get("multi_query") and not self.get("new_decoder_architecture")
        self.num_kv_heads = 1 if has_one else self.integer("num_key_value_heads", self.num_heads)
        self.head_size = self.integer("head_dim", self.hidden_size // self.num_heads)
        self.layers = self._layers()

    def __contains__(self, field: str) -> bool:
        return self.get(field) is not None

    def get(self, field: str, default: Any = None) -> Any:
        """Return a field by its common name or another name; the default if it is not there, or null."""
        for name in (field, *_ALIASES.get(field, ())):
            if self.fields.get(name) is not None:
                return self.fields[name]
        return default

    def integer(self, field: str, default: int | None = None) -> int:
        """Return a field that is a whole number over 0. Raises ConfigError."""
        value = self.get(field, default)
        if value is None:
            names = " or ".join((field, *_ALIASES.get(field, ())))
            raise self.error(f"has no field {names}, which the calculation needs")
        if type(value) is not int or not 0 < value <= MAX_INTEGER:
            raise self.error(f"has the field {field}, which is {brief(value)}; must be a whole number over 0")
        return value

    def error(self, problem: str) -> ConfigError:
        """Return the error that something is wrong with the configuration."""
        return ConfigError(f"is {self.name}, which {problem}", setting="model")

    @property
    def dtype(self) -> str:
        """The data type of activations, and of weights that are not quantized: bfloat16 where none is given.

        vLLM's `--dtype auto` uses float16 for a model that was stored in float32.
        """
        dtype = str(self.get("dtype", "bfloat16")).removeprefix("torch.")
        return "float16" if dtype in ("float32", "float") else dtype

    @property
    def attention(self) -> str:
        """The kind of attention, in the words of the field."""
        if self.layers[0].kind == "mla":
            return "multi-head latent attention (MLA)"
        if self.num_kv_heads == self.num_heads:
            name = "multi-head attention (MHA)"
        elif self.num_kv_heads == 1:
            name = "multi-query attention (MQA)"
        else:
            name = "grouped-query attention (GQA)"
        windows = sum(layer.kind == "sliding_window" for layer in self.layers)
        if not windows:
            return name
        where = "all" if windows == len(self.layers) else f"{windows} of {len(self.layers)}"
        return f"{name}, a sliding window in {where} layers"

    def _layers(self) -> tuple[CachedLayer, ...]:
        """Return the layers with a KV cache. Raises ConfigError for kinds whose cache is not known."""
        layer_types = self.get("layer_types") or []
        found = [field for field in _RECURRENT if field in self]
        found += sorted({str(kind) for kind in layer_types if "linear" in str(kind) or "mamba" in str(kind)})
        if found:
            raise self.error(
                f"has layers with a recurrent state ({found[0]}), whose blocks vLLM sizes at its start; take "
                "num_gpu_blocks from vLLM's own log"
            )
        for field in ("compress_ratios", "num_kv_shared_layers", "block_configs"):
            if self.get(field):
                raise self.error(
                    f"has the field {field}: what its layers take of the KV cache is not known here; take "
                    "num_gpu_blocks from vLLM's own log"
                )
        if "kv_lora_rank" in self:
            return (self._latent_layer(),) * self.num_layers
        return tuple(self._layer(is_sliding) for is_sliding in self._sliding_layers(layer_types))

    def _latent_layer(self) -> CachedLayer:
        key_size = self.integer("kv_lora_rank") + self.integer("qk_rope_head_dim")
        index_size = self.integer("index_head_dim") if "index_topk" in self else 0
        # vLLM keeps the index in FP8, with a scale of four bytes for every 128 numbers.
        return CachedLayer("mla", 1, key_size, 0, index_bytes=index_size + index_size // 128 * 4)

    def _layer(self, is_sliding: bool) -> CachedLayer:
        if is_sliding:
            heads = self.integer("swa_num_key_value_heads", self.num_kv_heads)
            key_size = self.integer("swa_head_dim", self.head_size)
            value_size = self.integer("swa_v_head_dim", key_size)
            return CachedLayer("sliding_window", heads, key_size, value_size, self.integer("sliding_window"))
        heads = self.integer("num_global_key_value_heads", self.num_kv_heads)
        key_size = self.integer("global_head_dim", self.head_size)
        return CachedLayer("full", heads, key_size, self.integer("v_head_dim", key_size))

    def _sliding_layers(self, layer_types: Sequence[Any]) -> list[bool]:
        """Return of each layer whether it has a sliding window, as vLLM 0.32 reads the configuration."""
        everywhere = [True] * self.num_layers
        nowhere = [False] * self.num_layers
        if layer_types:
            if len(layer_types) < self.num_layers:
                raise self.error(f"has {len(layer_types)} layer_types for {self.num_layers} layers")
            return [kind == "sliding_attention" for kind in layer_types[: self.num_layers]]
        if "hybrid_layer_pattern" in self:
            return [bool(each) for each in self.get("hybrid_layer_pattern")][: self.num_layers]
        if not self.get("sliding_window") or self.get("use_sliding_window", True) is False:
            return nowhere
        every = self.get("sliding_window_pattern", _ALTERNATING.get(self.model_type))
        if isinstance(every, int) and every > 0:
            return [number % every != 0 for number in range(1, self.num_layers + 1)]
        return everywhere


def read_model_config(path: Path) -> ModelConfig:
    """Return the model that a `config.json`, or the folder with it, describes. Raises ConfigError."""
    if path.is_dir():
        path /= "config.json"
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"is {path}, which cannot be read: {error.strerror}", setting="model") from error
    if len(content) > MAX_BYTES:
        raise ConfigError(
            f"is {path}, which has more than {MAX_BYTES:,} bytes; give a config.json", setting="model"
        )
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise ConfigError(
            f"is {path}, which is not JSON: {error}; give a config.json", setting="model"
        ) from None
    if not isinstance(document, dict):
        raise ConfigError(f"is {path}, which is not a JSON object; give a config.json", setting="model")
    return ModelConfig(document, str(path))


def _quantization_of(document: Mapping[str, Any], inner: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the fields of a whole model that are as good as those of its language model."""
    names = ("quantization_config", "torch_dtype", "dtype", "tie_word_embeddings")
    return {name: document[name] for name in names if name in document and name not in inner}
