"""A model's parameters, counted from its configuration, and the bytes that they take on each GPU.

The counts are those of the matrices, biases and norms that the model's implementation in Hugging Face
Transformers has. Tensor parallelism divides matrices and embeddings; norms, routers and the first matrices of
MLA are on every GPU whole, and so are key and value heads if there are fewer of them than GPUs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tracesim.errors import brief
from tracesim.kv_cache.model_config import DTYPE_BYTES, ModelConfig

_PLAIN_MLP: Final = frozenset(
    [
        "gpt2",
        "gpt_neo",
        "gpt_neox",
        "gptj",
        "gpt_bigcode",
        "opt",
        "bloom",
        "falcon",
        "mpt",
        "phi",
        "starcoder2",
        "nemotron",
    ]
)
"""Model types whose MLP has two matrices; in all others a third one gates it."""

_BIAS_EVERYWHERE: Final = frozenset(["gpt2", "gpt_neox", "gpt_bigcode", "opt", "bloom", "starcoder2", "phi"])
"""Model types whose matrices and norms all have biases."""

_POSITIONS: Final[Mapping[str, int]] = {"gpt2": 0, "gpt_bigcode": 0, "opt": 2}
"""Model types with an embedding for each position, and how many it has beyond the longest context."""

_TIED: Final = frozenset(["gpt2", "gemma", "gemma2", "gemma3_text"])
"""Model types whose output layer is the embedding where the configuration has no other word on it."""

_QUERY_KEY_NORMS: Final = frozenset(
    ["qwen3", "qwen3_moe", "qwen3_vl_text", "qwen3_vl_moe_text", "gemma3_text"]
)
_FOUR_NORMS: Final = frozenset(["gemma2", "gemma3_text"])

COUNTED: Final = (
    _PLAIN_MLP
    | _QUERY_KEY_NORMS
    | _FOUR_NORMS
    | frozenset(
        [
            "llama",
            "mistral",
            "mixtral",
            "qwen2",
            "qwen2_moe",
            "gemma",
            "phi3",
            "gpt_oss",
            "deepseek_v2",
            "deepseek_v3",
            "deepseek_v32",
            "kimi_k2",
            "glm_moe_dsa",
        ]
    )
)
"""The model types that are known here; others are counted as if they were like Llama."""

WEIGHT_DTYPES: Final = ("auto", "bfloat16", "float16", "float32", "fp8", "int4", "nvfp4", "mxfp4")

_QUANTIZED_BYTES: Final[Mapping[str, float]] = {
    "fp8": 1.0,
    "int8": 1.0,
    "int4": 0.5 + 2.5 / 128,  # for each 128 a scale of 16 bits and a zero point of 4
    "nvfp4": 0.5 + 1 / 16,  # for each 16 a scale of 8 bits
    "mxfp4": 0.5 + 1 / 32,  # for each 32 a scale of 8 bits
}


@dataclass(frozen=True, slots=True)
class Weights:
    """The parameters of one part of a model: how many, how many of them each GPU has, and bytes of each."""

    name: str
    parameters: int
    per_gpu: int
    bytes_each: float

    @property
    def bytes_per_gpu(self) -> int:
        """The bytes that they take on each GPU."""
        return round(self.per_gpu * self.bytes_each)


@dataclass(slots=True)
class _Count:
    """Parameters that tensor parallelism divides, and those that every GPU has whole."""

    divided: int = 0
    whole: int = 0

    def weights(self, name: str, tp: int, bytes_each: float) -> Weights:
        return Weights(name, self.divided + self.whole, -(-self.divided // tp) + self.whole, bytes_each)


def count_weights(model: ModelConfig, tp: int = 1, dtype: str = "auto") -> list[Weights]:
    """Return the parameters of a model by parts: embeddings, attention, MLP, experts, norms.

    `dtype` is that of the weights: "auto" takes the configuration's, with its quantization. One that is
    quantized is that of attention, MLP and experts, not of embeddings and norms. Raises ConfigError.
    """
    plain = DTYPE_BYTES.get(dtype, 0) if dtype not in _QUANTIZED_BYTES and dtype != "auto" else 0
    plain = plain or DTYPE_BYTES.get(model.dtype, 2)
    quantized, parts = _quantization(model) if dtype == "auto" else (dtype, _QUANTIZED_PARTS)
    small = _QUANTIZED_BYTES.get(quantized, plain)
    return [
        count.weights(name, tp, small if name in parts else plain)
        for name, count in _counts(model, tp).items()
        if count.divided or count.whole
    ]


_QUANTIZED_PARTS: Final = ("attention", "MLP", "experts")


def _quantization(model: ModelConfig) -> tuple[str, Sequence[str]]:
    """Return the data type of quantized weights and the parts that have it; ("", ()) if nothing is quantized.

    Raises ConfigError for a method that is not known.
    """
    quantization = model.get("quantization_config")
    if not isinstance(quantization, Mapping):
        return "", ()
    method = str(quantization.get("quant_method") or quantization.get("quant_algo") or "").lower()
    if method == "modelopt":
        method = str(quantization.get("quant_algo", "")).lower()
    compressed = _compressed_weights(quantization)
    bits = quantization.get("bits") or compressed.get("num_bits")
    by_bits: Mapping[Any, str] = {4: "int4", 8: "int8"}
    known = {
        **dict.fromkeys(("fp8", "fbgemm_fp8"), "fp8"),
        **dict.fromkeys(("mxfp4", "gpt_oss_mxfp4"), "mxfp4"),
        **dict.fromkeys(("nvfp4", "modelopt_fp4"), "nvfp4"),
        **dict.fromkeys(("awq", "gptq", "compressed-tensors"), by_bits.get(bits, "")),
    }
    is_float8 = method == "compressed-tensors" and bits == 8 and compressed.get("type") == "float"
    dtype = "fp8" if is_float8 else known.get(method, "")
    if not dtype:
        raise model.error(
            f"has a quantization_config of the method {brief(method)}, which is not known here; give the "
            "size of the weights on each GPU with --weights"
        )
    ignored = quantization.get("modules_to_not_convert") or quantization.get("ignore") or []
    parts = [part for part in _QUANTIZED_PARTS if not (part == "attention" and "attn" in str(ignored))]
    return dtype, parts


def _compressed_weights(quantization: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return how the first group of weights of a `compressed-tensors` configuration is quantized."""
    groups = quantization.get("config_groups")
    first = next(iter(groups.values()), None) if isinstance(groups, Mapping) else None
    weights = first.get("weights") if isinstance(first, Mapping) else None
    return weights if isinstance(weights, Mapping) else {}


