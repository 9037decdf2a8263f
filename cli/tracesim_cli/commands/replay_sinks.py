"""The outputs of a replay, a small sink for each: what it does with a step, and what at the end."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING, BinaryIO, TextIO

from tracesim.analysis.explanation import Explainer
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
from tracesim.engine.step_records import StepRecord
from tracesim.engine.stride_records import StrideRecord
from tracesim.errors import ConfigError, TracesimError
from tracesim_cli.commands.replay_options import OutputFormat
from tracesim_cli.terminal.display import choose_display
from tracesim_cli.terminal.exit_codes import StoppedByUserError
from tracesim_cli.terminal.lines import print_lines
from tracesim_cli.terminal.text import quoted
from tracesim_cli.views.run_view import RunSettings
from tracesim_cli.views.story_view import format_story
from tracesim_cli.views.summary_view import MAX_TEXTS, print_summary

if TYPE_CHECKING:
    from tracesim.cluster.cluster import Cluster
    from tracesim_cli.views.row_view import StepView


class RunFigures:
    """What was run, and the figures of the run, each computed when it is first asked for."""

    def __init__(self, engine: LLMEngine | Cluster, settings: RunSettings, slo: Slo | None) -> None:
        self.settings = settings
        self.slo = slo
        self._engine = engine

    @cached_property
    def summary(self) -> Summary:
        """The totals of the run."""
        return summarize(self._engine)

    @cached_property
    def metrics(self) -> Metrics | None:
        """Latency and throughput; None without a clock."""
        return measure_run(self._engine, self.slo)

    @cached_property
    def requests(self) -> Sequence[RequestReport]:
        """A row for each request."""
        return report_requests(self._engine)

    @cached_property
    def report(self) -> bytes:
        """The JSON report."""
        return report_to_json(RunReport(self.settings.config(), self.summary, self.requests, self.metrics))


class Sink:
    """An output of a replay, which does nothing yet.

    A sink that takes steps has `on_step` for their records, or `on_line` for their lines of JSON. One that
    takes only what changes has `on_stride`.
    """

    on_stride: Callable[[StrideRecord], object] | None = None
    on_step: Callable[[StepRecord], object] | None = None
    on_line: Callable[[bytes], object] | None = None

    def end_steps(self) -> None:
        """Do what is due after the last step."""

    def fail(self, error: BaseException, figures: RunFigures) -> None:
        """Do what is due when `error` has ended the replay early; the figures are those so far."""

    def finish(self, figures: RunFigures) -> None:
        """Write what is due at the end of a complete replay, after `end_steps` of every sink."""


class TableSink(Sink):
    """The table of steps."""

    def __init__(self, view: StepView) -> None:
        self._view = view
        self.on_step = view.on_step
        self.on_stride = view.on_stride

    def end_steps(self) -> None:
        """Draw the rows that are left, and an empty line below the table."""
        self._view.finish()
        sys.stdout.write("\n")

    def fail(self, error: BaseException, figures: RunFigures) -> None:
        """End the table as `end_steps` does, unless the stream itself has failed."""
        self._view.__exit__(type(error), error, None)
        if not isinstance(error, OSError):
            sys.stdout.write("\n")


class LineSink(Sink):
    """JSON step records, one per line."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self.on_line = write


class DelaySink(Sink):
    """A pause after each step, where no view makes it after each row."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.on_line = self._pause

    def _pause(self, _line: bytes) -> None:
        sys.stdout.flush()
        time.sleep(self._seconds)


class SummarySink(Sink):
    """The summary of the run, for people: at its end, or with the figures so far where it ends early.

    It has the speed only on a terminal, so that equal runs write equal text to a pipe or a file.
    """

    def __init__(self, output_format: OutputFormat, *, quiet: bool = False) -> None:
        """With `quiet` nothing is printed on standard error."""
        self._format = output_format
        self._quiet = quiet
        self._started = time.perf_counter()

    def fail(self, error: BaseException, figures: RunFigures) -> None:
        """Print the summary if the user or the engine has stopped the run."""
        is_stopped = isinstance(error, (KeyboardInterrupt, StoppedByUserError, TracesimError))
        if is_stopped and (is_for_people(self._format) or not self._quiet):
            self._print(figures)

    def finish(self, figures: RunFigures) -> None:
        """Print the summary unless standard output is for a program."""
        if is_for_people(self._format):
            self._print(figures)

    def _print(self, figures: RunFigures) -> None:
        stream = people_stream(self._format)
        elapsed = time.perf_counter() - self._started if stream.isatty() else None
        requests = figures.requests if figures.summary.requests <= MAX_TEXTS else []
        print_summary(
            stream,
            choose_display(os.environ, stream),
            figures.summary,
            elapsed,
            requests,
            figures.metrics,
            figures.settings.rows(),
        )


class ExplanationSink(Sink):
    """The stories of some requests, for people, after the summary."""

    def __init__(self, engine: LLMEngine, request_ids: Sequence[str], output_format: OutputFormat) -> None:
        """Raise ConfigError for an id that the engine does not have."""
        for request_id in request_ids:
            if request_id not in engine.requests:
                nearest = get_close_matches(request_id, engine.requests, n=1)
                advice = f"; the nearest id is {quoted(nearest[0])}" if nearest else ""
                raise ConfigError(
                    f"is {quoted(request_id)}, which is no request of the replay{advice}", setting="--explain"
                )
        self._explainer = Explainer(engine, request_ids)
        self._format = output_format
        self.on_stride = self._explainer.on_stride

    def fail(self, error: BaseException, figures: RunFigures) -> None:
        """Print the stories so far if the user or the engine has stopped the run."""
        if isinstance(error, (KeyboardInterrupt, StoppedByUserError, TracesimError)):
            self._print()

    def finish(self, figures: RunFigures) -> None:
        """Print the stories."""
        self._print()

    def _print(self) -> None:
        stream = people_stream(self._format)
        display = choose_display(os.environ, stream)
        for story in self._explainer.stories:
            lines = format_story(story, self._explainer.latency(story), width=display.width)
            print_lines(stream, display, [[], *lines])


class ReportSink(Sink):
    """The JSON report."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write

    def finish(self, figures: RunFigures) -> None:
        """Write the report."""
        self._write(figures.report)


class RequestsSink(Sink):
    """A CSV file with a row for each request."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def finish(self, figures: RunFigures) -> None:
        """Write the rows."""
        self._file.write(requests_to_csv(figures.requests))


def people_stream(output_format: OutputFormat) -> TextIO:
    """Return the stream for text that people read: standard output unless that is data for a program."""
    return sys.stdout if is_for_people(output_format) else sys.stderr


def is_for_people(output_format: OutputFormat) -> bool:
    """Return whether standard output is text for people."""
    return output_format in ("table", "summary")
