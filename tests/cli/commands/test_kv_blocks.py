"""`tracesim kv-blocks` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from command_line import run

CONFIG: dict[str, Any] = {
    "architectures": ["Tiny\u001b[31m"],
    "model_type": "gemma3_text",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "sliding_window": 32,
    "vocab_size": 1000,
    "dtype": "bfloat16",
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(CONFIG))
    return path


def test_the_calculation_is_shown_line_by_line(config: Path) -> None:
    """5 layers with a window make 5 groups of one layer, and the sixth is one: 2,048 bytes a block.

    0.92 GiB less 512 MiB and 286,976 x 2 bytes of weights are 450,397,614 bytes: 219,920 blocks, 6 x 36,653.
    """
    result = run("kv-blocks", "--model", config, "--memory", "1GiB", "--overhead", "512MiB")
    lines = result.stdout.splitlines()

    assert result.exit_code == 0
    assert lines[0] == "Tiny\\x1b[31m: 6 layers"
    assert "    2 heads x key and value of 16 + 16 numbers x 2 bytes = 128 bytes" in lines
    assert "  A block is one group's: 1 x 2,048 bytes = 2,048 bytes" in lines
    assert "  KV cache                                                0.42 GiB" in lines
    assert lines[-1] == "num_gpu_blocks: 36653 (586,448 tokens)"
    assert max(map(len, lines)) < 80


def test_the_json_document_has_the_same_figures(config: Path) -> None:
    options = ["--memory", "1GiB", "--overhead", "512MiB", "--format", "json"]
    document = json.loads(run("kv-blocks", "--model", config.parent, *options).stdout)

    assert document["num_gpu_blocks"] == 36_653
    assert (document["request_tokens"], document["request_blocks"]) == (16, 6)
    assert [(each["kind"], each["layers"], each["groups"]) for each in document["layers"]] == [
        ("sliding_window", 5, 5),
        ("full", 1, 1),
    ]
    memory = document["memory"]
    assert memory["usable"] - memory["weights"] - memory["overhead"] == memory["kv_cache"]
    assert sum(each["bytes_per_gpu"] for each in document["weights"]) == memory["weights"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--memory", "80GX"], "error: --memory is '80GX'; must be a size up to 1024TiB, such as 80GiB"),
        (
            ["--memory", "1GiB"],
            "error: --memory is too small: 0.92 of 1.00 GiB is 0.92 GiB, the weights take",
        ),
        (["--memory", "8GiB", "--tp", "3"], "error: --tp is 3; must divide the model's 4 attention heads"),
        (
            ["--memory", "8GiB", "--kv-cache-dtype", "x"],
            "error: --kv-cache-dtype is 'x'; must be one of auto",
        ),
    ],
)
def test_an_error_names_the_option(config: Path, options: list[str], message: str) -> None:
    result = run("kv-blocks", "--model", config, *options)

    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


def test_a_missing_field_is_named_with_its_file(config: Path) -> None:
    config.write_text(json.dumps(CONFIG | {"vocab_size": None}))
    result = run("kv-blocks", "--model", config, "--memory", "8GiB")

    assert result.exit_code == 2
    assert f"error: --model is {config}, which has no field vocab_size, which the calc" in result.stderr
