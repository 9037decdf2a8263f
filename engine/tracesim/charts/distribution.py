"""A distribution given as values with counts: its mean and its percentiles."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from itertools import accumulate

from tracesim.analysis.percentiles import percentile


class Distribution:
    """A distribution of at least one value, given as a count for each value."""

    def __init__(self, counts: Mapping[float, int]) -> None:
        self._values = sorted(counts)
        self._ends = list(accumulate(counts[value] for value in self._values))
        self.count = self._ends[-1]
        self.low, self.high = self._values[0], self._values[-1]
        self.mean = math.fsum(value * count for value, count in counts.items()) / self.count

    def percentile(self, percent: float) -> float:
        """Return the value that `percent` of the values do not exceed."""
        return percentile(self, self.count, percent)

    def below(self, border: float) -> int:
        """Return how many values are less than `border`."""
        values = bisect_left(self._values, border)
        return self._ends[values - 1] if values else 0

    def __getitem__(self, rank: int) -> float:
        """Return the value of a rank, counted from 0."""
        return self._values[bisect_right(self._ends, rank)]
