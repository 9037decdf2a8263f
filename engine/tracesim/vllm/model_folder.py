"""A model folder that vLLM can serve from a trace: a configuration and a tokenizer, without weights."""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from typing import Any, Final

import orjson

from tracesim.tokenizers import vocabulary
from tracesim.tokenizers.byte_level import spell_bytes

EOS_TOKEN: Final = "<|endoftext|>"

CHAT_TEMPLATE: Final = (
    "{%- for message in messages -%}"
    "{{- message['role'] + ': ' + message['content'] + '\\n\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- 'assistant: ' -}}{%- endif -%}"
)
"""Each message after its role, with a blank line between."""

MAX_MODEL_LEN: Final = 32_768

_SHAPE: Final[Mapping[str, Any]] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500_000.0,
    "torch_dtype": "bfloat16",
    "tie_word_embeddings": True,
    "bos_token_id": None,
}
"""The sizes of Llama 3.2 1B (its config.json): they decide how many KV blocks fit in a memory."""


def model_files() -> dict[str, bytes]:
    """Return the files of a model folder by name: `config.json`, and a tokenizer with our vocabulary."""
    lines = map(bytes.split, vocabulary.path().read_bytes().splitlines())
    ranks = {binascii.a2b_base64(token): int(rank) for token, rank in lines}
    eos = len(ranks)
    config = {**_SHAPE, "vocab_size": eos + 1, "max_position_embeddings": MAX_MODEL_LEN, "eos_token_id": eos}
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": MAX_MODEL_LEN,
        "eos_token": EOS_TOKEN,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    return {
        "config.json": _json(config),
        "generation_config.json": _json({"eos_token_id": eos}),
        "tokenizer.json": orjson.dumps(_tokenizer(ranks)),
        "tokenizer_config.json": _json(tokenizer_config),
    }


def _tokenizer(ranks: Mapping[bytes, int]) -> dict[str, Any]:
    """Return a Hugging Face `tokenizer.json` that splits and merges as tiktoken does."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    split = {
        "type": "Split",
        "pattern": {"Regex": vocabulary.SPLIT_PATTERN},
        "behavior": "Isolated",
        "invert": False,
    }
    eos = {
        "id": len(ranks),
        "content": EOS_TOKEN,
        **dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False),
        "special": True,
    }
    # tiktoken merges whatever makes the token of the lowest rank; a list of merges must name every pair of
    # tokens that a token can be merged from, the pair of lowest ranks first.
    merges: list[list[str]] = []
    for token in ranks:
        pairs = [(token[:at], token[at:]) for at in range(1, len(token))]
        known = [(left, right) for left, right in pairs if left in ranks and right in ranks]
        known.sort(key=lambda pair: (ranks[pair[0]], ranks[pair[1]]))
        merges += [[spell_bytes(left), spell_bytes(right)] for left, right in known]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [eos],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": True,
            "vocab": {spell_bytes(token): rank for token, rank in ranks.items()},
            "merges": merges,
        },
    }


def _json(value: Mapping[str, Any]) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2) + b"\n"
