"""The figures of a point: those of its run by name, and those that only a deployment has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from tracesim.analysis.figures import FIGURES, Figure, Report, figure_named
from tracesim.analysis.metrics import Metrics
from tracesim.analysis.report import Summary
from tracesim.errors import ConfigError


class Run(NamedTuple):
    """What the figures of a run are read from."""

    summary: Summary
    metrics: Metrics | None


_SHORT_NAMES: Final = {"throughput": "output_token_throughput"}


def _no_value(_report: Report) -> None:
    return None


SWEEP_FIGURES: Final[Mapping[str, Figure]] = {
    "throughput_per_gpu": Figure("throughput_per_gpu", "tokens/s", "higher", _no_value),
    "goodput_per_gpu": Figure("goodput_per_gpu", "requests/s", "higher", _no_value),
    "interactivity": Figure("interactivity", "tokens/s", "higher", _no_value),
    **FIGURES,
}
"""Every figure of a point by its name. `figures_of` has the values, as a report has none for deployments."""


def figures_of(summary: Summary, metrics: Metrics | None, gpus: int) -> dict[str, float]:
    """Return the figures that a run has, by name, in their units.

    Throughput per GPU is that of output tokens, and `interactivity` what one user sees: 1 / the median TPOT.
    """
    run = Run(summary, metrics)
    values = {name: figure.value(run) for name, figure in FIGURES.items()}
    if metrics is not None:
        values["throughput_per_gpu"] = metrics.output_token_throughput / gpus
        values["goodput_per_gpu"] = None if metrics.goodput is None else metrics.goodput / gpus
        values["interactivity"] = 1 / metrics.tpot.p50 if metrics.tpot and metrics.tpot.p50 else None
    return {name: value for name, value in values.items() if value is not None}


def parse_objective(name: str) -> Figure:
    """Return the figure that decides which point is better; `-` may stand for `_`.

    Raises ConfigError for an unknown name, and for a figure in which neither direction is better.
    """
    known = name.replace("-", "_")
    known = _SHORT_NAMES.get(known, known)
    figure = SWEEP_FIGURES.get(known) or figure_named(known, "objective")
    if figure.better == "neutral":
        raise ConfigError(
            f"is {figure.name}, of which neither more nor less is better; name another", setting="objective"
        )
    return figure
