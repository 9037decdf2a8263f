"""The options of `tracesim replay` that are not settings of the library, in groups."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from tracesim.errors import ConfigError
from tracesim.limits import MAX_STEP
from tracesim.timing.clock import PER_SECOND, parse_duration
from tracesim_cli.commands.arguments import Case, Force, Ignore, SkipInvalid, TraceFormat
from tracesim_cli.commands.option_groups import OptionGroup
from tracesim_cli.terminal.output_files import is_special, refuse_existing

OutputFormat = Literal["table", "jsonl", "json", "summary"]
RowKind = Literal["auto", "all", "events"]

MAX_TOKENS_IN_ALL_ROWS = 10_000
"""The most output tokens of a trace whose table has a row for each step, unless `--rows` chooses."""

MAX_DELAY = 3600.0
"""The longest pause after a step, in seconds."""


def _parse_delay(text: str) -> float:
    try:
        seconds = parse_duration("delay", text) / PER_SECOND
    except ConfigError as error:
        raise typer.BadParameter(error.problem) from None
    if seconds > MAX_DELAY:
        raise typer.BadParameter(f"is {text!r}; must be at most {MAX_DELAY:g} seconds")
    return seconds


def _check_file(path: Path | None) -> Path | None:
    if str(path) == "-":
        raise typer.BadParameter("must be a file; --format chooses what standard output gets")
    if str(path) == ".":
        raise typer.BadParameter("is a folder or empty; must be a file")
    return path


def file_option(text: str) -> Any:
    """Return the option for a file to write."""
    return typer.Option(help=text, metavar="FILE", callback=_check_file)


@dataclass(frozen=True)
class InputOptions(OptionGroup):
    """Which records of the traces are replayed."""

    title = "Input"

    trace_format: TraceFormat = None
    limit: Annotated[
        int | None,
        typer.Option(
            help="Replay only the first N records; of several files, those that arrive first.",
            metavar="N",
            min=1,
            max=MAX_STEP,
        ),
    ] = None
    skip_invalid: SkipInvalid = False


@dataclass(frozen=True)
class TimeOptions(OptionGroup):
    """What is measured under a clock, and how long the replay may be."""

    title = "Time"

    slo: Annotated[
        str | None,
        typer.Option(
            help="Measure goodput: requests that meet these limits, such as ttft=500ms,tpot=50ms,e2e=10s.",
            metavar="LIMITS",
        ),
    ] = None
    max_steps: Annotated[
        int | None,
        typer.Option(
            help="Stop after N steps with exit code 3; idle steps do not count.",
            metavar="N",
            min=1,
            max=MAX_STEP,
        ),
    ] = None


@dataclass(frozen=True)
class OutputOptions(OptionGroup):
    """What is written to standard output and into files."""

    title = "Output"

    output_format: Annotated[
        OutputFormat,
        typer.Option(
            "--format",
            help="Standard output: the table of steps and the summary, JSON step records, a JSON report, or "
            "the summary alone.",
        ),
    ] = "table"
    rows: Annotated[
        RowKind,
        typer.Option(
            help="The rows of the table: all steps, or events, with the steps between them folded. "
            f"auto: events where the responses have more than {MAX_TOKENS_IN_ALL_ROWS:,} tokens in all."
        ),
    ] = "auto"
    delay: Annotated[
        float,
        typer.Option(
            help="Pause after each row or step, such as 5ms or 0.2 (seconds); at most 3600 seconds.",
            metavar="DURATION",
            parser=_parse_delay,
        ),
    ] = 0.0
    explain: Annotated[
        list[str] | None,
        typer.Option(
            help="Print the story of this request: why it waited, what was computed when, how it ended. "
            "Repeatable.",
            metavar="ID",
        ),
    ] = None
    save_steps: Annotated[Path | None, file_option("Write a JSON step record per line.")] = None
    save_report: Annotated[Path | None, file_option("Write the JSON report.")] = None
    save_requests: Annotated[Path | None, file_option("Write a CSV row per request.")] = None
    save_html: Annotated[
        Path | None, file_option("Write a page of charts that opens offline. Needs the extra html.")
    ] = None
    save_perfetto: Annotated[Path | None, file_option("Write the run for ui.perfetto.dev.")] = None
    force: Force = False
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print no notes, and the table without a live view.")
    ] = False

    def files(self) -> Iterator[tuple[str, Path]]:
        """Yield the files to write, each with its option."""
        for each in fields(self):
            path = getattr(self, each.name)
            if each.name.startswith("save_") and path is not None:
                yield f"--{each.name.replace('_', '-')}", path

    def check_replicas(self, *, expect: str | None) -> None:
        """Raise ConfigError if an output is asked for that only one engine has."""
        asked = {
            "--save-html": self.save_html,
            "--save-perfetto": self.save_perfetto,
            "--explain": self.explain,
            "--expect": expect,
        }
        for option, value in asked.items():
            if value:
                raise ConfigError("is for one engine; give no --replicas with it", setting=option)

    def check_files(self, inputs: Sequence[str]) -> None:
        """Raise ConfigError if a file is an input, is named twice or exists, or if a package is missing."""
        if self.save_html:
            from tracesim.charts.html import plotly_javascript

            plotly_javascript()
        sources = {os.path.realpath(path) for path in inputs if path != "-"}
        targets: dict[str, str] = {}
        for option, path in self.files():
            target = os.path.realpath(path)
            if is_special(path):
                continue
            if target in sources:
                raise ConfigError(f"{option}: {path} is an input of this replay; name another file")
            if target in targets:
                raise ConfigError(f"{targets[target]} and {option} both name {path}; name different files")
            targets[target] = option
            refuse_existing(path, option, force=self.force)


@dataclass(frozen=True)
class ComparisonOptions(OptionGroup):
    """What the figures and the steps of the replay are compared with."""

    title = "Comparison"

    require: Annotated[
        list[str] | None,
        typer.Option(
            help="End with exit code 1 if a figure of the run is not within a limit, such as "
            "'ttft.p99<=500ms' or 'slo_attainment>=99%'. Repeatable.",
            metavar="LIMIT",
        ),
    ] = None

    expect: Annotated[
        str | None,
        typer.Option(help="Stop at the first step that differs from this step log.", metavar="FILE"),
    ] = None
    ignore: Ignore = None
    case: Case = None
