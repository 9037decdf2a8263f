"""The story of a request: what happened to it and why, collected while the engine runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from tracesim.analysis.metrics import RequestLatency, latency_of
from tracesim.engine.llm_engine import LLMEngine
from tracesim.engine.progress import RequestProgress
from tracesim.engine.step_records import WaitingFor
from tracesim.engine.stride_records import StrideRecord
from tracesim.scheduler import Cause
from tracesim.timing.clock import PER_SECOND


@dataclass(slots=True)
class Period:
    """The steps from `first` to `last`, and their `start` and `end` in seconds from the first arrival.

    Without a clock they are None.
    """

    first: int
    last: int
    start: float | None
    end: float | None

    def extend(self, until: Period) -> None:
        """Let the period end with another one."""
        self.last, self.end = until.last, until.end


@dataclass(slots=True)
class Arrival:
    """The request arrived before the first step of `when`; under a clock at its start."""

    when: Period


@dataclass(slots=True)
class Wait:
    """The request waited for one cause.

    `behind` are the requests that were first in the queue, each once, in this order; it is empty if that was
    the request itself. `needs` and `free` are those of the first step, see `WaitingFor`.
    """

    when: Period
    cause: Cause
    behind: dict[str, None]
    needs: int | None
    free: int | None


@dataclass(slots=True)
class Computation:
    """The prompt was computed, and after a preemption (`is_repeated`) the tokens emitted before it as well.

    `chunks` has how many tokens a step computed, and in how many consecutive steps. Before the first chunk
    `cached` tokens came from the prefix cache.
    """

    when: Period
    cached: int
    is_repeated: bool
    chunks: list[tuple[int, int]] = field(default_factory=list)

    def add(self, tokens: int, steps: int) -> None:
        """Add a chunk of `tokens` tokens in each of `steps` steps."""
        if self.chunks and self.chunks[-1][0] == tokens:
            steps += self.chunks.pop()[1]
        self.chunks.append((tokens, steps))


@dataclass(slots=True)
class FirstToken:
    """The request emitted its first token, at the end of the step."""

    when: Period


@dataclass(slots=True)
class Preemption:
    """The request returned to the waiting queue because `needed_by`, maybe itself, needed KV blocks."""

    when: Period
    needed_by: str


@dataclass(slots=True)
class End:
    """The request finished, at the end of the last step of `when`; `is_rejected` if it could never run."""

    when: Period
    is_rejected: bool


@dataclass(slots=True)
class Discard:
    """The request was computed in vain after its end, which the scheduler did not know yet."""

    when: Period


Event = Arrival | Wait | Computation | FirstToken | Preemption | End | Discard


class Story:
    """What happened to one request, as `events` in order; memory grows with them, not with steps."""

    def __init__(self, progress: RequestProgress) -> None:
        self.progress = progress
        self.events: list[Event] = []
        self._waits = True
        self._has_ended = False
        self._computation: Computation | None = None

    def add(self, record: StrideRecord, when: Period) -> None:
        """Add what the steps of a record, which are `when`, mean for the request."""
        request_id = self.progress.request.id
        last = self.events[-1]
        if self._waits and isinstance(last, Wait):  # also in steps that have no record, as they do nothing
            last.when.last = when.first - 1
        if request_id in record.preempted:
            needed_by = record.preempted_for[list(record.preempted).index(request_id)]
            self.events.append(Preemption(when, needed_by))
            self._waits = not self._has_ended
        if request_id in record.discarded:
            self._discard(when)
        else:
            self._compute(record, when)
        for end in record.finished:
            if end.id == request_id:
                self._waits, self._has_ended = False, True
                is_rejected = request_id in record.rejected
                self.events.append(End(Period(when.last, when.last, when.end, when.end), is_rejected))
        if self._waits and record.waiting_for is not None:
            self._wait(record.waiting_for, when)

    def _compute(self, record: StrideRecord, when: Period) -> None:
        """Add the chunk that a record computes of the request, and the first token if that is emitted."""
        request_id = self.progress.request.id
        tokens = sum(entry.tokens for entry in record.prefill if entry.id == request_id)
        is_started = request_id in record.started
        if self._waits and (tokens or is_started):
            self._waits = False
            cached = sum(entry.tokens for entry in record.cached if entry.id == request_id)
            is_repeated = any(isinstance(event, Preemption) for event in self.events)
            self._computation = Computation(replace(when), cached, is_repeated)
            self.events.append(self._computation)
        if tokens and self._computation is not None:
            self._computation.when.extend(when)
            self._computation.add(tokens, record.steps)
        if is_started and not any(isinstance(event, FirstToken) for event in self.events):
            self.events.append(FirstToken(when))

    def _wait(self, waiting_for: WaitingFor, when: Period) -> None:
        """Add a wait, which may continue the last one."""
        first, cause = waiting_for.id, waiting_for.cause
        is_first = first == self.progress.request.id
        last = self.events[-1]
        if isinstance(last, Wait) and last.cause == cause and is_first != bool(last.behind):
            last.when.extend(when)
            if not is_first:
                last.behind[first] = None
            return
        when = replace(when)
        if isinstance(last, Arrival):  # which may be before steps that have no record
            when.first = last.when.first
        behind = {} if is_first else {first: None}
        self.events.append(Wait(when, cause, behind, waiting_for.needs, waiting_for.free))

    def _discard(self, when: Period) -> None:
        """Add that the request was computed in vain, which may continue the last time."""
        last = self.events[-1]
        if isinstance(last, Discard):
            last.when.extend(when)
        else:
            self.events.append(Discard(replace(when)))


class Explainer:
    """Collects the stories of some requests of an engine: pass `on_stride` to `LLMEngine.run`.

    `stories` are in the order of the ids. A request that has not arrived has no events.
    """

    def __init__(self, engine: LLMEngine, request_ids: Sequence[str]) -> None:
        """Create it before the first step. Raises KeyError for an id that the engine does not have."""
        self._engine = engine
        self.stories = [Story(engine.requests[each]) for each in dict.fromkeys(request_ids)]

    def latency(self, story: Story) -> RequestLatency | None:
        """Return the latencies of the request of a story so far; None without a clock or an arrival."""
        state, timekeeper = story.progress.state, self._engine.timekeeper
        times = None if timekeeper is None else timekeeper.requests.get(state.id)
        return None if times is None else latency_of(times, state.num_output_tokens)

    def on_stride(self, record: StrideRecord) -> None:
        """Add what the steps of a record mean for the requests."""
        timekeeper = self._engine.timekeeper
        origin = 0 if timekeeper is None else timekeeper.start
        start, end = record.start, None
        if start is not None and record.duration is not None:
            start -= origin / PER_SECOND
            end = start + record.duration
        for story in self.stories:
            arrival_step = story.progress.arrival_step
            if arrival_step is None or arrival_step > record.step:
                continue
            if not story.events:
                arrived = None
                if timekeeper is not None:
                    arrival = timekeeper.requests[story.progress.request.id].arrived
                    arrived = (arrival - origin) / PER_SECOND
                story.events.append(Arrival(Period(arrival_step, arrival_step, arrived, arrived)))
            story.add(record, Period(record.step, record.step + record.steps - 1, start, end))
