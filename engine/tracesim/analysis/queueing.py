"""Queue times of a run: split by what kept requests waiting, and whether the queue only grew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Final

from tracesim.engine.llm_engine import LLMEngine
from tracesim.engine.waiting_intervals import RUNNING_STEP
from tracesim.timing.clock import PER_SECOND

CAUSE_LABELS: Final[Mapping[str, str]] = {
    "max_num_seqs": "max_num_seqs",
    "token_budget": "token budget",
    "kv_blocks": "KV blocks",
    "watermark": "watermark",
    "preemption": "preemption",
    "chunked_prefill_off": "chunked prefill off",
    RUNNING_STEP: "running step",
}
"""What kept a request waiting, as people read it."""

_NUM_GROUPS = 4
_MIN_GROUP_SIZE = 5


def queue_time_of(engine: LLMEngine, request_id: str) -> tuple[int, int] | None:
    """Return the arrival of a request and when it was first scheduled; None if it was not.

    In femtoseconds under a clock, in steps without one.
    """
    if engine.timekeeper is None:
        progress = engine.requests.get(request_id)
        start, end = (None, None) if progress is None else (progress.arrival_step, progress.scheduled_step)
    else:
        times = engine.timekeeper.requests.get(request_id)
        start, end = (None, None) if times is None else (times.arrived, times.scheduled)
    return None if start is None or end is None else (start, end)


def queue_time_by_cause(engine: LLMEngine, request_id: str) -> Mapping[str, float]:
    """Return how long which cause kept a request waiting before it was first scheduled.

    In seconds under a clock, in steps without one.
    """
    queue_time = queue_time_of(engine, request_id)
    return {} if queue_time is None else _in_units(engine, engine.waits.split(*queue_time))


def all_queue_times(engine: LLMEngine) -> list[tuple[int, int]]:
    """Return `queue_time_of` for every request that was scheduled, in the order in which they were added."""
    times = (queue_time_of(engine, request_id) for request_id in engine.requests)
    return [each for each in times if each is not None]


def total_queue_time_by_cause(
    engines: Sequence[LLMEngine], queue_times: Sequence[Iterable[tuple[int, int]]]
) -> Mapping[str, float]:
    """Return how long which cause was in effect over the queue times of each engine, the largest part first.

    In seconds under a clock, in steps without one.
    """
    totals: Counter[str] = Counter()
    for engine, times in zip(engines, queue_times, strict=True):
        for queue_time in times:
            totals.update(engine.waits.split(*queue_time))
    return _in_units(engines[0], dict(totals.most_common()))


def is_overloaded(engine: LLMEngine, queue_times: Iterable[tuple[int, int]]) -> bool:
    """Return whether the queue only grew while requests arrived, so that waits get longer and longer.

    In order of arrival, each quarter of the requests waits longer on average than the one before it, and from
    the second quarter on somebody waits all the time. Fewer than 20 requests, and requests that all arrive at
    once, show no trend.
    """
    queue_times = sorted(queue_times)
    size = len(queue_times) // _NUM_GROUPS
    if size < _MIN_GROUP_SIZE:
        return False
    groups = [queue_times[index * size : (index + 1) * size] for index in range(_NUM_GROUPS)]
    waits = [Fraction(sum(end - start for start, end in group), size) for group in groups]
    if not all(before < after for before, after in pairwise(waits)):
        return False
    (since, _), (last_arrival, _) = groups[1][0], queue_times[-1]
    causes = engine.waits.split(since, last_arrival)
    return queue_times[0][0] < since < last_arrival and RUNNING_STEP not in causes


def _in_units(engine: LLMEngine, parts: Mapping[str, int]) -> Mapping[str, float]:
    if engine.timekeeper is None:
        return parts
    return {cause: time / PER_SECOND for cause, time in parts.items()}
