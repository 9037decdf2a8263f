"""The times between two tokens of a request, over all requests: the inter-token latencies (ITL).

A run has millions of them. They are kept as counts and as arithmetic progressions, and never written out.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Final, TypeAlias

_MAX_BUCKETS: Final = 65_536
_MAX_WRITTEN: Final = 1_000_000
"""So many different gaps of a bucket are written out at most."""

_Progression: TypeAlias = tuple[int, int, int, int, int]
"""First gap, last gap, difference, number of gaps from first to last, and how often each of them came."""


_Run: TypeAlias = tuple[int, int, int, int]
"""First gap, last gap, difference, and how often each gap came."""


class TokenGaps:
    """How often each gap came, in femtoseconds. The gaps of a stride grow by the same amount at each step."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = defaultdict(int)
        self._progressions: list[_Progression] = []

    def add(self, gap: int, count: int = 1) -> None:
        """Add a gap that came `count` times."""
        self._counts[gap] += count

    def add_stride(self, first: int, growth: int, steps: int, count: int) -> None:
        """Add the gaps of `steps` steps in which `count` requests decode: `first`, `first + growth`, ..."""
        if growth and steps > 1:
            self._progressions.append((first, first + growth * (steps - 1), growth, steps, count))
        else:
            self._counts[first] += steps * count

    def add_all(self, other: TokenGaps) -> None:
        """Add all gaps of another run."""
        self._progressions += other._progressions
        for gap, count in other._counts.items():
            self._counts[gap] += count

    def total(self) -> int:
        """Return the sum of all gaps."""
        single = sum([gap * count for gap, count in self._counts.items()])
        twice = sum([(first + last) * steps * count for first, last, _, steps, count in self._progressions])
        return single + twice // 2

    def counts(self) -> dict[int, int]:
        """Return how often each gap came, written out."""
        counts = dict(self._counts)
        for first, last, growth, _, count in self._progressions:
            for gap in range(first, last + 1, growth):
                counts[gap] = counts.get(gap, 0) + count
        return counts

    def ordered(self) -> OrderedGaps:
        """Return the gaps in ascending order."""
        return OrderedGaps(self._counts, self._progressions)


def sum_of_gaps(parts: Sequence[TokenGaps]) -> TokenGaps:
    """Return the gaps of all parts."""
    if len(parts) == 1:
        return parts[0]
    gaps = TokenGaps()
    for part in parts:
        gaps.add_all(part)
    return gaps


class OrderedGaps:
    """All gaps in ascending order, of which any can be looked up by its rank, from 0.

    Gaps are counted in buckets of equal width, a power of two, and only the gaps of a bucket that is looked
    into are written out. There are about as many buckets as there are progressions and single gaps.

    Bucket b has the gaps from `lowest + b * width` to before `lowest + (b + 1) * width`, and `_ends[b]`
    counts the gaps up to its end. So writing out a bucket gives `_ends[b] - _ends[b - 1]` gaps.
    """

    def __init__(self, counts: Mapping[int, int], progressions: Sequence[_Progression]) -> None:
        self._counts, self._progressions = counts, progressions
        self._lowest = lowest = min([*counts, *[each[0] for each in progressions]], default=0)
        highest = max([*counts, *[each[1] for each in progressions]], default=0)
        num_buckets = min(_MAX_BUCKETS, len(counts) + len(progressions))
        self._shift = shift = max(0, (highest - lowest).bit_length() - num_buckets.bit_length())
        sizes = [0] * (((highest - lowest) >> shift) + 1)
        for gap, count in counts.items():
            sizes[(gap - lowest) >> shift] += count
        for first, last, growth, steps, count in progressions:
            bucket, last_bucket = (first - lowest) >> shift, (last - lowest) >> shift
            num_before = 0
            while bucket < last_bucket:
                bucket_end = lowest + ((bucket + 1) << shift)
                num_before_end = -(-(bucket_end - first) // growth)
                sizes[bucket] += (num_before_end - num_before) * count
                num_before = num_before_end
                bucket += 1
            sizes[bucket] += (steps - num_before) * count
        self._ends = list(accumulate(sizes))
        self._written: dict[int, tuple[list[int], list[int]]] = {}

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, rank: int) -> int:
        bucket = bisect_right(self._ends, rank)
        start = self._ends[bucket - 1] if bucket else 0
        if bucket not in self._written:
            runs = self._runs_in(bucket)
            if sum((last - first) // growth + 1 for first, last, growth, _ in runs) > _MAX_WRITTEN:
                return _selected(runs, rank - start)
            self._written[bucket] = gaps, ends = _written_out(runs)
            assert ends[-1] == self._ends[bucket] - start, f"bucket {bucket} has {ends[-1]} gaps"
        gaps, ends = self._written[bucket]
        return gaps[bisect_right(ends, rank - start)]

    def _runs_in(self, bucket: int) -> list[_Run]:
        """Return the gaps of a bucket as arithmetic progressions, of which a single gap is one."""
        start = self._lowest + (bucket << self._shift)
        end = start + (1 << self._shift)
        runs = [(gap, gap, 1, count) for gap, count in self._counts.items() if start <= gap < end]
        for first, last, growth, _, count in self._progressions:
            if first < end and last >= start:
                first_inside = first + max(0, -(-(start - first) // growth)) * growth
                last_inside = min(last, last - -(-(last - end + 1) // growth) * growth)
                if first_inside <= last_inside:
                    runs.append((first_inside, last_inside, growth, count))
        return runs


def _written_out(runs: Sequence[_Run]) -> tuple[list[int], list[int]]:
    """Return the different gaps of progressions in order, and how many gaps there are up to each."""
    counts: dict[int, int] = defaultdict(int)
    for first, last, growth, count in runs:
        for gap in range(first, last + 1, growth):
            counts[gap] += count
    gaps = sorted(counts)
    return gaps, list(accumulate([counts[gap] for gap in gaps]))


def _selected(runs: Sequence[_Run], rank: int) -> int:
    """Return the gap of a rank, from 0, of progressions that are too long to write out: by bisection."""
    low, high = min(run[0] for run in runs), max(run[1] for run in runs)
    while low < high:
        middle = (low + high) // 2
        num_up_to = sum(
            ((min(middle, last) - first) // growth + 1) * count
            for first, last, growth, count in runs
            if first <= middle
        )
        if num_up_to > rank:
            high = middle
        else:
            low = middle + 1
    return low
