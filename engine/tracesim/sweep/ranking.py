"""The results of a sweep in the order of an objective, those with different seeds as one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import orjson

from tracesim.analysis.figures import Figure
from tracesim.sweep.results_file import Result


@dataclass(frozen=True, slots=True)
class Row:
    """A configuration: the results of its seeds, and the means of the figures that all of them have.

    `varied` has its values, without the seed. `results` is not empty.
    """

    varied: Mapping[str, Any]
    results: Sequence[Result]
    figures: Mapping[str, float]

    @property
    def error(self) -> str | None:
        """Why the configuration cannot be replayed, if it cannot."""
        return next((each.outcome.error for each in self.results if each.outcome.error), None)

    def spread(self, figure: str) -> tuple[float, float] | None:
        """Return the lowest and the highest value of a figure over the seeds; None if one has none."""
        if figure not in self.figures:
            return None
        values = [(each.outcome.figures or {})[figure] for each in self.results]
        return min(values), max(values)


def rank(results: Iterable[Result], objective: Figure) -> list[Row]:
    """Return a row for each configuration, the best one first, and last those without the objective."""
    groups: dict[bytes, list[Result]] = {}
    for result in results:
        groups.setdefault(orjson.dumps(_without_seed(result)), []).append(result)
    rows = [Row(_without_seed(group[0]), group, _means(group)) for group in groups.values()]
    sign = 1 if objective.better == "lower" else -1

    def badness(row: Row) -> tuple[bool, float]:
        value = row.figures.get(objective.name)
        return value is None, sign * (value or 0)

    return sorted(rows, key=badness)


def pareto_front(rows: Sequence[Row], x: str, y: str) -> list[Row]:
    """Return the rows that no other exceeds in one of two figures without less of the other, by ascending x.

    For both figures a high value is a good one.
    """
    known = [row for row in rows if x in row.figures and y in row.figures]
    front: list[Row] = []
    for row in sorted(known, key=lambda row: (row.figures[x], row.figures[y]), reverse=True):
        if not front or row.figures[y] > front[-1].figures[y]:
            front.append(row)
    return front[::-1]


def _without_seed(result: Result) -> dict[str, Any]:
    return {name: value for name, value in result.replay.point.varied.items() if name != "seed"}


def _means(results: Sequence[Result]) -> dict[str, float]:
    """Return the mean of each figure that all of the results have."""
    columns: dict[str, list[float]] = {}
    for result in results:
        for name, value in (result.outcome.figures or {}).items():
            columns.setdefault(name, []).append(value)
    return {name: fmean(values) for name, values in columns.items() if len(values) == len(results)}
