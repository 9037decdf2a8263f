"""`tracesim kv-blocks`: how many KV cache blocks a GPU has memory for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from tracesim.kv_cache.model_config import read_model_config
from tracesim.kv_cache.sizing import MemorySettings, parse_size, size_kv_cache
from tracesim_cli.terminal.exit_codes import with_exit_codes
from tracesim_cli.terminal.json_output import stdout_for_json
from tracesim_cli.views.sizing_document import format_json
from tracesim_cli.views.sizing_view import format_sizing

EPILOG = """\
Example:
tracesim kv-blocks --model config.json --memory 80GiB

Exit codes:
0  the number of blocks is printed
2  wrong usage, the configuration cannot be used, or the memory is too small for the model"""


@with_exit_codes
def kv_blocks(
    model: Annotated[
        Path,
        typer.Option(metavar="FILE|DIR", help="The model's Hugging Face configuration, config.json."),
    ],
    memory: Annotated[str, typer.Option(metavar="SIZE", help="Memory of one GPU, such as 80GiB.")],
    tp: Annotated[int, typer.Option(min=1, max=1024, help="GPUs of tensor parallelism.")] = 1,
    utilization: Annotated[
        float, typer.Option(help="Share of the memory that vLLM uses: its --gpu-memory-utilization.")
    ] = 0.92,
    overhead: Annotated[
        str,
        typer.Option(
            metavar="SIZE",
            help="What activations, CUDA graphs and libraries take of one GPU: an assumption, which vLLM "
            "measures at its start.",
        ),
    ] = "2GiB",
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="Weights of one GPU; calculated from the configuration by default."
        ),
    ] = None,
    dtype: Annotated[
        str,
        typer.Option(
            metavar="DTYPE",
            help="Data type of the weights: bfloat16, float16, float32, fp8, int4, nvfp4 or mxfp4; auto is "
            "the configuration's.",
        ),
    ] = "auto",
    kv_cache_dtype: Annotated[
        str, typer.Option(metavar="DTYPE", help="Data type of the KV cache: auto, bfloat16, float16 or fp8.")
    ] = "auto",
    block_size: Annotated[int, typer.Option(min=1, max=4096, help="Tokens of a block.")] = 16,
    request_tokens: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1 << 40,
            help="Length of a request for which blocks of layers with a sliding window are counted; within "
            "the window by default.",
        ),
    ] = None,
    output_format: Annotated[
        Literal["text", "json"], typer.Option("--format", help="How to write the calculation.")
    ] = "text",
) -> None:
    """Calculate num_gpu_blocks from a model's configuration and a GPU's memory, and show how.

    Multi-head, grouped-query and multi-head latent attention and sliding windows are counted as vLLM 0.32
    counts them. vLLM measures what the weights and a trial run take; here the first is calculated and the
    second assumed.
    """
    config = read_model_config(model)
    sizing = size_kv_cache(
        config,
        MemorySettings(
            memory=parse_size("memory", memory),
            utilization=utilization,
            overhead=parse_size("overhead", overhead),
            weights=None if weights is None else parse_size("weights", weights),
            tp=tp,
            dtype=dtype,
            kv_cache_dtype=kv_cache_dtype,
            block_size=block_size,
            request_tokens=request_tokens,
        ),
    )
    if output_format == "json":
        stdout_for_json()(format_json(config, sizing))
        return
    for line in format_sizing(config, sizing):
        typer.echo(line)
