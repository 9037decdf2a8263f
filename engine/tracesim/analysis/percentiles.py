"""Percentiles, with one definition everywhere."""

from __future__ import annotations

from typing import Final, Protocol

PERCENTILES: Final = (50, 90, 95, 99)
"""Those of latencies."""


class Ordered(Protocol):
    """Values in ascending order: a sorted sequence, or an object that returns the value of a rank."""

    def __getitem__(self, rank: int, /) -> float: ...


def percentile(ordered: Ordered, count: int, percent: float) -> float:
    """Return the value that `percent` of `count` values do not exceed; `count` is at least 1.

    Between two ranks it is interpolated linearly, as NumPy and vLLM's serving benchmark do.
    """
    place = (count - 1) * percent / 100
    below = int(place)
    low, high = ordered[below], ordered[min(below + 1, count - 1)]
    return low + (high - low) * (place - below)
