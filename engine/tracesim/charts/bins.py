"""Bins of time, for runs with more steps than a screen has pixels; each keeps the mean and the extremes."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from tracesim.charts.timeline import Span, StepColumns

MOST_BINS: Final = 800
_ROUNDING: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Series:
    """One quantity in each bin: its time-weighted mean, its minimum and its maximum."""

    mean: list[float]
    low: list[float]
    high: list[float]


def bin_edges(times: Iterable[float], most: int = MOST_BINS) -> list[float]:
    """Return the edges of the bins: all of `times` if there are at most `most`, else equidistant edges."""
    distinct = sorted(set(times))
    if len(distinct) <= most + 1:
        return distinct
    start, end = distinct[0], distinct[-1]
    width = (end - start) / most
    return [start + width * each for each in range(most)] + [end]


def step_times(steps: StepColumns) -> Iterator[float]:
    """Yield the start of each step, and the end of each step after which the engine is idle."""
    last_end: float | None = None
    for start, duration in zip(steps.start, steps.duration, strict=True):
        if last_end is not None and is_idle_between(last_end, start):
            yield last_end
        yield start
        last_end = start + duration
    if last_end is not None:
        yield last_end


def step_series(
    steps: StepColumns, values: Sequence[float], edges: Sequence[float], *, lasting: bool = False
) -> Series:
    """Return `values`, one per step, in the bins between `edges`, which start with the first step.

    While the engine is idle, a `lasting` value stays what it was after the last step; other values are 0.
    """
    bins = _Bins(edges)
    last_end, last = edges[0] if edges else 0.0, 0.0
    for start, duration, value in zip(steps.start, steps.duration, values, strict=True):
        if is_idle_between(last_end, start):
            bins.add(last_end, start, last if lasting else 0.0)
        last_end, last = start + duration, value
        bins.add(start, last_end, value)
    return bins.series()


def span_counts(spans: Iterable[Span], edges: Sequence[float]) -> list[float]:
    """Return how many spans there are in each bin, weighted by time."""
    count = len(edges) - 1
    if count < 1:
        return []
    changes, parts = array("d", bytes(8 * (count + 1))), array("d", bytes(8 * (count + 1)))
    for _, _, start, end in spans:
        first, last = _bin(edges, start), _bin(edges, end)
        parts[first] -= start - edges[first]
        parts[last] += end - edges[last]
        changes[first] += 1
        changes[last] -= 1
    counts, going_on = [], 0.0
    for each in range(count):
        going_on += changes[each]
        width = edges[each + 1] - edges[each]
        counts.append(going_on + parts[each] / width)
    return counts


class _Bins:
    """Sums and extremes of intervals that are added in order."""

    def __init__(self, edges: Sequence[float]) -> None:
        count = max(0, len(edges) - 1)
        self._edges = edges
        self._sums = [0.0] * count
        self._low: list[float | None] = [None] * count
        self._high: list[float | None] = [None] * count
        self._at = 0

    def add(self, start: float, end: float, value: float) -> None:
        """Add an interval from `start` to `end` with `value`; starts must not decrease."""
        edges, last = self._edges, len(self._sums) - 1
        while self._at < last and edges[self._at + 1] <= start:
            self._at += 1
        at = self._at
        while True:
            border = edges[at + 1]
            if end <= border or at == last:
                self._put(at, end - start, value)
                return
            self._put(at, border - start, value)
            start, at = border, at + 1

    def _put(self, at: int, width: float, value: float) -> None:
        self._sums[at] += width * value
        low, high = self._low[at], self._high[at]
        if low is None or value < low:
            self._low[at] = value
        if high is None or value > high:
            self._high[at] = value

    def series(self) -> Series:
        """Return the mean, the minimum and the maximum of each bin."""
        widths = [after - before for before, after in pairwise(self._edges)]
        return Series(
            [total / width for total, width in zip(self._sums, widths, strict=True)],
            [low or 0.0 for low in self._low],
            [high or 0.0 for high in self._high],
        )


def is_idle_between(end: float, start: float) -> bool:
    """Whether the engine is idle between `end` and `start`; a rounding error is not idle time."""
    return start - end > _ROUNDING * max(1.0, abs(start))


def _bin(edges: Sequence[float], time: float) -> int:
    return min(max(bisect_right(edges, time) - 1, 0), len(edges) - 2)
