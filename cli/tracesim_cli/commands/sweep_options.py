"""The options of `tracesim sweep`, in groups."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from tracesim_cli.commands.arguments import Force
from tracesim_cli.commands.completion import offering, profile_names
from tracesim_cli.commands.option_groups import OptionGroup

SweepFormat = Literal["table", "csv", "jsonl"]


@dataclass(frozen=True)
class PointOptions(OptionGroup):
    """Which points a sweep has."""

    title = "Points"

    vary: Annotated[
        list[str] | None,
        typer.Option(
            help="Values of a setting of replay, or of rate (arrivals per second) or profile. Several make a "
            "grid; seed=1,2,3 repeats each point. Values that contain commas are a list in JSON.",
            metavar="NAME=V1,V2,...",
        ),
    ] = None
    fixed: Annotated[
        list[str] | None, typer.Option("--set", help="Value of a setting for all points.", metavar="NAME=V")
    ] = None
    profile: Annotated[
        list[str] | None,
        typer.Option(
            help="Take settings from a profile, for all points; see `tracesim replay --profile`.",
            metavar="NAME|FILE",
            autocompletion=offering(profile_names),
        ),
    ] = None
    serve_params: Annotated[
        Path | None,
        typer.Option(help="Take points from a file of `vllm bench sweep --serve-params`.", metavar="FILE"),
    ] = None
    bench_params: Annotated[
        Path | None,
        typer.Option(help="Take points from a file of `vllm bench sweep --bench-params`.", metavar="FILE"),
    ] = None
    sample: Annotated[
        int | None,
        typer.Option(help="Replay only N points of the grid, at random.", metavar="N", min=1, max=10**6),
    ] = None
    sample_seed: Annotated[int, typer.Option(help="Seed of --sample.", metavar="SEED")] = 0


@dataclass(frozen=True)
class GoalOptions(OptionGroup):
    """What is asked of the points."""

    title = "Goal"

    find: Annotated[
        Literal["max-rate", "min-replicas"] | None,
        typer.Option(
            help="Find for each point the highest rate of arrivals, or the fewest replicas, at which "
            "--slo holds.",
        ),
    ] = None
    slo: Annotated[
        str | None,
        typer.Option(help="Limits for each request, such as ttft=500ms,tpot=50ms,e2e=10s.", metavar="LIMITS"),
    ] = None
    attainment: Annotated[
        str, typer.Option(help="Part of the requests that must meet --slo, for --find.", metavar="PERCENT")
    ] = "99%"
    precision: Annotated[
        str,
        typer.Option(help="Factor between rates that --find max-rate tries, less 1.", metavar="PERCENT"),
    ] = "1%"
    objective: Annotated[
        str | None,
        typer.Option(
            help="Figure that sorts the table: goodput-per-gpu, throughput-per-gpu, ttft.p99, ... "
            "[default: goodput-per-gpu with --slo, else throughput-per-gpu]",
            metavar="FIGURE",
        ),
    ] = None


@dataclass(frozen=True)
class PlaceOptions(OptionGroup):
    """Where a sweep runs."""

    title = "Execution"

    jobs: Annotated[
        int | None,
        typer.Option(
            help="Processes that replay points. [default: one for each core]", metavar="N", min=1, max=100_000
        ),
    ] = None
    ray: Annotated[
        str | None,
        typer.Option(
            help="Replay points on a Ray cluster: local starts one on this machine, auto joins the one that "
            "the environment names, an address joins that one. Needs the extra ray.",
            metavar="local|auto|ADDRESS",
        ),
    ] = None


@dataclass(frozen=True)
class ResultOptions(OptionGroup):
    """What is written to standard output and into files."""

    title = "Output"

    output_format: Annotated[
        SweepFormat,
        typer.Option("--format", help="Standard output: a table, CSV, or the lines of --results."),
    ] = "table"
    results: Annotated[
        Path | None,
        typer.Option(
            help="Write each result as it comes, in a line of JSON. What the file has is not replayed again.",
            metavar="FILE",
            dir_okay=False,
        ),
    ] = None
    save_html: Annotated[
        Path | None,
        typer.Option(
            help="Write an offline page of charts, with the points as profiles. Needs the extra html.",
            metavar="FILE",
            dir_okay=False,
        ),
    ] = None
    force: Force = False
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print no notes and no progress.")] = False
