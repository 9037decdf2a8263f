"""`tracesim replay`: run a trace through an engine and show what happens."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from tracesim.analysis.metrics import Slo, parse_slo
from tracesim.config import EngineArgs
from tracesim.engine.llm_engine import LLMEngine
from tracesim.errors import ConfigError
from tracesim.responses.sampling_params import SamplingParams
from tracesim.responses.simulator import TraceSimulator
from tracesim.timing.arrival_process import parse_arrivals
from tracesim.timing.clock import Clock, parse_clock
from tracesim.tokenizers.loading import LazyTokenizer
from tracesim_cli.commands import replay_options as options
from tracesim_cli.commands.arguments import SkipInvalid, TokenizerName, TraceFormat, Traces
from tracesim_cli.commands.replay_loading import Loader
from tracesim_cli.commands.replay_run import Output, run
from tracesim_cli.terminal.exit_codes import with_exit_codes

if TYPE_CHECKING:
    from tracesim_cli.commands.replay_expectation import Expectation


@with_exit_codes
def replay(
    traces: Traces,
    trace_format: TraceFormat = None,
    tokenizer: TokenizerName = "embedded",
    limit: options.Limit = None,
    skip_invalid: SkipInvalid = False,
    max_tokens: options.MaxTokens = None,
    min_tokens: options.MinTokens = None,
    stop: options.Stop = None,
    include_stop_str_in_output: options.IncludeStop = False,
    eos_step: options.EosStep = False,
    engine: options.Engine = "simple",
    max_num_seqs: options.MaxNumSeqs = None,
    max_num_batched_tokens: options.MaxNumBatchedTokens = None,
    max_model_len: options.MaxModelLen = None,
    block_size: options.BlockSize = None,
    num_gpu_blocks: options.NumGpuBlocks = None,
    watermark: options.Watermark = None,
    enable_prefix_caching: options.EnablePrefixCaching = None,
    enable_chunked_prefill: options.EnableChunkedPrefill = None,
    scheduling_policy: options.Policy = None,
    long_prefill_token_threshold: options.LongPrefillTokenThreshold = None,
    scheduler_reserve_full_isl: options.ReserveFullIsl = None,
    clock: options.ClockName = "steps",
    arrivals: options.ArrivalsName = "trace",
    speedup: options.Speedup = 1.0,
    seed: options.Seed = 0,
    slo: options.SloText = None,
    max_steps: options.MaxSteps = None,
    output_format: options.Format = "table",
    delay: options.Delay = 0.0,
    save_steps: options.SaveSteps = None,
    save_report: options.SaveReport = None,
    save_requests: options.SaveRequests = None,
    save_html: options.SaveHtml = None,
    save_perfetto: options.SavePerfetto = None,
    expect: options.Expect = None,
    ignore: options.Ignore = None,
    case: options.Case = None,
) -> None:
    """Replay recorded responses through an engine, one token a request a step.

    A flag wins over the trace's own field. A setting that the engine does not know is an error.
    """
    config = EngineArgs(
        engine=engine,
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=max_num_batched_tokens,
        max_model_len=max_model_len,
        block_size=block_size,
        num_gpu_blocks=num_gpu_blocks,
        watermark=watermark,
        enable_prefix_caching=enable_prefix_caching,
        enable_chunked_prefill=enable_chunked_prefill,
        scheduling_policy=scheduling_policy,
        long_prefill_token_threshold=long_prefill_token_threshold,
        scheduler_reserve_full_isl=scheduler_reserve_full_isl,
    ).create_engine_config()
    params = SamplingParams(max_tokens, min_tokens, stop or None, include_stop_str_in_output)
    expectation = _expectation(
        expect, ignore, case, prefix_caching=bool(config.enable_prefix_caching), traces=traces
    )
    timed = parse_clock(clock)
    limits = _slo(slo, timed)
    saved = {
        "--save-steps": save_steps,
        "--save-report": save_report,
        "--save-requests": save_requests,
        "--save-html": save_html,
        "--save-perfetto": save_perfetto,
    }
    output = Output(output_format, delay, {flag: path for flag, path in saved.items() if path}, limits)
    _check_targets([*traces, clock, *([expect] if expect else [])], output.saved)
    if save_html:
        from tracesim.charts.html import plotly_javascript

        plotly_javascript()  # where there is none, better said now than after the run
    settings = {
        **config.known(),
        "tokenizer": tokenizer,
        "max_tokens": max_tokens,
        "min_tokens": min_tokens,
        "stop": stop or None,
        "include_stop_str_in_output": include_stop_str_in_output,
        "eos_step": eos_step,
        **_pace(clock, arrivals, speedup, seed),
    }
    simulator = TraceSimulator([], LazyTokenizer(tokenizer), eos_step=eos_step)
    process = parse_arrivals(arrivals, speedup, seed)
    llm_engine = LLMEngine(config, simulator, clock=timed, arrivals=process)
    notes_times = timed is None and process.kind == "trace"
    loader = Loader(llm_engine, params, skip_invalid=skip_invalid, notes_times=notes_times)
    loader.load(traces, limit, trace_format)
    run(llm_engine, output, settings, max_steps, expectation)


def _slo(text: str | None, clock: Clock | None) -> Slo | None:
    if text is not None and clock is None:
        raise typer.BadParameter("needs a clock; choose one with --clock", param_hint="--slo")
    return None if text is None else parse_slo(text)


def _pace(clock: str, arrivals: str, speedup: float, seed: int) -> dict[str, object]:
    """The settings of time for a report, where it is not all as it would be without any."""
    given = {"clock": clock, "arrivals": arrivals, "speedup": speedup, "seed": seed}
    unsaid = {"clock": "steps", "arrivals": "trace", "speedup": 1.0, "seed": 0}
    return {} if given == unsaid else given


def _expectation(
    path: str | None,
    ignore: list[str] | None,
    case: str | None,
    *,
    prefix_caching: bool,
    traces: Sequence[str],
) -> Expectation | None:
    """What the run is to be equal to, if anything. Options that say nothing without it are wrong usage."""
    if path is None:
        if ignore or case is not None:
            raise typer.BadParameter("needs --expect", param_hint="--ignore" if ignore else "--case")
        return None
    if path == "-" and "-" in traces:
        raise typer.BadParameter(
            "only one of trace and step log can be standard input", param_hint="--expect"
        )
    from tracesim_cli.commands.replay_expectation import Expectation

    expectation = Expectation(path, case, ignore or (), prefix_caching=prefix_caching)
    if case is not None and not expectation.is_golden:
        raise typer.BadParameter(f"{path} is no golden file", param_hint="--case")
    return expectation


def _check_targets(read: Sequence[str], saved: Mapping[str, Path]) -> None:
    """Raise ConfigError where saving one file, by its flag, would destroy another."""
    sources = {os.path.realpath(path) for path in read if path != "-"}
    flags: dict[str, str] = {}
    for flag, path in saved.items():
        if _is_device(path):
            continue
        target = os.path.realpath(path)
        if target in sources:
            raise ConfigError(f"{path} is read and would be written over; name another file")
        if target in flags:
            raise ConfigError(f"{flags[target]} and {flag} would both be written to {path}")
        flags[target] = flag


def _is_device(path: Path) -> bool:
    return os.path.realpath(path).startswith("/dev/")
