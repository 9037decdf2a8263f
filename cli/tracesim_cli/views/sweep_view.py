"""The results of a sweep as a table for people, and as CSV."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any, Final, TextIO

from rich.cells import cell_len

from tracesim.analysis.csv_text import to_csv
from tracesim.analysis.figure_text import format_value
from tracesim.analysis.figures import Figure
from tracesim.sweep.figures import SWEEP_FIGURES
from tracesim.sweep.points import varying, written
from tracesim.sweep.ranking import Row, rank
from tracesim.sweep.results_file import Result
from tracesim.sweep.run import Found
from tracesim_cli.terminal.display import choose_display
from tracesim_cli.terminal.lines import Fragment, clip_line, print_lines
from tracesim_cli.terminal.safe_text import visible

_COLUMNS: Final = (
    "throughput_per_gpu",
    "goodput_per_gpu",
    "interactivity",
    "slo_attainment",
    "ttft.p50",
    "ttft.p99",
    "tpot.p50",
    "tpot.p99",
)
"""The figures that a table has beside the objective, as far as the points have them."""

LATENCY_NAMES: Final = {
    "ttft": "TTFT",
    "tpot": "TPOT",
    "itl": "ITL",
    "e2e": "E2E",
    "queue_time": "queue time",
}

_TITLES: Final = {
    "throughput_per_gpu": "tokens/s/GPU",
    "goodput_per_gpu": "goodput/GPU",
    "interactivity": "tokens/s/user",
    "slo_attainment": "attained",
    "request_throughput": "requests/s",
}


def print_results(stream: TextIO, results: Sequence[Result], objective: Figure) -> None:
    """Print a table with a row for each configuration, the best one first."""
    rows = rank(results, objective)
    names = [name for name in varying(result.replay.point for result in results) if name != "seed"]
    figures = [objective.name, *(name for name in _COLUMNS if name != objective.name)]
    figures = [name for name in figures if any(name in row.figures for row in rows)]
    head = [*names, *map(_title, figures), ""]
    table = [head, *(_cells(row, names, figures, objective) for row in rows)]
    _print_table(stream, table, len(names))


def _cells(row: Row, names: Sequence[str], figures: Sequence[str], objective: Figure) -> list[str]:
    """Return the cells of a row; after the figures a remark."""
    values = [visible(written(row.varied[name])) if name in row.varied else "" for name in names]
    cells = [format_figure(name, row.figures.get(name)) for name in figures]
    spread = row.spread(objective.name)
    if len(row.results) > 1 and spread and figures:
        cells[0] += f" ±{format_figure(objective.name, (spread[1] - spread[0]) / 2)}"
    remark = "overloaded" if row.figures.get("overloaded") else ""
    return [*values, *cells, "cannot be replayed" if row.error else remark]


def print_found(stream: TextIO, found: Sequence[Found], goal: str, title: str) -> None:
    """Print a table with what was found for each configuration, and its spread over the seeds.

    `goal` is `max-rate` or `min-replicas`.
    """
    names = list(varying(each.point for each in found))
    is_rate = goal == "max-rate"
    head = [*names, "rate", "lowest", "highest", "per GPU", ""]
    if not is_rate:
        head = [*names, "replicas", "lowest", "highest", "GPUs", ""]
    table = [head]
    for each in found:
        values = [visible(written(each.point.varied.get(name))) for name in names]
        mean, spread = each.mean, each.spread
        if mean is None or spread is None:
            nothing = (
                "the objective is met at no rate" if is_rate else "more replicas than are tried are needed"
            )
            table.append([*values, *["-"] * 4, visible(each.error) if each.error else nothing])
        elif math.isinf(mean):
            table.append([*values, *["any"] * 4, "met with all requests at once"])
        elif is_rate:
            table.append([*values, *(f"{rate:,.2f}" for rate in (mean, *spread, mean / each.point.gpus)), ""])
        else:
            most = max(spread)
            table.append(
                [
                    *values,
                    *(f"{each:,.0f}" for each in (most, *spread)),
                    f"{most * each.point.gpus_per_replica:,.0f}",
                    "",
                ]
            )
    _print_table(stream, table, len(names), [(title, "bold")])


def format_figure(name: str, value: float | None) -> str:
    """Return a figure as people read it, times in milliseconds without their unit."""
    figure = SWEEP_FIGURES[name]
    if value is None:
        return "-"
    return f"{format_value(figure, value)}{'%' if figure.unit == 'fraction' else ''}"


def _title(name: str) -> str:
    """Return the head of a column, with the unit that is not in its cells."""
    if name in _TITLES:
        return _TITLES[name]
    latency, dot, statistic = name.partition(".")
    words = f"{LATENCY_NAMES.get(latency, latency)} {statistic}" if dot else name.replace("_", " ")
    return f"{words} ms" if SWEEP_FIGURES[name].unit == "s" else words


def _print_table(
    stream: TextIO, table: Sequence[Sequence[str]], num_names: int, title: Sequence[Fragment] = ()
) -> None:
    """Print a table whose first row is its head; columns after the names are aligned to the right."""
    display = choose_display(os.environ, stream)
    widths = [max(cell_len(row[column]) for row in table) for column in range(len(table[0]))]
    lines: list[Sequence[Fragment]] = [title] if title else []
    for number, row in enumerate(table):
        style = "dim" if number == 0 else ""
        line: list[Fragment] = []
        for column, (cell, width) in enumerate(zip(row, widths, strict=True)):
            space = " " * (width - cell_len(cell))
            is_left = column < num_names or column == len(row) - 1
            line.append((f"{cell}{space}  " if is_left else f"{space}{cell}  ", style))
        lines.append(clip_line(line, display.width) if display.live else line)
    print_lines(stream, display, lines)


def results_to_csv(results: Sequence[Result]) -> bytes:
    """Return a row for each point in the order of the sweep: its varied settings, its figures, its error."""
    names = list(varying(result.replay.point for result in results))
    figures = list(dict.fromkeys(name for each in results for name in each.outcome.figures or ()))
    rows: list[list[Any]] = [[*names, *figures, "error"]]
    for result in results:
        outcome = result.outcome
        values = [result.replay.point.varied.get(name) for name in names]
        rows.append([*values, *((outcome.figures or {}).get(name) for name in figures), outcome.error])
    return to_csv(rows)


def found_to_csv(found: Sequence[Found], goal: str) -> bytes:
    """Return a row for each configuration: its settings, what was found for each seed, and the mean."""
    names = list(varying(each.point for each in found))
    seeds = list(dict.fromkeys(seed for each in found for seed in each.by_seed))
    what = goal.replace("-", "_")
    rows: list[list[Any]] = [[*names, what, *(f"{what}_seed_{seed}" for seed in seeds), "error"]]
    for each in found:
        values = [each.point.varied.get(name) for name in names]
        rows.append([*values, each.mean, *(each.by_seed.get(seed) for seed in seeds), each.error])
    return to_csv(rows)
