"""`tracesim sweep`: replay a trace with many settings, or find the rate that an objective allows."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from tracesim.analysis.figures import Figure
from tracesim.analysis.metrics import Slo, parse_slo
from tracesim.errors import ConfigError, TraceProblem, brief
from tracesim.sweep.figures import parse_objective
from tracesim.sweep.points import Point, grid, make_points, parse_value, parse_values, sample
from tracesim.sweep.results_file import Result
from tracesim.sweep.run import Found, find_max_rate, find_min_replicas, open_workers, run_sweep
from tracesim.sweep.shared_trace import SharedTrace, share_trace
from tracesim.sweep.vllm_params import read_params
from tracesim.sweep.workers import Workers
from tracesim.trace.record import TraceRecord
from tracesim_cli.commands.arguments import Traces
from tracesim_cli.commands.option_groups import with_option_groups
from tracesim_cli.commands.replay_loading import first_records, read_items
from tracesim_cli.commands.replay_options import InputOptions
from tracesim_cli.commands.sweep_options import (
    GoalOptions,
    PlaceOptions,
    PointOptions,
    ResultOptions,
)
from tracesim_cli.terminal.exit_codes import ExitCode, fail, print_message, with_exit_codes
from tracesim_cli.terminal.output_files import atomic_writer, refuse_existing
from tracesim_cli.terminal.safe_text import visible
from tracesim_cli.terminal.text import counted
from tracesim_cli.views.problem_text import ProblemList, notes_on_warnings
from tracesim_cli.views.sweep_progress import SweepProgress
from tracesim_cli.views.sweep_view import found_to_csv, print_found, print_results, results_to_csv

EPILOG = """\
Example:
tracesim sweep trace.jsonl --profile h100/llama-3.1-8b --vary max_num_seqs=64,256 --vary rate=2,4,8

