"""When things happen to requests under a clock, and how far apart their tokens come."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tracesim.requests.batch import Batch
from tracesim.requests.request import RequestState
from tracesim.scheduler import StepPlan, Stride
from tracesim.timing.clock import Clock, sum_of_series
from tracesim.timing.token_gaps import Gaps


@dataclass(slots=True)
class RequestTimes:
    """A request's moments, in picoseconds from the start of the run; None until they happen.

    `scheduled` is the start of the first step that computed any of its prompt; a token comes at a step's end.
    """

    arrived: int
    scheduled: int | None = None
    first_token: int | None = None
    last_token: int | None = None
    is_decoding: bool = False


class Timekeeper:
    """Lets the time of steps pass, and notes what it means for requests.

    `now` is the start of the next step, `requests` has the times of each by id. `gaps` counts the times
    between two tokens of a request, over all requests: a decode moves all that decode, so a step adds one gap
    with the size of its batch. Only who did not emit in the last step that decoded has a gap of its own.
    `busy` adds up for how long requests were in a batch. `last_step` has the start and the duration of the
    step that passed last, unless that was in a stride.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.now = 0
        self.requests: dict[str, RequestTimes] = {}
        self.gaps = Gaps()
        self.busy = 0
        self.last_step = (0, 0)
        self._last_decode = 0
        self._own_last: dict[str, int] = {}

    def arrive(self, request_id: str, time: int) -> None:
        """Note when a request arrives."""
        self.requests[request_id] = RequestTimes(time)

    def stop_decoding(self, request_id: str) -> None:
        """Note that a request, if it decodes, does so no more: it was preempted, or it was aborted."""
        times = self.requests[request_id]
        if times.is_decoding:
            times.last_token = self._own_last.pop(request_id, self._last_decode)
            times.is_decoding = False

    def pass_step(self, plan: StepPlan, batch: Batch, finished: Sequence[RequestState]) -> None:
        """Let the step of `plan` pass, which computed `batch`."""
        duration = self.clock.duration(batch)
        start, end = self.now, self.now + duration
        self.last_step = start, duration
        self.busy += (len(plan.prefill) + plan.num_decodes) * duration
        for entry in plan.prefill:
            times = self.requests[entry.state.id]
            if times.scheduled is None:
                times.scheduled = start
        for state in plan.preempted:
            self.stop_decoding(state.id)
        num_decodes = plan.num_decodes - len(plan.decode)
        if num_decodes:
            self._decoded(end, num_decodes, plan.skipped)
        for state in plan.sampled:
            if state.request.num_output_tokens:
                self._sampled(state.id, end)
        if finished:
            self._finished(end, finished)
        self.now = end

    def pass_stride(self, stride: Stride) -> None:
        """Let the steps of a stride pass."""
        steps, batch, finished = stride
        start, num_decodes = self.now, batch.num_decodes
        first, growth = self.clock.duration(batch), self.clock.growth(batch)
        duration = sum_of_series(first, growth, steps)
        end = start + duration
        self.busy += (stride.num_prefills + num_decodes) * duration
        if num_decodes:
            if self._own_last or self._last_decode != start:
                self._decoded(start + first, num_decodes, ())
                first, steps = first + growth, steps - 1
            if steps:
                self.gaps.add_run(first, growth, steps, num_decodes)
            self._last_decode = end
        if finished:
            self._finished(end, finished)
        self.now = end

    def _decoded(self, end: int, num_decodes: int, skipped: Sequence[RequestState]) -> None:
        """Count the gaps of all that decoded in a step, which ends at `end`, while some were held back."""
        if skipped or self._own_last:
            num_decodes -= self._decoded_apart(end, {state.id for state in skipped})
        if num_decodes:
            self.gaps.add(end - self._last_decode, num_decodes)
        self._last_decode = end

    def _decoded_apart(self, end: int, skipped: Collection[str]) -> int:
        """Count the gaps of those with one of their own; how many that are."""
        for request_id in skipped:
            self._own_last.setdefault(request_id, self._last_decode)
        apart = [each for each in self._own_last if each not in skipped]
        for request_id in apart:
            self.gaps.add(end - self._own_last.pop(request_id))
        return len(apart)

    def _sampled(self, request_id: str, end: int) -> None:
        """Note a token of a request that was scheduled by itself, and decodes from now on."""
        times = self.requests[request_id]
        if times.first_token is None:
            times.first_token = end
        elif times.last_token is not None:
            self.gaps.add(end - times.last_token)
        times.last_token = end
        times.is_decoding = True
        if self._last_decode != end:
            self._own_last[request_id] = end

    def _finished(self, end: int, finished: Sequence[RequestState]) -> None:
        for state in finished:
            times = self.requests[state.id]
            if times.is_decoding:
                times.last_token = end
                self._own_last.pop(state.id, None)