def _counts(model: ModelConfig, tp: int) -> dict[str, _Count]:
    """Return the parameters of each part of the model."""
    hidden, layers = model.hidden_size, model.num_layers
    embedding = model.integer("vocab_size") * hidden
    has_biases = model.model_type in _BIAS_EVERYWHERE

    extra_positions = _POSITIONS.get(model.model_type)
    positions = 0
    if extra_positions is not None:
        positions = model.integer("max_position_embeddings") + extra_positions

    inner = model.integer("intermediate_size", 4 * hidden)
    matrices = 2 if model.model_type in _PLAIN_MLP else 3
    mlp = matrices * hidden * inner + (inner + hidden if has_biases else 0)

    norm = hidden * (2 if has_biases else 1)
    norms_of_layer = norm * (4 if model.model_type in _FOUR_NORMS else 2)
    if model.model_type in _QUERY_KEY_NORMS:
        norms_of_layer += 2 * model.head_size

    attention, experts = _attention(model, tp), _experts(model)
    num_moe = _num_moe_layers(model)
    tied = model.get("tie_word_embeddings", model.model_type in _TIED)
    return {
        "embedding": _Count(embedding),
        "positions": _Count(whole=positions * hidden),
        "attention": _Count(attention.divided * layers, attention.whole * layers),
        "MLP": _Count(mlp * (layers - num_moe)),
        "experts": _Count(experts.divided * num_moe),
        "router": _Count(whole=experts.whole * num_moe),
        "norms": _Count(whole=norms_of_layer * layers + norm),
        "output layer": _Count(0 if tied else embedding),
    }


def _attention(model: ModelConfig, tp: int) -> _Count:
    """Return the parameters of the attention of one layer."""
    hidden, heads = model.hidden_size, model.num_heads
    if "kv_lora_rank" in model:
        return _latent_attention(model)
    queries, keys = heads * model.head_size, model.num_kv_heads * model.head_size
    copies = max(1, tp // model.num_kv_heads)  # of each key and value head, over all GPUs
    count = _Count(2 * hidden * queries + 2 * hidden * keys * copies)
    everywhere = model.model_type in _BIAS_EVERYWHERE
    if everywhere or model.get("attention_bias") or model.model_type in ("qwen2", "qwen2_moe"):
        count.divided += queries + 2 * keys * copies
    if everywhere or (model.get("attention_bias") and model.model_type != "qwen2"):
        count.whole += hidden
    if model.model_type == "gpt_oss":
        count.divided += heads  # the sinks
    return count


def _latent_attention(model: ModelConfig) -> _Count:
    """Return the parameters of the multi-head latent attention of one layer, as in DeepSeek V2 and V3."""
    hidden, heads = model.hidden_size, model.num_heads
    rank, rope = model.integer("kv_lora_rank"), model.integer("qk_rope_head_dim")
    nope, value = model.integer("qk_nope_head_dim"), model.integer("v_head_dim")
    query_size = heads * (nope + rope)
    count = _Count(rank * heads * (nope + value) + heads * value * hidden, hidden * (rank + rope) + rank)
    if "q_lora_rank" in model:
        query_rank = model.integer("q_lora_rank")
        count.divided += query_rank * query_size
        count.whole += hidden * query_rank + query_rank
    else:
        query_rank = hidden
        count.divided += hidden * query_size
    if "index_topk" in model:
        index_heads, index_size = model.integer("index_n_heads"), model.integer("index_head_dim")
        count.whole += query_rank * index_heads * index_size + hidden * (index_size + index_heads)
        count.whole += 2 * index_size
    return count


def _experts(model: ModelConfig) -> _Count:
    """Return the parameters of the experts of one layer, and of the router as those on every GPU."""
    if "num_experts" not in model:
        return _Count()
    hidden, number = model.hidden_size, model.integer("num_experts")
    inner = model.integer("moe_intermediate_size", model.get("intermediate_size"))
    shared = model.get("n_shared_experts", 0) * inner + model.get("shared_expert_intermediate_size", 0)
    count = _Count(3 * hidden * (number * inner + shared), hidden * number)
    if model.model_type == "gpt_oss":
        count.divided += number * (2 * inner + hidden)
        count.whole += number
    if model.get("topk_method") == "noaux_tc":
        count.whole += number
    if "shared_expert_intermediate_size" in model:
        count.whole += hidden  # its gate
    return count


def _num_moe_layers(model: ModelConfig) -> int:
    """Return how many layers have experts in place of an MLP."""
    if "num_experts" not in model:
        return 0
    first, every = model.get("first_k_dense_replace", 0), model.get("decoder_sparse_step", 1)
    plain = set(model.get("mlp_only_layers", ()))
    return sum((layer + 1) % every == 0 and layer not in plain for layer in range(first, model.num_layers))
