"""`tracesim compare`: the figures of several runs side by side, and which requests moved and why."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from tracesim.analysis.comparison import Whole, compare_reports
from tracesim.analysis.saved_report import SavedReport, read_report
from tracesim.errors import ConfigError
from tracesim_cli.commands.arguments import Force
from tracesim_cli.commands.compare_replays import ReplayInputs, is_profile, replay_profile
from tracesim_cli.commands.option_groups import GivenSettings, OptionGroup, with_option_groups
from tracesim_cli.commands.replay_options import InputOptions, file_option
from tracesim_cli.terminal.display import choose_display
from tracesim_cli.terminal.exit_codes import with_exit_codes
from tracesim_cli.terminal.json_output import stdout_for_json
from tracesim_cli.terminal.lines import print_lines
from tracesim_cli.terminal.output_files import atomic_writer, refuse_existing
from tracesim_cli.views.compare_document import format_json
from tracesim_cli.views.compare_view import MOST_REPORTS, format_comparison

MAX_MOVED = 1000

EPILOG = """\
Words after a change:
better, worse  the figure has a direction, such as a latency
+ and - alone  it has none, such as a number of requests

Example:
tracesim compare before.json after.json
tracesim compare vllm-serve big-batches.toml --trace trace.jsonl --clock constant:20ms

Exit codes:
0  done, whatever the reports have
1  the trace is invalid
2  wrong usage, or a file cannot be read"""


@dataclass(frozen=True)
class ReplayOptions(OptionGroup):
    """What is replayed for each profile, and what is measured."""

    title = "Replay of profiles"

    trace: Annotated[
        list[str] | None,
        typer.Option(help="Trace to replay with each profile. Repeatable.", metavar="TRACE"),
    ] = None
    slo: Annotated[
        str | None,
        typer.Option(
            help="Measure goodput: requests that meet these limits, such as ttft=500ms,tpot=50ms,e2e=10s.",
            metavar="LIMITS",
        ),
    ] = None


@dataclass(frozen=True)
class CompareOptions(OptionGroup):
    """What is compared, and how it is written."""

    title = "Output"

    by: Annotated[
        Whole,
        typer.Option(
            "--by",
            help="Time of a request that is compared: from its arrival to its last token, or to its first.",
        ),
    ] = "e2e"
    moved: Annotated[
        int,
        typer.Option(
            min=0, max=MAX_MOVED, metavar="N", help="Requests to name: those whose time changed most."
        ),
    ] = 10
    output_format: Annotated[
        Literal["text", "json"], typer.Option("--format", help="Format of the comparison.")
    ] = "text"
    save_html: Annotated[
        Path | None, file_option("Write a page of charts that opens offline. Needs the extra html.")
    ] = None
    force: Force = False
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print no notes.")] = False


@with_exit_codes
@with_option_groups
def compare(
    reports: Annotated[
        list[str],
        typer.Argument(
            metavar="REPORT|PROFILE",
            help="Reports of `replay --save-report`, plain or compressed (- is standard input), or profiles, "
            "which are replayed with --trace: TOML files, or names that `tracesim profiles` lists. The first "
            "is what the others are compared with.",
        ),
    ],
    options: ReplayOptions,
    inputs: InputOptions,
    given: GivenSettings,
    output: CompareOptions,
) -> None:
    """Compare the figures of runs: settings, latencies, and which requests moved most and why.

    Requests are matched by id. `tracesim diff` compares the steps of two runs.
    """
    if not 2 <= len(reports) <= MOST_REPORTS:
        problem = f"must be given 2 to {MOST_REPORTS} times, not {len(reports)}"
        raise ConfigError(problem, setting="REPORT|PROFILE")
    if reports.count("-") > 1:
        raise ConfigError("only one of the reports can be standard input")
    profiles = [each for each in reports if is_profile(each)]
    replays = ReplayInputs.checked(profiles, given, options.trace or [], inputs, options.slo)
    if output.save_html:
        from tracesim.charts.html import plotly_javascript

        plotly_javascript()
        refuse_existing(output.save_html, "--save-html", force=output.force)

    found: list[SavedReport] = [
        replay_profile(each, replays, quiet=output.quiet) if each in profiles else read_report(each)
        for each in reports
    ]
    comparison = compare_reports(found, whole=output.by, most_moved=output.moved)
    if output.output_format == "json":
        stdout_for_json()(format_json(comparison))
    else:
        display = choose_display(os.environ, sys.stdout)
        print_lines(sys.stdout, display, format_comparison(comparison, width=display.width))
    if output.save_html:
        from tracesim.charts.comparison_page import comparison_page
        from tracesim.charts.html import page_to_html

        with atomic_writer(output.save_html) as file:
            file.write(page_to_html(comparison_page(comparison)))
