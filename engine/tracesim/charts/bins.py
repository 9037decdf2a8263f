"""Bins of time, for runs with more strides than a screen has pixels; each keeps the mean and the extremes."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import mul
from typing import Final

from tracesim.charts.timeline import Span, StrideColumns, is_later

MOST_BINS: Final = 800
_IDLE: Final = -1


@dataclass(frozen=True, slots=True)
class Series:
    """One quantity in each bin: its time-weighted mean, its minimum and its maximum."""

    mean: list[float]
    low: list[float]
    high: list[float]


def bin_edges(times: Iterable[float], most: int = MOST_BINS) -> list[float]:
    """Return the edges of the bins: all of `times` if there are at most `most`, else equidistant edges."""
    distinct = set(times)
    if len(distinct) <= most + 1:
        return sorted(distinct)
    start, end = min(distinct), max(distinct)
    width = (end - start) / most
    return [start + width * each for each in range(most)] + [end]


def stride_times(strides: StrideColumns) -> Iterator[float]:
    """Yield the start of each stride, and the end of each stride after which the engine is idle."""
    last_end: float | None = None
    for start, end in zip(strides.start, strides.end, strict=True):
        if last_end is not None and is_later(start, last_end):
            yield last_end
        yield start
        last_end = end
    if last_end is not None:
        yield last_end


class StrideBins:
    """The strides of a run, cut at the edges of bins that start with the first stride.

    The pieces are in order. Each has the index of its bin and of its stride, its width, and where in the
    stride its middle is, from 0 to 1. While the engine is idle, a piece has the index of no stride, but in
    `_lasting` that of the stride before it.
    """

    def __init__(self, strides: StrideColumns, edges: Sequence[float]) -> None:
        self.edges = edges
        self._strides, self._lasting = array("q"), array("q")
        self._widths, self._middles = array("d"), array("d")
        self._firsts = [0]
        last_end = edges[0] if edges else 0.0
        for index, (start, end) in enumerate(zip(strides.start, strides.end, strict=True)):
            if is_later(start, last_end):
                self._cut(last_end, start, _IDLE, index - 1)
            self._cut(start, end, index, index)
            last_end = end
        while len(self._firsts) < len(edges) - 1:
            self._firsts.append(len(self._strides))

    def _cut(self, start: float, end: float, stride: int, lasting: int) -> None:
        """Add the pieces of the time from `start` to `end`; starts must not decrease."""
        edges, firsts, last = self.edges, self._firsts, len(self.edges) - 1
        since = start
        while since < end:
            while len(firsts) < last and edges[len(firsts)] <= since:
                firsts.append(len(self._strides))
            until = min(end, edges[len(firsts)]) if len(firsts) < last else end
            self._strides.append(stride)
            self._lasting.append(lasting)
            self._widths.append(until - since)
            self._middles.append(((since + until) / 2 - start) / (end - start))
            since = until

    def series(self, values: Sequence[float], *, lasting: bool = False) -> Series:
        """Return `values`, one per stride, in the bins.

        While the engine is idle, a `lasting` value stays what it was after the last stride; others are 0.
        """
        values = [*values, 0.0]
        return self._in_bins([values[index] for index in (self._lasting if lasting else self._strides)])

    def ramp(self, firsts: Sequence[float], lasts: Sequence[float]) -> Series:
        """Return values that go evenly from the first to the last in each stride, and stay that when idle."""
        parts = zip(self._strides, self._lasting, self._middles, strict=True)
        return self._in_bins(
            [
                lasts[lasting]
                if stride == _IDLE
                else firsts[stride] + middle * (lasts[stride] - firsts[stride])
                for stride, lasting, middle in parts
            ]
        )

    def _in_bins(self, values: Sequence[float]) -> Series:
        """Return the mean, the minimum and the maximum over the pieces of each bin; 0 where there is none."""
        mean, low, high = [], [], []
        bounds = pairwise([*self._firsts, len(values)])
        for (first, end), (before, after) in zip(bounds, pairwise(self.edges), strict=False):
            in_bin = values[first:end]
            mean.append(sum(map(mul, in_bin, self._widths[first:end])) / (after - before))
            low.append(min(in_bin, default=0.0))
            high.append(max(in_bin, default=0.0))
        return Series(mean, low, high)


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


def _bin(edges: Sequence[float], time: float) -> int:
    return min(max(bisect_right(edges, time) - 1, 0), len(edges) - 2)
