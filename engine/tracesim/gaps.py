"""The times between tokens: millions of them, kept as arithmetic progressions and never written out."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from itertools import accumulate
from typing import Final, NamedTuple

_BUCKETS: Final = 65_536


class _Run(NamedTuple):
    """The gaps `first`, `first + growth`, ... `steps` of them, each of which came `size` times."""

    first: int
    growth: int
    steps: int
    size: int


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
        if growth:
            self._runs.append(_Run(first, growth, steps, count))
        else:
            self._counts[first] += steps * count

    def __len__(self) -> int:
        """How many gaps there are in all."""
        return sum(self._counts.values()) + sum(run.steps * run.size for run in self._runs)

    def total(self) -> int:
        """Their sum."""
        alone = sum(gap * count for gap, count in self._counts.items())
        in_runs = sum(
            (2 * first + growth * (steps - 1)) * steps * size for first, growth, steps, size in self._runs
        )
        return alone + in_runs // 2

    def counts(self) -> dict[int, int]:
        """How often each gap came, written out."""
        counts = dict(self._counts)
        for first, growth, steps, size in self._runs:
            for gap in range(first, first + growth * steps, growth):
                counts[gap] = counts.get(gap, 0) + size
        return counts

    def ranks(self) -> Ranks:
        """Their order."""
        return Ranks([*(_Run(gap, 1, 1, count) for gap, count in self._counts.items()), *self._runs])


class Ranks:
    """The gap of any rank, from 0: gaps are counted in buckets, and only one bucket's are put in order."""

    def __init__(self, runs: list[_Run]) -> None:
        self._runs = runs
        self._lowest = lowest = min([first for first, _, _, _ in runs], default=0)
        lasts = [first + growth * (steps - 1) for first, growth, steps, _ in runs]
        self._width = width = (max(lasts, default=0) - lowest) // _BUCKETS + 1
        sizes = [0] * _BUCKETS
        for run, last in zip(runs, lasts, strict=True):
            bucket = (run[0] - lowest) // width
            if (last - lowest) // width == bucket:
                sizes[bucket] += run.steps * run.size
                continue
            for bucket, steps in self._buckets(run):
                sizes[bucket] += steps * run.size
        self._ends = list(accumulate(sizes))
        self._ordered: dict[int, tuple[list[int], list[int]]] = {}

    def __getitem__(self, rank: int) -> int:
        bucket = bisect_right(self._ends, rank)
        if bucket not in self._ordered:
            self._ordered[bucket] = self._in_order(bucket)
        gaps, ends = self._ordered[bucket]
        before = self._ends[bucket - 1] if bucket else 0
        return gaps[bisect_right(ends, rank - before)]

    def _buckets(self, run: _Run) -> Iterator[tuple[int, int]]:
        """The buckets in which a run has gaps, and how many of its steps each has."""
        bucket, step = (run.first - self._lowest) // self._width, 0
        while step < run.steps:
            border = self._lowest + (bucket + 1) * self._width
            after = min(run.steps, -(-(border - run.first) // run.growth))
            if after > step:
                yield bucket, after - step
            step = after
            bucket += 1

    def _in_order(self, bucket: int) -> tuple[list[int], list[int]]:
        """A bucket's gaps in order, and for each how many there are up to it."""
        start = self._lowest + bucket * self._width
        end = start + self._width
        counts: dict[int, int] = defaultdict(int)
        for first, growth, steps, size in self._runs:
            if first < end and first + growth * (steps - 1) >= start:
                skipped = max(0, -(-(start - first) // growth))
                for gap in range(first + skipped * growth, min(first + steps * growth, end), growth):
                    counts[gap] += size
        gaps = sorted(counts)
        return gaps, list(accumulate(counts[gap] for gap in gaps))
