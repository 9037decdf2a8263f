"""One replay: the engine runs, and its steps and figures go where they were asked for."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TextIO, TypeVar

import typer

from tracesim.analysis.metrics import Metrics, Slo
from tracesim.analysis.report import (
    RequestReport,
    RunReport,
    Summary,
    measure_run,
    report_requests,
    report_to_json,
    requests_to_csv,
    summarize,
)
from tracesim.engine.llm_engine import LLMEngine
from tracesim.engine.outputs import StepRecord
from tracesim.engine.step_json import step_to_json
from tracesim.errors import TracesimError
from tracesim_cli.commands.replay_options import OutputFormat
from tracesim_cli.terminal.display import choose_display
from tracesim_cli.terminal.exit_codes import ExitCode, UnexpectedStepError
from tracesim_cli.terminal.output_files import atomic_writer
from tracesim_cli.terminal.streams import outliving_the_reader
from tracesim_cli.views.summary_view import MOST_TEXTS, print_summary

if TYPE_CHECKING:
    from tracesim_cli.commands.replay_charts import Pictures
    from tracesim_cli.commands.replay_expectation import Expectation
    from tracesim_cli.views.live_view import StepView

T = TypeVar("T")

_WITH_SUMMARY = ("table", "summary")


@dataclass(frozen=True, slots=True)
class Output:
    """What a replay is to show and to save, by flag. `delay` is in seconds after each step."""

    format: OutputFormat
    delay: float
    saved: Mapping[str, Path] = field(default_factory=dict)
    slo: Slo | None = None


class Figures:
    """What a run came to, each worked out once, when it is first asked for."""

    def __init__(self, engine: LLMEngine, slo: Slo | None) -> None:
        self._engine, self._slo = engine, slo

    @cached_property
    def summary(self) -> Summary:
        """The run at a glance."""
        return summarize(self._engine)

    @cached_property
    def metrics(self) -> Metrics | None:
        """How it kept pace; None without a clock."""
        return measure_run(self._engine, self._slo)

    @cached_property
    def requests(self) -> Sequence[RequestReport]:
        """A row for each request."""
        return report_requests(self._engine)


def run(
    engine: LLMEngine,
    output: Output,
    settings: Mapping[str, object],
    max_steps: int | None,
    expectation: Expectation | None = None,
) -> None:
    """Run the engine to its end. Files are written whole or, where the run ends early, not at all.

    A run that is interrupted or stopped still shows the summary of what it did, and raises what ended it.
    One that is not as expected stops at the first step that differs, and shows that. Where there are files to
    write, or steps to compare, it goes on to its end also when nobody reads standard output any more.
    """
    started = time.perf_counter()
    with ExitStack() as files:
        if output.saved or expectation:
            files.enter_context(outliving_the_reader())
        saved = {flag: files.enter_context(atomic_writer(path)) for flag, path in output.saved.items()}
        pictures = _pictures(engine, saved)
        try:
            with ExitStack() as view:
                writers = _writers(output, saved.get("--save-steps"))
                watchers: list[Callable[[StepRecord], object]] = [pictures.on_step] if pictures else []
                if output.format == "table":
                    watchers.append(view.enter_context(_view(engine, output.delay)).on_step)
                if watchers or expectation:
                    watchers += map(_as_json, writers)
                if expectation:
                    watchers.append(expectation.on_step)
                _run_engine(engine, watchers, writers, max_steps)
                if expectation:
                    expectation.finish()
        except UnexpectedStepError:
            _show_difference(expectation, output)
            sys.stdout.flush()
            raise typer.Exit(ExitCode.DIFFERENT) from None
        except (KeyboardInterrupt, TracesimError):
            _show_summary(Figures(engine, output.slo), output, time.perf_counter() - started)
            raise
        figures = Figures(engine, output.slo)
        if output.format in _WITH_SUMMARY:
            _show_summary(figures, output, time.perf_counter() - started, expectation)
        _write_report(figures, output, settings, saved)
        if pictures:
            pictures.write(settings, figures.summary, figures.metrics)


def _run_engine(
    engine: LLMEngine,
    watchers: Sequence[Callable[[StepRecord], object]],
    writers: Sequence[Callable[[bytes], object]],
    max_steps: int | None,
) -> None:
    """Run for those who watch; where nobody does, lines of JSON are made without the records."""
    if watchers:
        engine.run(_each(watchers), max_steps=max_steps)
    else:
        engine.run(write=_each(writers) if writers else None, max_steps=max_steps)


def _writers(output: Output, steps_file: BinaryIO | None) -> list[Callable[[bytes], object]]:
    """What is to be done with each step as a line of JSON."""
    writers: list[Callable[[bytes], object]] = []
    if output.format == "jsonl":
        writers.append(sys.stdout.buffer.write)
    if steps_file:
        writers.append(steps_file.write)
    if output.delay:
        writers.append(lambda _: _pause(output.delay))
    return writers


def _pictures(engine: LLMEngine, saved: Mapping[str, BinaryIO]) -> Pictures | None:
    """What draws the run, if any picture of it is to be saved."""
    page, perfetto = saved.get("--save-html"), saved.get("--save-perfetto")
    if page is None and perfetto is None:
        return None
    from tracesim_cli.commands.replay_charts import Pictures

    return Pictures(engine, page, perfetto)


def _as_json(write: Callable[[bytes], object]) -> Callable[[StepRecord], object]:
    return lambda record: write(step_to_json(record))


def _pause(seconds: float) -> None:
    sys.stdout.flush()
    time.sleep(seconds)


def _each(functions: Sequence[Callable[[T], object]]) -> Callable[[T], object]:
    """One function that hands what it gets to all of these."""
    if len(functions) == 1:
        return functions[0]

    def each(value: T) -> None:
        for function in functions:
            function(value)

    return each


def _view(engine: LLMEngine, delay: float) -> StepView:
    from tracesim_cli.views.live_view import open_view

    display = choose_display(os.environ, sys.stdout)
    blocks = engine.config.num_gpu_blocks
    return open_view(sys.stdout, display, requests=len(engine.requests), blocks=blocks, delay=delay)


def _write_report(
    figures: Figures, output: Output, settings: Mapping[str, object], saved: Mapping[str, BinaryIO]
) -> None:
    """The JSON report and the CSV of requests, wherever they were asked for."""
    if requests_file := saved.get("--save-requests"):
        requests_file.write(requests_to_csv(figures.requests))
    files = [sys.stdout.buffer] if output.format == "json" else []
    files += [saved["--save-report"]] if "--save-report" in saved else []
    if files:
        report = report_to_json(RunReport(settings, figures.summary, figures.requests, figures.metrics))
        for file in files:
            file.write(report)


def _show_difference(expectation: Expectation | None, output: Output) -> None:
    """The step that differs, on standard output unless that is for a machine to read."""
    assert expectation is not None
    stream = _for_people(output)
    if output.format == "table":
        stream.write("\n")
    expectation.print_difference(stream, choose_display(os.environ, stream))


def _for_people(output: Output) -> TextIO:
    return sys.stdout if output.format in _WITH_SUMMARY else sys.stderr


def _show_summary(
    figures: Figures, output: Output, elapsed: float, expectation: Expectation | None = None
) -> None:
    """The summary, on standard output unless that is for a machine to read; and whether all was expected."""
    stream = _for_people(output)
    if output.format == "table":
        stream.write("\n")
    summary = figures.summary
    requests = figures.requests if summary.requests <= MOST_TEXTS else []
    print_summary(stream, choose_display(os.environ, stream), summary, elapsed, requests, figures.metrics)
    if expectation:
        stream.write("\n")
        expectation.print_equal(stream, choose_display(os.environ, stream))
