"""The options of `tracesim replay`, each by vLLM's name where it has one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from tracesim.config import DEFAULTS, EngineName, SchedulingPolicy

OutputFormat = Literal["table", "jsonl", "json", "summary"]


LONGEST_DELAY = 3600.0


def _option(text: str, *names: str, **more: Any) -> Any:
    return typer.Option(*names, help=text, **more)


def _setting(name: str, text: str, *names: str) -> Any:
    """An engine's setting; its help tells the default, and the engines that know it where not all do."""
    defaults = {engine: known[name] for engine, known in DEFAULTS.items() if name in known}
    said = dict.fromkeys(_said(value) for value in defaults.values())
    notes = [f"default: {' or '.join(said)}"]
    if len(defaults) < len(DEFAULTS):
        notes.insert(0, f"{', '.join(defaults)} only")
    return _option(f"{text} [{'; '.join(notes)}]", *names)


def _said(default: object) -> str:
    if isinstance(default, bool):
        return "on" if default else "off"
    return "no limit" if default is None else str(default)


def _some_seconds(seconds: float) -> float:
    if not 0 <= seconds <= LONGEST_DELAY:
        raise typer.BadParameter(f"{seconds:g} is not accepted; must be 0 to {LONGEST_DELAY:g} seconds")
    return seconds


def _saved(text: str, output_format: OutputFormat | None = None) -> Any:
    """A file to write; what `output_format` writes to standard output, if there is such a format."""
    hint = f"; use --format {output_format} for standard output" if output_format else ""

    def no_stream(path: Path | None) -> Path | None:
        if str(path) == "-":
            raise typer.BadParameter(f"takes a file{hint}")
        if str(path) == ".":
            raise typer.BadParameter("is a folder, or empty; name a file")
        return path

    return _option(text, metavar="FILE", callback=no_stream)


def _over_zero(factor: float) -> float:
    if not 0 < factor < float("inf"):
        raise typer.BadParameter(f"{factor:g} is not accepted; must be over 0")
    return factor


def _known_fields(names: Any) -> Any:
    if not names:
        return names
    from tracesim.analysis.step_diff import IGNORABLE

    for name in names:
        if name not in IGNORABLE:
            raise typer.BadParameter(f"{name!r} is no field of a step; known are {', '.join(IGNORABLE)}")
    return names


Limit = Annotated[int | None, _option("Replay the first N records only.", metavar="N", min=1)]

MaxTokens = Annotated[int | None, _option("Most output tokens of a request.")]
MinTokens = Annotated[int | None, _option("Output tokens before a stop string may end it.")]
Stop = Annotated[list[str] | None, _option("A stop string; may be repeated.", metavar="TEXT")]
IncludeStop = Annotated[bool, _option("Keep the stop string in the output.", "--include-stop-str-in-output")]
EosStep = Annotated[
    bool, _option("End each response with an end-of-sequence token, as a model does.", "--eos-step")
]

Engine = Annotated[EngineName, _option("Whose scheduler decides.")]
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
ClockName = Annotated[
    str,
    _option(
        "How long a step takes: steps (no time, only steps), constant:20ms, linear:base=5ms,decode=80us "
        "(also prefill and context), or a .toml file."
    ),
]
ArrivalsName = Annotated[
    str,
    _option(
        "When requests arrive: trace, asap, poisson:RATE, constant:RATE (a second; a step without a clock) "
        "or closed:USERS."
    ),
]
Speedup = Annotated[
    float, _option("Let requests arrive so many times faster.", metavar="FACTOR", callback=_over_zero)
]
Seed = Annotated[int, _option("Draws random arrivals; the same seed, the same arrivals.")]
SloText = Annotated[
    str | None,
    _option("Count requests that keep limits, such as ttft=500ms,tpot=50ms.", "--slo", metavar="LIMITS"),
]
MaxSteps = Annotated[
    int | None, _option("Stop, with exit code 3, after N steps, idle ones not counted.", metavar="N", min=1)
]

Format = Annotated[OutputFormat, _option("What goes to standard output.", "--format")]
Delay = Annotated[
    float,
    _option("Pause after each step, to watch; at most 3600.", metavar="SECONDS", callback=_some_seconds),
]
SaveSteps = Annotated[Path | None, _saved("Write the step records to a JSONL file.", "jsonl")]
SaveReport = Annotated[Path | None, _saved("Write the JSON report to a file.", "json")]
SaveHtml = Annotated[Path | None, _saved("Write a page of charts that opens offline; needs the extra html.")]
SavePerfetto = Annotated[Path | None, _saved("Write a trace of the run for ui.perfetto.dev.")]

SaveRequests = Annotated[Path | None, _saved("Write a row for each request to a CSV file.")]

Expect = Annotated[
    str | None,
    _option("A step log that the run is to be equal to; it stops where it is not.", metavar="FILE"),
]
Ignore = Annotated[
    list[str] | None,
    _option(
        "Compare without a field, such as free_blocks or emitted.text; may be repeated.",
        metavar="FIELD",
        callback=_known_fields,
    ),
]
Case = Annotated[str | None, _option("Which case of a golden file is meant.", metavar="NAME")]
