"""The options of `tracesim replay`, each by vLLM's name where it has one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from tracesim.config import DEFAULTS, EngineName, SchedulingPolicy

OutputFormat = Literal["table", "jsonl", "json", "summary"]


def _option(panel: str, text: str, *names: str, **more: Any) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=panel, **more)


def _setting(name: str, text: str, *names: str) -> Any:
    """An engine's setting; its help tells the default, and the engines that know it where not all do."""
    defaults = {engine: known[name] for engine, known in DEFAULTS.items() if name in known}
    said = dict.fromkeys(_said(value) for value in defaults.values())
    notes = [f"default: {' or '.join(said)}"]
    if len(defaults) < len(DEFAULTS):
        notes.insert(0, f"{', '.join(defaults)} only")
    return _option("Engine", f"{text} [{'; '.join(notes)}]", *names)


def _said(default: object) -> str:
    if isinstance(default, bool):
        return "on" if default else "off"
    return "no limit" if default is None else str(default)


Traces = Annotated[
    list[str], typer.Argument(metavar="TRACE", help="JSONL files, .gz and .zst too; - is standard input.")
]
TokenizerName = Annotated[
    str,
    _option(
        "Trace",
        "embedded, char, byte, a tiktoken encoding or model name, or the path of a .tiktoken file, "
        "a tokenizer.json or its folder.",
    ),
]
Limit = Annotated[int | None, _option("Trace", "Replay the first N records only.", metavar="N", min=1)]
SkipInvalid = Annotated[bool, _option("Trace", "Leave invalid records out.", "--skip-invalid")]

MaxTokens = Annotated[int | None, _option("Responses", "Most output tokens of a request.")]
MinTokens = Annotated[int | None, _option("Responses", "Output tokens before a stop string may end it.")]
Stop = Annotated[list[str] | None, _option("Responses", "A stop string; may be repeated.", metavar="TEXT")]
IncludeStop = Annotated[
    bool, _option("Responses", "Keep the stop string in the output.", "--include-stop-str-in-output")
]

Engine = Annotated[EngineName, _option("Engine", "Whose scheduler decides.")]
MaxNumSeqs = Annotated[int | None, _setting("max_num_seqs", "Requests that may run at once.")]
MaxNumBatchedTokens = Annotated[int | None, _setting("max_num_batched_tokens", "Tokens in one step's batch.")]
MaxModelLen = Annotated[int | None, _setting("max_model_len", "Prompt plus output tokens of a request.")]
BlockSize = Annotated[int | None, _setting("block_size", "Tokens in a KV cache block.")]
NumGpuBlocks = Annotated[
    int | None,
    _setting("num_gpu_blocks", "KV cache blocks.", "--num-gpu-blocks", "--num-gpu-blocks-override"),
]
Watermark = Annotated[
    float | None, _setting("watermark", "Fraction of the KV blocks that admitting a request leaves free.")
]
EnablePrefixCaching = Annotated[
    bool | None, _setting("enable_prefix_caching", "Reuse the KV blocks of equal prefixes.")
]
EnableChunkedPrefill = Annotated[
    bool | None, _setting("enable_chunked_prefill", "Let a prompt take several steps.")
]
Policy = Annotated[SchedulingPolicy | None, _setting("scheduling_policy", "Who runs first.")]
LongPrefillTokenThreshold = Annotated[
    int | None, _setting("long_prefill_token_threshold", "Most tokens of one prompt in a step; 0: no limit.")
]
ReserveFullIsl = Annotated[
    bool | None, _setting("scheduler_reserve_full_isl", "Admit a request only where its whole prompt fits.")
]
MaxSteps = Annotated[
    int | None, _option("Engine", "Stop, with exit code 3, before step N.", metavar="N", min=1)
]

Format = Annotated[OutputFormat, _option("Output", "What goes to standard output.", "--format")]
Delay = Annotated[float, _option("Output", "Pause after each step, to watch.", metavar="SECONDS", min=0)]
SaveSteps = Annotated[
    Path | None, _option("Output", "Write the step records to a JSONL file.", metavar="FILE")
]
SaveReport = Annotated[Path | None, _option("Output", "Write the JSON report to a file.", metavar="FILE")]
