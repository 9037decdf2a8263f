"""`Probe`: follows a replay of which only one thing is asked, and ends it when that is known.

The question is whether a fraction of the requests meets an objective, in engines that keep up with their
arrivals. The answer is no as soon as more requests than may have missed the objective, or if the queue only
grows, which is looked for when a half, three quarters and all of the requests were scheduled.
"""

from __future__ import annotations

import math
from typing import Final, Literal

from tracesim.analysis.metrics import Slo, latency_of
from tracesim.analysis.queueing import all_queue_times, is_overloaded
from tracesim.analysis.report import Run, Summary
from tracesim.engine.stride_records import StrideRecord

_CHECKED_AT: Final = (0.5, 0.75)
"""The parts of all requests after which the queue is looked at, before the end."""


class ProbeEndedError(Exception):
    """The answer to a probe is known, and it is no."""

    def __init__(self, verdict: Literal["missed", "overloaded"]) -> None:
        super().__init__(verdict)
        self.verdict = verdict


class Probe:
    """Follows the strides of a run with a clock, whose requests were all added."""

    def __init__(self, run: Run, slo: Slo, attainment: float) -> None:
        """`attainment` is the fraction of the requests, over 0 and at most 1, that has to meet `slo`."""
        self._run, self._slo = run, slo
        total = len(run.requests)
        self._may_miss = total - math.ceil(attainment * total - 1e-9)
        self._num_missed = 0
        self._num_scheduled = 0
        self._checks = [math.ceil(part * total) for part in _CHECKED_AT]

    def on_stride(self, stride: StrideRecord) -> None:
        """Take note of a stride. Raises ProbeEndedError when the answer is no."""
        for finished in stride.finished:
            progress = self._run.requests[finished.id]
            timekeeper = self._run.engines[progress.replica or 0].timekeeper
            assert timekeeper is not None
            latency = latency_of(timekeeper.requests[finished.id], progress.state.num_output_tokens)
            self._num_missed += not self._slo.is_met_by(latency)
        self._num_missed += len(stride.rejected)
        if self._num_missed > self._may_miss:
            raise ProbeEndedError("missed")
        self._num_scheduled += len(stride.started)
        while self._checks and self._num_scheduled >= self._checks[0]:
            del self._checks[0]
            if any(is_overloaded(engine, all_queue_times(engine)) for engine in self._run.engines):
                raise ProbeEndedError("overloaded")

    def verdict(self, summary: Summary) -> Literal["met", "missed", "overloaded"]:
        """Return the answer after the whole run, of which this is the summary."""
        if summary.overloaded:
            return "overloaded"
        return "missed" if self._num_missed > self._may_miss else "met"
