"""How time passes from step to step: counted in steps, or by a clock that also gives requests their times."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tracesim.requests.batch import Batch
from tracesim.requests.request import RequestState
from tracesim.scheduler import Scheduler, StepPlan, Stride
from tracesim.timing.clock import Clock, sum_of_series
from tracesim.timing.token_gaps import TokenGaps


class StepCounter:
    """Time counted in steps, for a run without a clock: the interface of `Timekeeper` where a step takes 1.

    `now` is the number of the next step. Requests have no times but the steps that the engine keeps.
    """

    last_step = None

    def __init__(self) -> None:
        self.now = 0

    @property
    def next_start(self) -> int:
        """When the next step starts."""
        return self.now

    def skip_to(self, time: int) -> int:
        """Pass over the steps before `time`, in which the engine is idle; return how many they are."""
        skipped, self.now = time - self.now, time
        return skipped

    def steps_before(self, time: int, batch: Batch, limit: int) -> int:
        """Return how many steps of this batch, up to the limit, start before `time`."""
        return min(limit, time - self.now)

    def earliest_end(self, start: int, steps: int) -> int:
        """Return when `steps` further steps can have ended at the earliest, none of them before `start`."""
        return max(self.now, start) + max(1, steps)

    def arrive(self, state: RequestState) -> None:
        """Do nothing: the engine notes the step of an arrival."""

    def stop_decoding(self, request_id: str) -> None:
        """Do nothing: no gaps between tokens are counted."""

    def start_step(self, plan: StepPlan, scheduler: Scheduler) -> None:
        """Do nothing: every step takes 1."""

    def end_step(self, plan: StepPlan, finished: Sequence[RequestState]) -> None:
        """Let the step pass."""
        self.now += 1

    def pass_stride(self, stride: Stride) -> None:
        """Let the steps of a stride pass."""
        self.now += stride.steps


@dataclass(slots=True)
class RequestTimes:
    """When things happened to one request, in femtoseconds from the start of the run; None until they do.

    `scheduled` is the start of the first step that computed any of its prompt. A token comes at the end of
    its step.
    """

    arrived: int
    scheduled: int | None = None
    first_token: int | None = None
    last_token: int | None = None
    is_decoding: bool = False


class Timekeeper:
    """Time by a clock, in femtoseconds, and what it means for requests.

    `now` is the start of the next step, `end` the end of the last one that computed tokens that count.
    `requests` has the times of each request by id, and `gaps` the times
    between two tokens of a request, over all requests. `busy` is the sum over requests of how long they were
    in a batch. `last_step` has the start and the duration of the last step or stride.

    Every decode emits one token per step, so a step adds one gap for all of them. That works because of this
    invariant: each decoding request emitted its last token at `_last_decode`, the end of the last step in
    which requests decoded, except those in `_last_tokens`, where the time of their last token is.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._shortest_step = min(map(clock.duration, (Batch(1, 0, 0, 0), Batch(0, 1, 0, 0))))
        self.now = 0
        self.end = 0
        self.requests: dict[str, RequestTimes] = {}
        self.gaps = TokenGaps()
        self.busy = 0
        self.last_step = (0, 0)
        self._last_decode = 0
        self._last_tokens: dict[str, int] = {}

    @property
    def start(self) -> int:
        """The first arrival, from which the figures of a run count; 0 before it."""
        return next(iter(self.requests.values())).arrived if self.requests else 0

    @property
    def next_start(self) -> int:
        """When the next batch starts, if one is planned now."""
        return self.now

    def skip_to(self, time: int) -> int:
        """Pass over the time before `time`, in which the engine is idle; that takes no steps."""
        self.now = time
        return 0

    def steps_before(self, time: int, batch: Batch, limit: int) -> int:
        """Return how many steps of this batch, up to the limit, start before `time`."""
        return self.clock.steps_before(time - self.now, batch, limit)

    def earliest_end(self, start: int, steps: int) -> int:
        """Return when `steps` further steps can have ended at the earliest, none of them before `start`."""
        return max(self.now, start) + max(1, steps) * self._shortest_step

    def arrive(self, state: RequestState) -> None:
        """Note when a request arrived, which may have been during the last step."""
        self.requests[state.id] = RequestTimes(state.arrival)

    def stop_decoding(self, request_id: str) -> None:
        """Note that a request does not decode any more, if it did: it was preempted or aborted."""
        times = self.requests[request_id]
        if times.is_decoding:
            times.last_token = self._last_tokens.pop(request_id, self._last_decode)
            times.is_decoding = False

    def start_step(self, plan: StepPlan, scheduler: Scheduler) -> None:
        """Find out when the batch of `plan` starts and how long it takes; before the scheduler's `update`.

        An empty batch takes no time.
        """
        is_empty = not plan.prefill and not plan.num_decodes
        duration = 0 if is_empty else self.clock.duration(scheduler.batch_of(plan))
        self.last_step = self.next_start, duration

    def end_step(self, plan: StepPlan, finished: Sequence[RequestState]) -> None:
        """Let the step of `plan` pass, and note the times of its requests."""
        start, duration = self.last_step
        self.now = end = start + duration
        self._note_step(plan, start, end)
        self._finish(finished, end)

    def _note_step(self, plan: StepPlan, start: int, end: int) -> None:
        """Note the times of the requests that a step computes."""
        duration = end - start
        batch_size = len(plan.prefill) + plan.num_decodes
        if batch_size > len(plan.discarded):
            self.end = end
        self.busy += batch_size * duration
        for entry in plan.prefill:
            times = self.requests[entry.state.id]
            if times.scheduled is None:
                times.scheduled = start
        for state in plan.preempted:
            self.stop_decoding(state.id)
        individually = {entry.state for entry in (*plan.prefill, *plan.decode)} if plan.discarded else ()
        num_in_vain = sum(state not in individually for state in plan.discarded)
        skipped = [state for state in plan.skipped if self.requests[state.id].is_decoding]
        self._add_gaps(end, plan.num_decodes - len(plan.decode) - num_in_vain, skipped)
        for state in plan.sampled:
            if state.request.num_output_tokens and state not in plan.discarded:
                times = self.requests[state.id]
                if times.first_token is None:
                    times.first_token = end
                elif times.last_token is not None:
                    self.gaps.add(end - times.last_token)
                times.last_token = end
                times.is_decoding = True
                if self._last_decode != end:
                    self._last_tokens[state.id] = end

    def pass_stride(self, stride: Stride) -> None:
        """Let the steps of a stride pass, and note the times of the requests that finished."""
        self.now = self._note_stride(stride, self.now)
        self._finish(stride.finished, self.now)

    def _note_stride(self, stride: Stride, start: int) -> int:
        """Note what the steps of a stride mean for gaps, and return when the last of them ends."""
        steps, batch = stride.steps, stride.batch
        first, growth = self.clock.duration(batch), self.clock.growth(batch)
        duration = sum_of_series(first, growth, steps)
        self.busy += (stride.num_prefills + batch.num_decodes) * duration
        self.last_step = start, duration
        end = start + duration
        num_decodes = batch.num_decodes - len(stride.discarded)
        if num_decodes:
            if self._last_tokens or self._last_decode != start:
                self._add_gaps(start + first, num_decodes, ())
                first, steps = first + growth, steps - 1
            if steps:
                self.gaps.add_stride(first, growth, steps, num_decodes)
            self._last_decode = end
        if num_decodes or stride.num_prefills:
            self.end = end
        return end

    def _add_gaps(self, end: int, num_decodes: int, skipped: Collection[RequestState]) -> None:
        """Add the gaps of `num_decodes` requests that emit a token at `end`, while `skipped` ones do not."""
        if not num_decodes:
            return
        if skipped or self._last_tokens:
            for state in skipped:
                self._last_tokens.setdefault(state.id, self._last_decode)
            skipped_ids = {state.id for state in skipped}
            for request_id in [each for each in self._last_tokens if each not in skipped_ids]:
                self.gaps.add(end - self._last_tokens.pop(request_id))
                num_decodes -= 1
            assert num_decodes >= 0, f"{-num_decodes} requests with a gap of their own do not decode"
        if num_decodes:
            self.gaps.add(end - self._last_decode, num_decodes)
        self._last_decode = end

    def _finish(self, finished: Sequence[RequestState], end: int) -> None:
        """Note the last tokens of requests that finished in the step that ended at `end`."""
        for state in finished:
            times = self.requests[state.id]
            if times.is_decoding:
                times.last_token = end
                times.is_decoding = False
                self._last_tokens.pop(state.id, None)
