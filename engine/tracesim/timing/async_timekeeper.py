"""Time under asynchronous scheduling: batches run back to back, and are planned one step ahead."""

from __future__ import annotations

from collections.abc import Sequence

from tracesim.requests.batch import Batch
from tracesim.requests.request import RequestState
from tracesim.scheduler import StepPlan, Stride
from tracesim.timing.clock import Clock
from tracesim.timing.timekeeper import Timekeeper


class AsyncTimekeeper(Timekeeper):
    """The time of a scheduler that plans a step before the output of the step before is there.

    While batch n runs, batch n + 1 is planned, at the moment at which batch n starts. So `now`, at which the
    next batch is planned and requests are admitted, is the start of the last batch, and `_batch_end` its end.
    The tokens of a batch come at its end, but the engine takes them in with the next plan. An empty batch
    takes no time.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self._batch_end = 0

    @property
    def next_start(self) -> int:
        """When the next batch starts: when the one before it ends, or at once after an idle time."""
        return max(self.now, self._batch_end)

    def steps_before(self, time: int, batch: Batch, limit: int) -> int:
        """Return how many steps of this batch, up to the limit, are planned before `time`."""
        return min(limit, 1 + self.clock.steps_before(time - self.next_start, batch, limit))

    def earliest_end(self, start: int, steps: int) -> int:
        """Return when `steps` further batches can have ended at the earliest; without any, the last one."""
        return max(self.next_start, start) + steps * self._shortest_step

    def end_step(self, plan: StepPlan, finished: Sequence[RequestState]) -> None:
        """Launch the batch of `plan`; `finished` are those that finished with the batch before."""
        self._finish(finished, self._batch_end)
        start, duration = self.last_step
        self._note_step(plan, start, start + duration)
        self.now, self._batch_end = start, start + duration

    def pass_stride(self, stride: Stride) -> None:
        """Launch the batches of a stride; requests may have finished with the batch before it."""
        self._finish(stride.finished, self._batch_end)
        start = self.next_start
        self._batch_end = self._note_stride(stride, start)
        self.now = self._batch_end - self.clock.duration(stride.batch.after(stride.steps - 1))
