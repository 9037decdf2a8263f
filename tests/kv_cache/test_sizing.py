"""The number of KV cache blocks, calculated by hand for models of every kind and by vLLM itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from tracesim.errors import ConfigError
from tracesim.kv_cache.model_config import ModelConfig, read_model_config
from tracesim.kv_cache.parameters import count_weights
from tracesim.kv_cache.sizing import MemorySettings, Sizing, parse_size, size_kv_cache

GIB = 1 << 30

LLAMA_8B = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "torch_dtype": "bfloat16",
}
LLAMA_70B = LLAMA_8B | {
    "hidden_size": 8192,
    "intermediate_size": 28672,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
}
GPT2 = {
    "model_type": "gpt2",
    "n_embd": 768,
    "n_layer": 12,
    "n_head": 12,
    "n_positions": 1024,
    "vocab_size": 50257,
}
DEEPSEEK_V3 = {
    "model_type": "deepseek_v3",
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "num_hidden_layers": 61,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "q_lora_rank": 1536,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "first_k_dense_replace": 3,
    "topk_method": "noaux_tc",
    "vocab_size": 129280,
    "torch_dtype": "bfloat16",
    "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]},
}
GEMMA3_27B = {
    "text_config": {
        "model_type": "gemma3_text",
        "hidden_size": 5376,
        "intermediate_size": 21504,
        "num_hidden_layers": 62,
        "num_attention_heads": 32,
        "num_key_value_heads": 16,
        "head_dim": 128,
        "sliding_window": 1024,
        "vocab_size": 262208,
    },
    "architectures": ["Gemma3ForConditionalGeneration"],
    "torch_dtype": "bfloat16",
}
MIXED_HEADS = LLAMA_8B | {
    "model_type": "gemma4_text",
    "layer_types": (["sliding_attention"] * 5 + ["full_attention"]) * 5 + ["sliding_attention"] * 2,
    "sliding_window": 1024,
    "global_head_dim": 512,
    "num_global_key_value_heads": 2,
}


def size(config: dict[str, Any], **settings: Any) -> Sizing:
    return size_kv_cache(ModelConfig(config), MemorySettings(**{"memory": 80 * GIB, **settings}))


def test_grouped_query_attention() -> None:
    """A token takes 2 x 8 heads x 128 numbers x 2 bytes = 4,096 bytes in each of 32 layers: 2 MiB a block.

    0.92 x 80 GiB less 2 GiB and 8,030,261,248 x 2 bytes of weights are 60,819,392,102 bytes: 29,000 blocks.
    """
    sizing = size(LLAMA_8B)

    assert sum(each.parameters for each in sizing.weights) == 8_030_261_248
    assert sizing.block_bytes == 2 << 20
    assert sizing.cache_bytes == int(0.92 * 80 * GIB) - 2 * GIB - 2 * 8_030_261_248
    assert (sizing.total_blocks, sizing.num_gpu_blocks, sizing.cache_tokens) == (29_000, 29_000, 464_000)


def test_tensor_parallelism_divides_heads_and_matrices_but_not_norms() -> None:
    """On 4 GPUs 2 of 8 heads each: 2 x 2 x 128 x 2 bytes x 80 layers x 16 tokens = 1,310,720 bytes.

    Of 70,553,706,496 parameters the 161 norms of 8,192 are on every GPU.
    """
    norms = 161 * 8192
    sizing = size(LLAMA_70B, tp=4)

    assert sum(each.parameters for each in sizing.weights) == 70_553_706_496
    assert sizing.weights_bytes == 2 * ((70_553_706_496 - norms) // 4 + norms)
    assert sizing.block_bytes == 1_310_720
    assert sizing.total_blocks == (int(0.92 * 80 * GIB) - 2 * GIB - sizing.weights_bytes) // 1_310_720


def test_fewer_key_value_heads_than_gpus_are_copied() -> None:
    """Each of 16 GPUs keeps one head: as many bytes as each of 8."""
    assert size(LLAMA_70B, tp=16).block_bytes == size(LLAMA_70B, tp=8).block_bytes == 2 * 128 * 2 * 80 * 16


def test_multi_head_attention() -> None:
    """GPT-2 has 12 heads of 64: 2 x 768 x 2 bytes x 12 layers x 16 tokens; its head is its embedding."""
    sizing = size(GPT2, memory=24 * GIB)

    assert sum(each.parameters for each in sizing.weights) == 124_439_808
    assert sizing.block_bytes == 2 * 768 * 2 * 12 * 16
    assert ModelConfig(GPT2).attention == "multi-head attention (MHA)"


def test_multi_head_latent_attention_is_whole_on_every_gpu() -> None:
    """A token takes one vector of 512 + 64 numbers a layer, whatever the number of GPUs."""
    one, eight = (size(DEEPSEEK_V3, memory=1024 * GIB, tp=tp) for tp in (1, 8))

    assert sum(each.parameters for each in one.weights) == 671_026_419_200
    assert one.block_bytes == eight.block_bytes == 576 * 2 * 61 * 16
    assert size(DEEPSEEK_V3, tp=8, memory=141 * GIB, kv_cache_dtype="fp8").block_bytes == 576 * 61 * 16


def test_quantized_weights_take_less_and_embeddings_do_not() -> None:
    """DeepSeek V3 in FP8: one byte for attention, MLP and experts, two for the two embeddings."""
    parts = {each.name: each.bytes_each for each in count_weights(ModelConfig(DEEPSEEK_V3))}

    assert parts == {
        "embedding": 2,
        "attention": 1,
        "MLP": 1,
        "experts": 1,
        "router": 2,
        "norms": 2,
        "output layer": 2,
    }


def test_sparse_attention_keeps_an_index() -> None:
    """DeepSeek V3.2: 132 bytes of index beside the vector, which in FP8 has scales and takes 656 bytes."""
    sparse = DEEPSEEK_V3 | {"index_topk": 2048, "index_head_dim": 128, "index_n_heads": 64}

    assert size(sparse, memory=1024 * GIB).block_bytes == (576 * 2 + 132) * 61 * 16
    assert size(sparse, memory=1024 * GIB, kv_cache_dtype="fp8").block_bytes == (656 + 132) * 61 * 16


def test_a_sliding_window_makes_groups_of_layers() -> None:
    """Gemma 3 27B: 10 of 62 layers have full attention, so 52 with a window make 6 groups of 10, and 1 of 10.

    A block has 10 layers x 16 tokens x 2 x 16 heads x 128 x 2 bytes. A request within the window takes one
    block in each of 7 groups for 16 tokens. One of 32,768 tokens takes 2,048 in the group with full attention
    and 1,023 / 16 = 64 and one more in the six others while it decodes: 2,438.
    """
    sizing = size(GEMMA3_27B)
    long = size(GEMMA3_27B, request_tokens=32_768)

    assert sum(each.parameters for each in sizing.weights) == 27_009_346_304
    assert {kind.layer.window: (kind.num_layers, kind.num_groups) for kind in sizing.kinds} == {
        1024: (52, 6),
        None: (10, 1),
    }
    assert sizing.block_bytes == 10 * 16 * 2 * 16 * 128 * 2
    assert sizing.num_gpu_blocks == sizing.total_blocks // 7
    assert long.num_gpu_blocks == sizing.total_blocks * 2048 // (2048 + 6 * 65)


@pytest.mark.parametrize(
    ("fields", "windows"),
    [
        ({"model_type": "mistral", "sliding_window": 4096}, [4096] * 4),
        ({"model_type": "mistral", "sliding_window": None}, [None] * 4),
        ({"model_type": "qwen2", "sliding_window": 4096, "use_sliding_window": False}, [None] * 4),
        ({"model_type": "gemma2", "sliding_window": 4096}, [4096, None] * 2),
        ({"sliding_window": 8, "sliding_window_pattern": 3}, [8, 8, None, 8]),
        (
            {"sliding_window": 8, "layer_types": ["full_attention", "sliding_attention"] * 2},
            [None, 8] * 2,
        ),
    ],
)
def test_where_a_configuration_says_which_layers_have_a_window(
    fields: dict[str, Any], windows: list[int | None]
) -> None:
    model = ModelConfig(LLAMA_8B | {"num_hidden_layers": 4} | fields)

    assert [layer.window for layer in model.layers] == windows


@pytest.mark.parametrize(
    ("config", "settings", "message"),
    [
        ({"a": 1}, {}, "model is config.json, which is not the configuration of a language model"),
        (
            {key: value for key, value in LLAMA_8B.items() if key != "hidden_size"},
            {},
            "model is config.json, which has no field hidden_size or n_embd or d_model, which the",
        ),
        (LLAMA_8B | {"vocab_size": "many"}, {}, "has the field vocab_size, which is 'many'; must be a whole"),
        (LLAMA_8B | {"layer_types": ["linear_attention"] * 32}, {}, "has layers with a recurrent state"),
        (LLAMA_8B | {"layer_types": ["full_attention"]}, {}, "has 1 layer_types for 32 layers"),
        (LLAMA_8B | {"quantization_config": {"quant_method": "x"}}, {}, "of the method 'x', which is not kn"),
        (LLAMA_8B, {"memory": 16 * GIB}, "memory is too small: 0.92 of 16.00 GiB is 14.72 GiB, the weights"),
        (LLAMA_8B, {"tp": 3}, "tp is 3; must divide the model's 32 attention heads"),
        (LLAMA_8B | {"num_key_value_heads": 6, "num_attention_heads": 24}, {"tp": 4}, "tp is 4; must divide"),
        (LLAMA_8B, {"utilization": 92.0}, "utilization is 92; must be over 0 and at most 1"),
        (LLAMA_8B, {"dtype": "int3"}, "dtype is 'int3'; must be one of auto, bfloat16"),
    ],
)
def test_what_cannot_be_calculated_is_an_error(
    config: dict[str, Any], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as error:
        size(config, **settings)

    assert message in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"{", "is not JSON"),
        (b"[]", "is not a JSON object"),
    ],
)
def test_a_file_that_is_no_configuration_is_an_error(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "config.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read_model_config(path)


def test_a_folder_stands_for_its_configuration(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(orjson.dumps(LLAMA_8B))

    assert read_model_config(tmp_path).layers == ModelConfig(LLAMA_8B).layers


@pytest.mark.parametrize(
    ("text", "size"),
    [("80GiB", 80 * GIB), ("24 GB", 24 * 10**9), ("1.5gib", 3 << 29), ("512", 512), ("0", 0)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size("memory", text) == size


@pytest.mark.parametrize("text", ["", "GiB", "80GX", "-1GiB", "1e400GiB", "9999999TiB"])
def test_what_is_no_size_is_an_error(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^memory is '.*'; must be a size up to 1024TiB"):
        parse_size("memory", text)


@pytest.mark.vllm
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kv_cache_dtype", ["auto", "fp8"])
@pytest.mark.parametrize("config", [LLAMA_8B, LLAMA_70B, GPT2, DEEPSEEK_V3, GEMMA3_27B, MIXED_HEADS])
def test_vllm_counts_the_same_blocks(config: dict[str, Any], kv_cache_dtype: str) -> None:
    """vLLM's groups, bytes of a block and blocks, from the sizes of each layer's heads."""
    torch = pytest.importorskip("torch")
    from vllm.config import CacheConfig, VllmConfig
    from vllm.v1.core.kv_cache_utils import get_kv_cache_config_from_groups, get_kv_cache_groups
    from vllm.v1.kv_cache_interface import FullAttentionSpec, MLAAttentionSpec, SlidingWindowSpec

    vllm_config = VllmConfig(cache_config=CacheConfig(block_size=16))
    vllm_config.cache_config.kv_cache_layout = "LBNHC"
    vllm_config.cache_config.block_size = 16
    specs = {}
    for number, layer in enumerate(ModelConfig(config).layers):
        common = {
            "block_size": 16,
            "num_kv_heads": layer.num_kv_heads,
            "head_size": layer.key_size,
            "dtype": torch.bfloat16 if kv_cache_dtype == "auto" else torch.uint8,
        }
        if layer.kind == "mla":
            specs[f"{number}"] = MLAAttentionSpec(**common)
        elif layer.window is None:
            specs[f"{number}"] = FullAttentionSpec(**common)
        else:
            specs[f"{number}"] = SlidingWindowSpec(**common, sliding_window=layer.window)
    sizing = size(config, memory=1024 * GIB, kv_cache_dtype=kv_cache_dtype)
    groups = get_kv_cache_groups(vllm_config, specs)
    blocks = get_kv_cache_config_from_groups(vllm_config, groups, sizing.cache_bytes).num_blocks

    assert (sizing.num_groups, sizing.total_blocks) == (len(groups), blocks)
