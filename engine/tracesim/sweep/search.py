"""Search for the last of ascending values at which something holds, such as the highest rate of arrivals.

What is tried holds up to some value and not above it. So two bounds are enough: they start far apart and are
halved until they are neighbours. Values are places on a ladder, which has equal factors between its rungs.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import Final

MAX_PLACE: Final = 1 << 40


@dataclass(frozen=True, slots=True)
class Ladder:
    """Rates with equal factors between them: `1 + precision` each, written with five digits."""

    precision: float

    def rate(self, place: int) -> float:
        """Return the rate at a place; 1 is at place 0."""
        return float(f"{(1 + self.precision) ** place:.5g}")

    def place(self, rate: float) -> int:
        """Return the place of the last rate that is not over `rate`, up to rounding."""
        return math.floor(math.log(rate) / math.log1p(self.precision) + 1e-9)


def find_last(start: int, step: int, lowest: int, highest: int) -> Generator[int, bool, int | None]:
    """Search for the last place at which something holds: yield places, and receive whether it holds there.

    The first place is `start`; from there steps double, beginning with `step`, until there are two bounds.
    Return the last place that holds, or None if not even `lowest` does. `highest` is not tried where all
    places below hold.
    """
    low, high = lowest - 1, highest + 1
    place = min(max(start, lowest), highest)
    while high - low > 1:
        if (yield place):
            low = place
            if high > highest:
                place, step = min(place + step, highest), 2 * step
                continue
        else:
            high = place
            if low < lowest:
                place, step = max(place - step, lowest), 2 * step
                continue
        place = (low + high) // 2
    return None if low < lowest else low