Exit codes:
0    every point is replayed
1    the trace is invalid, or a point cannot be replayed
2    wrong usage, or a file cannot be written
130  interrupted; the results so far are in the file of --results, from which the same command continues"""


@with_exit_codes
@with_option_groups
def sweep(
    traces: Traces,
    chosen: PointOptions,
    goal: GoalOptions,
    inputs: InputOptions,
    place: PlaceOptions,
    output: ResultOptions,
) -> None:
    """Replay a trace once for every combination of some settings, on all cores, and compare the results.

    With --find each combination is replayed several times, to find the highest rate of arrivals, or the least
    number of replicas, at which an objective holds. The trace is read and tokenized once.
    """
    points = _points(chosen, find=goal.find, quiet=output.quiet)
    slo = None if goal.slo is None else parse_slo(goal.slo)
    if slo is not None and any(point.args.clock == "steps" for point in points):
        raise ConfigError("needs a clock; choose one with --set clock=... or --profile", setting="--slo")
    objective = parse_objective(goal.objective or _default_objective(points, slo))
    if output.save_html:
        if goal.find:
            raise ConfigError("shows the points of a sweep; give it without --find", setting="--save-html")
        from tracesim.charts.html import plotly_javascript

        plotly_javascript()
        refuse_existing(output.save_html, "--save-html", force=output.force)
    trace = _read(traces, inputs, [point.args.tokenizer for point in points], quiet=output.quiet)
    with ExitStack() as stack:
        workers = _open_workers(trace, place)
        stack.callback(workers.close)
        progress = stack.enter_context(
            SweepProgress("searches" if goal.find else "points", output.results, quiet=output.quiet)
        )
        options: dict[str, Any] = {
            "skip_invalid": inputs.skip_invalid,
            "workers": workers,
            "results": output.results,
            "on_result": progress.on_result,
        }
        if goal.find is None:
            results = run_sweep(trace, points, slo=slo, **options)
        else:
            found = _find(trace, points, goal, slo, options)
    if goal.find is None:
        _write_results(results, objective, output)
    else:
        _write_found(found, goal, output)


def _points(chosen: PointOptions, *, find: str | None, quiet: bool) -> list[Point]:
    """Return the points that the options ask for. Raises ConfigError."""
    fixed = dict(parse_value(text, "--set") for text in chosen.fixed or ())
    varied: dict[str, Sequence[Any]] = {}
    for text in chosen.vary or ():
        name, values = parse_values(text, "--vary")
        varied[name] = list(dict.fromkeys([*varied.get(name, ()), *values]))
    files: list[list[dict[str, Any]]] = []
    for option in ("serve_params", "bench_params"):
        if path := getattr(chosen, option):
            combinations, ignored = read_params(path, f"--{option.replace('_', '-')}")
            files.append(combinations)
            for name in ignored if not quiet else ():
                print_message(f"{name} in {path} is ignored: a replay has no such setting")
    if not varied and not files and find is None:
        raise ConfigError(
            "is not given; name a setting and its values, such as max_num_seqs=64,256", setting="--vary"
        )
    searched = {"max-rate": ("rate", "arrivals"), "min-replicas": ("replicas",)}
    for name in searched.get(find or "", ()):
        if name in varied or any(name in each for combinations in files for each in combinations):
            raise ConfigError(f"varies {name}, which --find looks for", setting="--vary")
    combinations = _crossed(files, varied, chosen)
    return make_points(combinations, profiles=chosen.profile or (), settings=fixed)


def _crossed(
    files: Sequence[Sequence[dict[str, Any]]], varied: dict[str, Sequence[Any]], chosen: PointOptions
) -> list[dict[str, Any]]:
    """Return the combinations of the files and of `--vary`, or the sample of them that is asked for."""
    axes: dict[str, Sequence[Any]] = {f"file {number}": each for number, each in enumerate(files)} | varied
    chosen_ones = grid(axes) if chosen.sample is None else sample(axes, chosen.sample, chosen.sample_seed)
    combinations = []
    for each in chosen_ones:
        combination: dict[str, Any] = {}
        for axis, value in each.items():
            combination |= value if isinstance(value, dict) else {axis: value}
        combinations.append(combination)
    return combinations


def _default_objective(points: Sequence[Point], slo: Slo | None) -> str:
    if any(point.args.clock == "steps" for point in points):
        return "steps"
    return "throughput_per_gpu" if slo is None else "goodput_per_gpu"


def _read(
    traces: Sequence[str], options: InputOptions, tokenizers: Sequence[str], *, quiet: bool
) -> SharedTrace:
    """Return the trace with its tokens; an invalid one ends the command, with its errors."""
    errors, warnings = ProblemList(), ProblemList()
    records: list[TraceRecord] = []
    for item in read_items(traces, options.trace_format, quiet=quiet):
        if not isinstance(item, TraceProblem):
            records.append(item)
        else:
            (errors if item.severity == "error" else warnings).add(item)
    if errors.num_errors and not (options.skip_invalid and records):
        fail(*errors.lines(), "nothing was replayed", code=errors.exit_code)
    if not quiet:
        print_message(*errors.lines(), *notes_on_warnings(warnings))
    records = list(first_records(records, options.limit, num_files=len(traces)))
    return share_trace(records, dict.fromkeys(tokenizers))


def _find(
    trace: SharedTrace, points: Sequence[Point], goal: GoalOptions, slo: Slo | None, options: dict[str, Any]
) -> Any:
    """Search for what the options ask for in each point. Raises ConfigError without an objective."""
    if slo is None:
        raise ConfigError("is not given; --find needs limits, such as ttft=500ms,tpot=50ms", setting="--slo")
    seeds = list(dict.fromkeys(point.args.seed for point in points if "seed" in point.varied))
    configurations = {
        tuple((name, value) for name, value in point.varied.items() if name != "seed"): point
        for point in points
    }
    if goal.find == "max-rate":
        search: Any = partial(find_max_rate, precision=_fraction(goal.precision, "--precision"))
    else:
        search = find_min_replicas
    return search(
        trace,
        [Point(dict(varied), point.args, point.gpus_per_replica) for varied, point in configurations.items()],
        slo=slo,
        attainment=_fraction(goal.attainment, "--attainment"),
        seeds=seeds,
        **options,
    )


def _open_workers(trace: SharedTrace, place: PlaceOptions) -> Workers:
    """Return the workers that the options ask for."""
    if place.ray is None:
        return open_workers(trace, place.jobs)
    from tracesim.sweep.ray_workers import RayWorkers

    return RayWorkers(trace, place.ray, place.jobs)


def _fraction(text: str, option: str) -> float:
    """Return a percentage or a fraction as a fraction. Raises ConfigError."""
    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise ConfigError(f"is {brief(text)}; must be a percentage, such as 99%", setting=option) from None


def _write_found(found: Sequence[Found], goal: GoalOptions, output: ResultOptions) -> None:
    """Write what a search has found, as a table or as CSV."""
    assert goal.find is not None
    if output.output_format == "csv":
        sys.stdout.buffer.write(found_to_csv(found, goal.find))
        return
    what = "highest rate" if goal.find == "max-rate" else "least number of replicas"
    objective = f"{goal.attainment} of the requests meet {visible(goal.slo or '')}"
    seeds = counted(max(len(each.by_seed) for each in found), "seed")
    print_found(sys.stdout, found, goal.find, f"{what} at which {objective}, over {seeds}")


def _write_results(results: Sequence[Result], objective: Figure, output: ResultOptions) -> None:
    """Write what was asked for. Ends the command with an error if a point could not be replayed."""
    if output.save_html:
        from tracesim.charts.sweep_page import sweep_page

        with atomic_writer(output.save_html) as file:
            file.write(sweep_page(results, objective))
    if output.output_format == "csv":
        sys.stdout.buffer.write(results_to_csv(results))
    elif output.output_format == "jsonl":
        sys.stdout.buffer.writelines(result.line() for result in results)
    else:
        print_results(sys.stdout, results, objective)
    failed = [result for result in results if result.outcome.error]
    if failed:
        sys.stdout.flush()
        fail(
            f"{len(failed):,} of {counted(len(results), 'point')} cannot be replayed; the first: "
            f"{failed[0].outcome.error}",
            code=ExitCode.INVALID_TRACE,
        )
