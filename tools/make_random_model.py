"""Write the folder of a small Llama model, which vLLM fills with random weights: `--load-format dummy`.

    python tools/make_random_model.py FOLDER

With its tokenizer it has some 30 million parameters, so that a forward pass on one core of a CPU takes
milliseconds. Its answers mean nothing; its steps take the time that steps of a real model take.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tracesim.vllm.model_folder import model_files

SHAPE: dict[str, Any] = {
    "hidden_size": 512,
    "intermediate_size": 1280,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "torch_dtype": "float32",
    "max_position_embeddings": 4096,
}


def main(folder: str) -> None:
    """Write the files of the model, and print how many parameters it has."""
    files = model_files()
    config = {**json.loads(files["config.json"]), **SHAPE}
    files["config.json"] = json.dumps(config, indent=2).encode() + b"\n"
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (Path(folder) / name).write_bytes(content)
    print(f"{folder}: {num_parameters(config) / 1e6:.1f} million parameters")


def num_parameters(config: dict[str, Any]) -> int:
    """Return the number of parameters of a Llama model whose input and output embeddings are the same."""
    hidden, head = config["hidden_size"], config["head_dim"]
    attention = hidden * head * (2 * config["num_attention_heads"] + 2 * config["num_key_value_heads"])
    layer = attention + 3 * hidden * config["intermediate_size"] + 2 * hidden
    return int(config["num_hidden_layers"] * layer + config["vocab_size"] * hidden + hidden)


if __name__ == "__main__":
    main(*sys.argv[1:])
