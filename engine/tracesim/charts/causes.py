"""What kept requests waiting over time, as the charts show it."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from tracesim.charts.timeline import Phase, Span, Timeline
from tracesim.engine.waiting_intervals import RUNNING_STEP
from tracesim.scheduler import CAUSES

ALL_CAUSES: Final = (*CAUSES, RUNNING_STEP)


class Waiting(NamedTuple):
    """From `start` to `end`, `requests` requests waited for `cause`."""

    start: float
    end: float
    requests: int
    cause: str


def waiting_by_cause(timeline: Timeline, spans: Sequence[Sequence[Span]]) -> Iterator[Waiting]:
    """Yield how many requests waited to be scheduled for the first time, and why, in the order of time.

    The parts of a cause add up to the queue time that it made up, over all requests.
    """
    changes: list[tuple[float, int, str | None]] = [(time, 0, cause) for time, cause in timeline.causes]
    for of_request in spans:
        if of_request and of_request[0].phase is Phase.QUEUED:
            queued = of_request[0]
            changes += [(queued.start, 1, None), (queued.end, -1, None)]
    changes.sort(key=lambda change: change[0])
    since, requests, cause = 0.0, 0, RUNNING_STEP
    for time, difference, new_cause in changes:
        if requests and since < time:
            yield Waiting(since, time, requests, cause)
        since = time
        requests += difference
        if not difference:
            cause = new_cause or RUNNING_STEP


def mean_waiting(parts: Sequence[Waiting], edges: Sequence[float]) -> Mapping[str, list[float]]:
    """Return the mean number of waiting requests in each bin, by cause."""
    num_bins = len(edges) - 1
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0] * num_bins)
    for since, end, requests, cause in parts:
        index = min(bisect_right(edges, since) - 1, num_bins - 1)
        while since < end:
            until = end if index == num_bins - 1 else min(end, edges[index + 1])
            sums[cause][index] += requests * (until - since)
            since, index = until, index + 1
    widths = [after - before for before, after in pairwise(edges)]
    return {
        cause: [part / width for part, width in zip(sums[cause], widths, strict=True)]
        for cause in ALL_CAUSES
        if cause in sums
    }
