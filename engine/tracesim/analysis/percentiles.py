"""Percentiles, by one definition everywhere."""

from __future__ import annotations

from typing import Final, Protocol

PERCENTILES: Final = (50, 90, 99)
"""Those that are shown."""


class Ordered(Protocol):
    """Values in order: a sorted sequence, or what can tell the value of a rank."""

    def __getitem__(self, rank: int, /) -> float: ...


def percentile(ordered: Ordered, count: int, percent: float) -> float:
    """The value that `percent` of `count` values in order, at least one, do not exceed.

    Between two ranks it is interpolated, as NumPy and vLLM's serving benchmark do.
    """
    place = (count - 1) * percent / 100
    below = int(place)
    low, high = ordered[below], ordered[min(below + 1, count - 1)]
    return low + (high - low) * (place - below)
