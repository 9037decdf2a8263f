"""One replay: the engine runs, and its steps and figures go where they were asked for."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tracesim.errors import TracesimError
from tracesim.llm_engine import LLMEngine
from tracesim.outputs import StepRecord
from tracesim.report import RunReport, report_requests, report_to_json, step_to_json, summarize
from tracesim_cli.live_view import StepView, choose_display, open_view
from tracesim_cli.options import OutputFormat
from tracesim_cli.output_files import atomic_writer
from tracesim_cli.summary_view import MOST_TEXTS, print_summary

StepSink = Callable[[StepRecord], object]

_WITH_SUMMARY = ("table", "summary")


@dataclass(frozen=True, slots=True)
class Output:
    """What a replay is to show and to save. `delay` is in seconds after each step."""

    format: OutputFormat
    delay: float
    save_steps: Path | None
    save_report: Path | None


def run(engine: LLMEngine, output: Output, settings: Mapping[str, object], max_steps: int | None) -> None:
    """Run the engine to its end. Files are written whole or, where the run ends early, not at all.

    A run that is interrupted or stopped still shows the summary of what it did, and raises what ended it.
    """
    started = time.perf_counter()
    with ExitStack() as files:
        steps_file = files.enter_context(atomic_writer(output.save_steps)) if output.save_steps else None
        report_file = files.enter_context(atomic_writer(output.save_report)) if output.save_report else None
        try:
            with ExitStack() as view:
                engine.run(_all(_sinks(engine, output, steps_file, view)), max_steps=max_steps)
        except (KeyboardInterrupt, TracesimError):
            _show_summary(engine, output, time.perf_counter() - started)
            raise
        if output.format in _WITH_SUMMARY:
            _show_summary(engine, output, time.perf_counter() - started)
        if output.format == "json" or report_file:
            report = report_to_json(RunReport(settings, summarize(engine), report_requests(engine)))
            if output.format == "json":
                sys.stdout.buffer.write(report)
            if report_file:
                report_file.write(report)


def _sinks(engine: LLMEngine, output: Output, steps_file: BinaryIO | None, view: ExitStack) -> list[StepSink]:
    """Everything that wants each step, in the order in which it gets it."""
    sinks: list[StepSink] = []
    if output.format == "table":
        sinks.append(view.enter_context(_view(engine, output.delay)).on_step)
    if output.format == "jsonl":
        sinks.append(lambda record: sys.stdout.buffer.write(step_to_json(record)))
    if steps_file:
        sinks.append(lambda record: steps_file.write(step_to_json(record)))
    if output.delay:
        sinks.append(lambda _: _pause(output.delay))
    return sinks


def _pause(seconds: float) -> None:
    sys.stdout.flush()
    time.sleep(seconds)


def _all(sinks: list[StepSink]) -> StepSink | None:
    if len(sinks) <= 1:
        return sinks[0] if sinks else None

    def each(record: StepRecord) -> None:
        for sink in sinks:
            sink(record)

    return each


def _view(engine: LLMEngine, delay: float) -> StepView:
    display = choose_display(os.environ, sys.stdout)
    blocks = engine.config.num_gpu_blocks
    return open_view(sys.stdout, display, requests=len(engine.requests), blocks=blocks, delay=delay)


def _show_summary(engine: LLMEngine, output: Output, elapsed: float) -> None:
    """The summary, on standard output unless that is for a machine to read."""
    stream = sys.stdout if output.format in _WITH_SUMMARY else sys.stderr
    if output.format == "table":
        stream.write("\n")
    requests = report_requests(engine) if len(engine.requests) <= MOST_TEXTS else []
    print_summary(stream, choose_display(os.environ, stream), summarize(engine), elapsed, requests)
