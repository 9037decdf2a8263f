"""The run of a replay: the engine steps, and every output takes what it needs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from tracesim.engine.llm_engine import LLMEngine
from tracesim.engine.step_json import step_to_json
from tracesim.engine.step_records import StepRecord
from tracesim_cli.commands.replay_options import MAX_TOKENS_IN_ALL_ROWS, OutputOptions
from tracesim_cli.commands.replay_sinks import (
    DelaySink,
    ExplanationSink,
    LineSink,
    ReportSink,
    RequestsSink,
    RunFigures,
    Sink,
    SummarySink,
    TableSink,
)
from tracesim_cli.terminal.display import choose_display
from tracesim_cli.terminal.json_output import stdout_for_json
from tracesim_cli.terminal.output_files import atomic_writer
from tracesim_cli.terminal.streams import ignoring_closed_pipe

if TYPE_CHECKING:
    from tracesim.cluster.cluster import Cluster
    from tracesim_cli.views.row_view import StepView

T = TypeVar("T")


def run(
    engine: LLMEngine | Cluster, sinks: Sequence[Sink], figures: RunFigures, max_steps: int | None
) -> None:
    """Run the engine to its end, and let every sink take part. Raises what ends the run early."""
    try:
        _run_engine(engine, sinks, max_steps)
        for sink in sinks:
            sink.end_steps()
    except BaseException as error:
        for sink in sinks:
            sink.fail(error, figures)
        raise
    for sink in sinks:
        sink.finish(figures)


@contextmanager
def open_sinks(
    engine: LLMEngine | Cluster, options: OutputOptions, expectation: Sink | None = None
) -> Iterator[list[Sink]]:
    """Open every output that was asked for; the expectation is the last to take a step.

    Files are written whole when the block ends or, if it fails, not at all. If there are files to write or
    steps to compare, the run continues when nobody reads standard output any more.
    """
    with ExitStack() as stack:
        if expectation or any(options.files()):
            stack.enter_context(ignoring_closed_pipe())
        # First, so that an error comes before any output.
        files = list(_open_files(stack, engine, options))
        explanation = None
        if options.explain:
            assert isinstance(engine, LLMEngine), "a story is of one engine"
            explanation = ExplanationSink(engine, options.explain, options.output_format)
        sinks: list[Sink] = []
        if options.output_format == "table":
            sinks.append(TableSink(stack.enter_context(_open_table(engine, options))))
        if options.output_format == "jsonl":
            sinks.append(LineSink(stdout_for_json()))
        if options.output_format == "json":
            sinks.append(ReportSink(stdout_for_json()))
        if options.delay and options.output_format != "table":
            sinks.append(DelaySink(options.delay))
        sinks.append(SummarySink(options.output_format, quiet=options.quiet))
        if explanation:
            sinks.append(explanation)
        sinks += files
        yield [*sinks, expectation] if expectation else sinks


def _open_files(stack: ExitStack, engine: LLMEngine | Cluster, options: OutputOptions) -> Iterator[Sink]:
    """Yield a sink for each file to write, opened until `stack` is closed."""

    def opened(path: Path | None) -> BinaryIO | None:
        return stack.enter_context(atomic_writer(path)) if path else None

    if steps := opened(options.save_steps):
        yield LineSink(steps.write)
    if report := opened(options.save_report):
        yield ReportSink(report.write)
    if requests := opened(options.save_requests):
        yield RequestsSink(requests)
    page, perfetto = opened(options.save_html), opened(options.save_perfetto)
    if page or perfetto:
        from tracesim_cli.commands.replay_charts import ChartSink

        assert isinstance(engine, LLMEngine), "charts show one engine"
        yield ChartSink(engine, page, perfetto, quiet=options.quiet)


def _open_table(engine: LLMEngine | Cluster, options: OutputOptions) -> StepView:
    """Return the view that draws the table of steps."""
    from tracesim_cli.views.live_view import open_view

    display = choose_display(os.environ, sys.stdout)
    if options.quiet or len(engine.engines) > 1:  # the live view shows one engine
        display = display._replace(live=False)
    folds = options.rows == "events" or (options.rows == "auto" and _is_large(engine))
    return open_view(sys.stdout, display, engine.engines[0], folds=folds, delay=options.delay)


def _is_large(engine: LLMEngine | Cluster) -> bool:
    """Return whether the table of every step would be too long to read."""
    tokens = sum(progress.request.num_output_tokens for progress in engine.requests.values())
    return tokens > MAX_TOKENS_IN_ALL_ROWS


def _run_engine(engine: LLMEngine | Cluster, sinks: Sequence[Sink], max_steps: int | None) -> None:
    """Run the engine for the sinks that follow it. Lines alone are made without the records, and faster."""
    strides = [sink.on_stride for sink in sinks if sink.on_stride]
    on_stride = _each(strides) if strides else None
    if not any(sink.on_step for sink in sinks):
        lines = [sink.on_line for sink in sinks if sink.on_line]
        engine.run(write=_each(lines) if lines else None, on_stride=on_stride, max_steps=max_steps)
        return
    records: list[Callable[[StepRecord], object]] = []
    for sink in sinks:
        if sink.on_step:
            records.append(sink.on_step)
        elif sink.on_line:
            records.append(_as_line(sink.on_line))
    engine.run(_each(records), on_stride=on_stride, max_steps=max_steps)


def _as_line(on_line: Callable[[bytes], object]) -> Callable[[StepRecord], object]:
    return lambda record: on_line(step_to_json(record))


def _each(functions: Sequence[Callable[[T], object]]) -> Callable[[T], object]:
    """Return one function that calls all of these."""
    if len(functions) == 1:
        return functions[0]

    def each(value: T) -> None:
        for function in functions:
            function(value)

    return each
