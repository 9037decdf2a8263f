"""`tracesim replay`: run a trace through an engine and show what happens."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from tracesim.config import EngineArgs
from tracesim.errors import ConfigError
from tracesim.sampling import SamplingParams
from tracesim_cli import options
from tracesim_cli.exits import with_exit_codes
from tracesim_cli.loading import load_engine, load_trace
from tracesim_cli.run import Output, run


@with_exit_codes
def replay(
    traces: options.Traces,
    tokenizer: options.TokenizerName = "embedded",
    limit: options.Limit = None,
    skip_invalid: options.SkipInvalid = False,
    max_tokens: options.MaxTokens = None,
    min_tokens: options.MinTokens = None,
    stop: options.Stop = None,
    include_stop_str_in_output: options.IncludeStop = False,
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
    max_steps: options.MaxSteps = None,
    output_format: options.Format = "table",
    delay: options.Delay = 0.0,
    save_steps: options.SaveSteps = None,
    save_report: options.SaveReport = None,
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
    _check_targets(traces, [path for path in (save_steps, save_report) if path])
    settings = {
        **config.known(),
        "tokenizer": tokenizer,
        "max_tokens": max_tokens,
        "min_tokens": min_tokens,
        "stop": stop or None,
        "include_stop_str_in_output": include_stop_str_in_output,
    }
    loaded = load_trace(traces, limit)
    llm_engine = load_engine(loaded, config, tokenizer, params, skip_invalid=skip_invalid)
    run(llm_engine, Output(output_format, delay, save_steps, save_report), settings, max_steps)


def _check_targets(traces: Sequence[str], targets: Sequence[Path]) -> None:
    """Raise ConfigError where saving one file would destroy another."""
    taken = {os.path.realpath(trace): trace for trace in traces if trace != "-"}
    for target in targets:
        real = os.path.realpath(target)
        if real in taken and not real.startswith("/dev/"):
            raise ConfigError(f"{target} would be written over {taken[real]}; name another file")
        taken[real] = str(target)
