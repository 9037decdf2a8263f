"""What the panel of the live view shows: the state of an engine at the moment when it is drawn."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, Literal, NamedTuple

from tracesim.engine.llm_engine import LLMEngine
from tracesim.engine.progress import RequestProgress
from tracesim.engine.step_records import WaitingFor
from tracesim.engine.stride_records import StrideRecord
from tracesim.requests.request import ARRIVING, PREEMPTED, RUNNING, WAITING

Phase = Literal["queued", "prefill", "decode", "preempted", "finished", "rejected"]

_SPEED_OVER_SECONDS: Final = 2.0
_KEEP_FINISHED_RECORDS: Final = 6


class Lane(NamedTuple):
    """A request: how many tokens of its prompt are computed, and how many of its response are emitted."""

    id: str
    phase: Phase
    computed: int
    prompt_tokens: int
    emitted: int
    output_tokens: int
    finish_reason: str | None = None


class Meter(NamedTuple):
    """How much of something is in use; `total` is None if it is unlimited.

    `warns` is whether it is worse the more is in use. A full token budget is none.
    """

    name: str
    short_name: str
    used: int
    total: int | None
    warns: bool = False


@dataclass(frozen=True)
class Snapshot:
    """A moment of a run, after the step with the number `step`, None before the first.

    A place for a lane may be empty, so that the others keep theirs. `hidden` counts the active requests
    without a lane. `time` is in seconds of the clock; it is None without one. The speeds are per second of
    real time, over the last two seconds, and None at the start.
    """

    step: int | None
    finished: int
    requests: int
    running: int
    waiting: int
    lanes: Sequence[Lane | None]
    hidden: int
    waiting_for: WaitingFor | None
    meters: Sequence[Meter]
    max_num_seqs: int | None
    time: float | None = None
    steps_per_second: float | None = None
    tokens_per_second: float | None = None


class RunMonitor:
    """Follows a run by its stride records, and takes snapshots of it. `clock` measures real time."""

    def __init__(self, engine: LLMEngine, clock: Callable[[], float]) -> None:
        self._engine = engine
        self._clock = clock
        self._last: StrideRecord | None = None
        self._num_tokens = 0
        self._samples: deque[tuple[float, int, int]] = deque()
        self._slots: list[str | None] = []
        self._num_records = 0
        self._over_since: dict[str, int] = {}
        self._order = list(engine.requests)
        self._num_ended = 0

    def count(self, record: StrideRecord) -> None:
        """Take the next record."""
        self._last = record
        self._num_records += 1
        self._num_tokens += record.num_emitted

    def pause(self) -> None:
        """Forget the speed so far, which time without steps would make wrong."""
        self._samples.clear()

    def snapshot(self, num_lanes: int) -> Snapshot:
        """Return the state of the run, with at most `num_lanes` lanes."""
        engine, last = self._engine, self._last
        running = last.running if last else 0
        waiting = last.waiting if last else 0
        has_end = last is not None and last.start is not None and last.duration is not None
        steps_per_second, tokens_per_second = self._speeds()
        lanes, hidden = self._lanes(num_lanes, running + waiting)
        return Snapshot(
            step=last.step + last.steps - 1 if last else None,
            finished=len(engine.requests) - engine.get_num_unfinished_requests(),
            requests=len(engine.requests),
            running=running,
            waiting=waiting,
            lanes=lanes,
            hidden=hidden,
            waiting_for=last.waiting_for if last and waiting else None,
            meters=self._meters(),
            max_num_seqs=engine.config.max_num_seqs,
            time=last.start + last.duration if has_end else None,  # type: ignore[union-attr,operator]
            steps_per_second=steps_per_second,
            tokens_per_second=tokens_per_second,
        )

    def _meters(self) -> list[Meter]:
        config, last = self._engine.config, self._last
        meters = []
        total = config.num_gpu_blocks
        free = last.free_blocks if last else total
        used = 0 if total is None or free is None else total - free
        meters.append(Meter("KV blocks", "KV", used, total, warns=True))
        if config.max_num_batched_tokens is not None:
            used = sum(entry.tokens for entry in last.prefill) + last.num_decodes if last else 0
            meters.append(Meter("token budget", "budget", used, config.max_num_batched_tokens))
        meters.append(Meter("running", "run", last.running if last else 0, config.max_num_seqs))
        return meters

    def _speeds(self) -> tuple[float | None, float | None]:
        now = self._clock()
        samples = self._samples
        samples.append((now, self._engine.counts.steps, self._num_tokens))
        while samples[-1][0] - samples[0][0] > _SPEED_OVER_SECONDS:
            samples.popleft()
        (start, steps, tokens), (end, last_steps, last_tokens) = samples[0], samples[-1]
        if end <= start:
            return None, None
        return (last_steps - steps) / (end - start), (last_tokens - tokens) / (end - start)

    def _lanes(self, num_lanes: int, num_active: int) -> tuple[list[Lane | None], int]:
        """Return lanes, and how many active requests have none.

        A request keeps its place; one that has finished keeps it until another request needs it.
        """
        del self._slots[num_lanes:]
        self._slots += [None] * (num_lanes - len(self._slots))
        free = self._free_slots(keep_finished=len(self._order) <= num_lanes)
        shown = {each for each in self._slots if each is not None}
        new = islice((each for each in self._active() if each not in shown), len(free))
        for place, request_id in zip(free, list(new), strict=False):
            self._slots[place] = request_id
        lanes = [None if each is None else _lane_of(self._engine.requests[each]) for each in self._slots]
        num_shown = sum(lane is not None and lane.finish_reason is None for lane in lanes)
        return lanes, max(0, num_active - num_shown)

    def _free_slots(self, *, keep_finished: bool) -> list[int]:
        """Return the places that a new request may take, empty ones first.

        Unless finished requests are kept, their places become empty after a few events.
        """
        now = self._num_records
        empty, finished = [], []
        for place, request_id in enumerate(self._slots):
            if request_id is None:
                empty.append(place)
            elif self._engine.requests[request_id].finish_reason is not None:
                if (
                    now - self._over_since.setdefault(request_id, now) > _KEEP_FINISHED_RECORDS
                    and not keep_finished
                ):
                    self._slots[place] = None
                    del self._over_since[request_id]
                    empty.append(place)
                else:
                    finished.append(place)
        return empty + finished

    def _active(self) -> Iterator[str]:
        """Yield the requests that run, then those that wait, in the order in which they were added."""
        engine = self._engine
        for state in engine.scheduler.running:
            yield state.id
        while (
            self._num_ended < len(self._order)
            and engine.requests[self._order[self._num_ended]].finish_reason is not None
        ):
            self._num_ended += 1
        left = engine.scheduler.num_waiting
        for request_id in islice(self._order, self._num_ended, None):
            if not left:
                return
            if engine.requests[request_id].state.status in (WAITING, PREEMPTED):
                left -= 1
                yield request_id


def _lane_of(progress: RequestProgress) -> Lane:
    state, request = progress.state, progress.request
    phase: Phase
    if progress.finish_reason is not None:
        phase = "rejected" if progress.is_rejected else "finished"
    elif state.status is RUNNING:
        phase = "decode" if state.is_decoding else "prefill"
    else:
        phase = "preempted" if state.status is PREEMPTED else "queued"
    computed = state.current_num_computed_tokens
    if phase == "finished":
        computed = request.num_prompt_tokens
    emitted = 0 if state.status is ARRIVING else state.num_output_tokens
    return Lane(
        request.id,
        phase,
        min(computed, request.num_prompt_tokens),
        request.num_prompt_tokens,
        emitted,
        request.num_output_tokens,
        progress.finish_reason,
    )
