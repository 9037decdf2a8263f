"""The times between tokens: millions of them, kept as arithmetic progressions and never written out."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Final, TypeAlias

_MOST_BUCKETS: Final = 65_536

_Run: TypeAlias = tuple[int, int, int, int, int]
"""The gaps from a first to a last one by a growth; how many that are, and how often each of them came."""


class Gaps:
    """How often each gap came. Gaps are whole picoseconds; a stride's grow from step to step, all alike."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = defaultdict(int)
        self._runs: list[_Run] = []

    def add(self, gap: int, count: int = 1) -> None:
        """Note a gap that came `count` times."""
        self._counts[gap] += count

    def add_run(self, first: int, growth: int, steps: int, count: int) -> None:
        """Note the gaps of `steps` steps in which `count` requests decode."""
        if growth and steps > 1:
            self._runs.append((first, first + growth * (steps - 1), growth, steps, count))
        else:
            self._counts[first] += steps * count

    def total(self) -> int:
        """Their sum."""
        alone = sum([gap * count for gap, count in self._counts.items()])
        in_runs = sum([(first + last) * steps * size for first, last, _, steps, size in self._runs])
        return alone + in_runs // 2

    def counts(self) -> dict[int, int]:
        """How often each gap came, written out."""
        counts = dict(self._counts)
        for first, last, growth, _, size in self._runs:
            for gap in range(first, last + 1, growth):
                counts[gap] = counts.get(gap, 0) + size
        return counts

    def ranks(self) -> Ranks:
        """Their order."""
        return Ranks(self._counts, self._runs)


class Ranks:
    """The gap of any rank, from 0: gaps are counted in buckets, and only one bucket's are put in order.

    A bucket is as wide as a power of two, and there are about as many as there are runs and gaps alone.
    """

    def __init__(self, counts: Mapping[int, int], runs: Sequence[_Run]) -> None:
        self._counts, self._runs = counts, runs
        lowest = min([*counts, *[run[0] for run in runs]], default=0)
        highest = max([*counts, *[run[1] for run in runs]], default=0)
        most = min(_MOST_BUCKETS, len(counts) + len(runs))
        self._lowest = lowest
        self._shift = shift = max(0, (highest - lowest).bit_length() - most.bit_length())
        sizes = [0] * (((highest - lowest) >> shift) + 1)
        for gap, count in counts.items():
            sizes[(gap - lowest) >> shift] += count
        for run in runs:
            first, last, _, steps, size = run
            bucket = (first - lowest) >> shift
            if (last - lowest) >> shift == bucket:
                sizes[bucket] += steps * size
                continue
            for bucket, steps in self._buckets(run):
                sizes[bucket] += steps * size
        self._ends = list(accumulate(sizes))
        self._ordered: dict[int, tuple[list[int], list[int]]] = {}

    def __len__(self) -> int:
        """How many gaps there are in all."""
        return self._ends[-1]

    def __getitem__(self, rank: int) -> int:
        bucket = bisect_right(self._ends, rank)
        if bucket not in self._ordered:
            self._ordered[bucket] = self._in_order(bucket)
        gaps, ends = self._ordered[bucket]
        before = self._ends[bucket - 1] if bucket else 0
        return gaps[bisect_right(ends, rank - before)]

    def _buckets(self, run: _Run) -> Iterator[tuple[int, int]]:
        """The buckets in which a run has gaps, and how many of its steps each has."""
        first, _, growth, steps, _ = run
        bucket, step = (first - self._lowest) >> self._shift, 0
        while step < steps:
            border = self._lowest + ((bucket + 1) << self._shift)
            after = min(steps, -(-(border - first) // growth))
            if after > step:
                yield bucket, after - step
            step = after
            bucket += 1

    def _in_order(self, bucket: int) -> tuple[list[int], list[int]]:
        """A bucket's gaps in order, and for each how many there are up to it."""
        start = self._lowest + (bucket << self._shift)
        end = start + (1 << self._shift)
        counts = defaultdict(int, {gap: count for gap, count in self._counts.items() if start <= gap < end})
        for first, last, growth, _, size in [run for run in self._runs if run[0] < end and run[1] >= start]:
            skipped = max(0, -(-(start - first) // growth))
            for gap in range(first + skipped * growth, min(last + 1, end), growth):
                counts[gap] += size
        gaps = sorted(counts)
        return gaps, list(accumulate([counts[gap] for gap in gaps]))
