"""Step records as lines of JSON, straight from the steps, without a `StepRecord` between.

The lines are those of `report.step_to_json`. What they say of a request is the same step after step but for a
number, so it is made once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any

import orjson

from tracesim.engine.outputs import STEP_SCHEMA, StepRecord
from tracesim.engine.progress import RequestProgress
from tracesim.requests.request import RequestState
from tracesim.scheduler import Scheduled, Scheduler, StepPlan
from tracesim.timing.clock import PER_SECOND


def step_to_json(record: StepRecord) -> bytes:
    """A step record as one line of JSON, `STEP_SCHEMA`, without the fields that this run does not have."""
    fields = orjson.dumps(record)[1:]
    if record.start is None:
        fields = fields.removesuffix(b',"start":null,"duration":null}') + b"}"
    if record.cached is None:
        fields = fields.replace(b',"cached":null', b"")
    return b'{"schema":"%s",%s\n' % (STEP_SCHEMA.encode(), fields)


class StepLines:
    """Writes the steps of one engine. `requests` are the engine's, by id."""

    def __init__(
        self,
        write: Callable[[bytes], object],
        scheduler: Scheduler,
        requests: Mapping[str, RequestProgress],
        *,
        prefix_caching: bool,
    ) -> None:
        self._write = write
        self._scheduler = scheduler
        self._requests = requests
        self._prefix_caching = prefix_caching
        self._batch = ""
        self._heads: dict[RequestState, str] = {}
        self._tokens_left: dict[RequestState, Iterator[str]] = {}
        for state in scheduler.running:
            self._meet(state)

    def planned(self, plan: StepPlan) -> None:
        """Take down the batch of a plan and the tokens that come out of it; before `Scheduler.update`."""
        for entry in (*plan.prefill, *plan.decode):
            if entry.state not in self._heads:
                self._meet(entry.state)
        decoding = self._scheduler.decoding_requests(plan)
        decodes = (
            self._decodes(decoding) if not plan.decode else self._entries(self._scheduler.decode_batch(plan))
        )
        prefills, tokens = self._entries(plan.prefill), self._tokens(plan.emitting(decoding))
        self._batch = f'"prefill":[{prefills}],"decode":[{decodes}],"emitted":[{tokens}]'

    def done(
        self,
        number: int,
        plan: StepPlan,
        finished: Sequence[RequestState],
        time: tuple[int, int] | None = None,
    ) -> None:
        """Write the line of step `number`, whose plan was taken down; after `Scheduler.update`.

        `time` is its start and its duration in picoseconds, where there is a clock.
        """
        endings = _json([_ending(self._requests[state.id]) for state in finished]) if finished else "[]"
        preempted = _json([state.id for state in plan.preempted]) if plan.preempted else "[]"
        free = self._scheduler.num_free_blocks
        line = (
            f'{{"schema":"{STEP_SCHEMA}","step":{number},{self._batch},"finished":{endings},'
            f'"preempted":{preempted},"running":{len(self._scheduler.running)},'
            f'"waiting":{self._scheduler.num_waiting},"free_blocks":{"null" if free is None else free}'
        )
        if self._prefix_caching:
            cached = [{"id": state.id, "tokens": tokens} for state, tokens in plan.cached]
            line += f',"cached":{_json(cached)}'
        if time is not None:
            start, duration = time
            line += f',"start":{_json(start / PER_SECOND)},"duration":{_json(duration / PER_SECOND)}'
        self._write(f"{line}}}\n".encode())
        for state in finished:
            self._heads.pop(state, None)
            self._tokens_left.pop(state, None)

    def _meet(self, state: RequestState) -> None:
        """Make what is said of a request."""
        name = _json(state.id)
        self._heads[state] = f'{{"id":{name},"computed":'
        response = self._requests[state.id].response
        emitted = range(state.num_output_tokens, response.num_tokens)
        if response.token_ids is None:
            token = f'{{"id":{name},"token_id":null,"text":null}}'
            self._tokens_left[state] = repeat(token, len(emitted))
        else:
            self._tokens_left[state] = iter(
                [
                    f'{{"id":{name},"token_id":{_json(response.token_id(position))},"text":{_json(response.piece(position))}}}'
                    for position in emitted
                ]
            )

    def _entries(self, batch: Sequence[Scheduled]) -> str:
        heads = self._heads
        return ",".join(
            [f'{heads[state]}{computed},"tokens":{tokens}}}' for state, computed, tokens in batch]
        )

    def _decodes(self, decoding: Sequence[RequestState]) -> str:
        """The same for requests that decode by the calendar: their counters follow from its tick."""
        if not decoding:
            return ""
        heads, tick = self._heads, _tick_of(decoding)
        return ",".join(
            [f'{heads[s]}{s.num_tokens + tick - s.entered_at - 1},"tokens":1}}' for s in decoding]
        )

    def _tokens(self, emitting: Sequence[RequestState]) -> str:
        return ",".join(map(next, map(self._tokens_left.__getitem__, emitting)))


def _tick_of(decoding: Sequence[RequestState]) -> int:
    calendar = decoding[0].calendar
    assert calendar is not None, f"{decoding[0]!r} does not decode"
    return calendar.tick


def _ending(progress: RequestProgress) -> dict[str, str | None]:
    return {
        "id": progress.request.id,
        "finish_reason": progress.finish_reason,
        "stop_reason": progress.stop_reason,
    }


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
