"""The JSON of step records, `tracesim.step/1`: one line per step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any, Final

import orjson

from tracesim.engine.progress import RequestProgress
from tracesim.engine.step_records import StepRecord, StepRecorder
from tracesim.requests.request import FINISHED, FINISHED_IGNORED, RequestState
from tracesim.responses.recorded_response import RecordedResponse
from tracesim.scheduler import BatchEntry, Scheduler, StepPlan

STEP_SCHEMA: Final = "tracesim.step/1"


def step_to_json(record: StepRecord) -> bytes:
    """Return a step record as one line of JSON.

    It has no `cached` without prefix caching, no `rejected` if no request was rejected in the step, no
    `discarded` where nothing can be computed in vain, no `launched` without asynchronous scheduling, no
    `preempted_for` where the causes are not known, no `waiting_for` if the step left nobody waiting, and no
    `start` and `duration` without a clock. `replica` follows the number of the step where there are several.
    """
    line: dict[str, object] = {
        "schema": STEP_SCHEMA,
        "step": record.step,
        **({} if record.replica is None else {"replica": record.replica}),
        "prefill": record.prefill,
        "decode": record.decode,
        "emitted": record.emitted,
        "finished": record.finished,
        "preempted": record.preempted,
        "running": record.running,
        "waiting": record.waiting,
        "free_blocks": record.free_blocks,
    }
    if record.preempted_for is not None:
        line["preempted_for"] = record.preempted_for
    if record.waiting_for is not None:
        line["waiting_for"] = record.waiting_for
    if record.cached is not None:
        line["cached"] = record.cached
    if record.discarded is not None:
        line["discarded"] = record.discarded
    if record.launched is not None:
        line["launched"] = record.launched
    if record.rejected:
        line["rejected"] = record.rejected
    if record.start is not None:
        line["start"] = record.start
        line["duration"] = record.duration
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


class StepWriter(StepRecorder):
    """Calls `write` with each step as a line of JSON, several times faster than from complete records.

    The long lists of its records, which have an item per request of the batch, are JSON already. The item of
    a request differs from step to step only by a number, so the rest of it is encoded once.
    """

    def __init__(
        self,
        write: Callable[[bytes], object],
        scheduler: Scheduler,
        requests: Mapping[str, RequestProgress],
        *,
        prefix_caching: bool,
        replica: int | None = None,
    ) -> None:
        super().__init__(
            lambda record: write(step_to_json(record)),
            scheduler,
            requests,
            prefix_caching=prefix_caching,
            replica=replica,
        )
        self._entry_starts: dict[RequestState, str] = {}
        self._tokens_left: dict[RequestState, Iterator[str]] = {}
        self._finished: list[RequestState] = []
        for state in scheduler.running:
            self._encode(state)

    def _batch_of(self, plan: StepPlan) -> tuple[Any, Any, Any]:
        """Return what a step computes and emits, encoded."""
        for entry in (*plan.prefill, *plan.decode):
            if entry.state not in self._entry_starts:
                self._encode(entry.state)
        decoding = self._scheduler.decoding_requests(plan)
        starts = self._entry_starts
        if decoding and not plan.decode:
            # As `_entries(decode_batch(plan))`, without an object and a property call per request.
            calendar = decoding[0].calendar
            assert calendar is not None, f"{decoding[0]!r} does not decode"
            tick = calendar.tick
            decode = json_list(
                [f'{starts[s]}{s.num_tokens + tick - s.joined_at - 1},"tokens":1}}' for s in decoding]
            )
        else:
            decode = self._entries(self._scheduler.decode_batch(plan))
        emitted = json_list(map(next, map(self._tokens_left.__getitem__, plan.emitting(decoding))))
        return self._entries(plan.prefill), decode, emitted

    def on_update(
        self, plan: StepPlan, finished: Sequence[RequestState], time: tuple[int, int] | None
    ) -> None:
        """Write the line of the step whose output was taken in."""
        super().on_update(plan, finished, time)
        self._finished += finished
        for state in [state for state in self._finished if state.status in (FINISHED, FINISHED_IGNORED)]:
            self._finished.remove(state)
            self._entry_starts.pop(state, None)
            self._tokens_left.pop(state, None)

    def _encode(self, state: RequestState) -> None:
        """Encode what does not change of a request's entries; tokens are encoded when they are emitted."""
        name = _json(state.id)
        self._entry_starts[state] = f'{{"id":{name},"computed":'
        response, first = self._requests[state.id].response, state.num_output_tokens
        if response.token_ids is None:
            token = f'{{"id":{name},"token_id":null,"text":null}}'
            self._tokens_left[state] = repeat(token, response.num_tokens - first)
        else:
            self._tokens_left[state] = _encoded_tokens(name, response, first)

    def _entries(self, batch: Sequence[BatchEntry]) -> Any:
        starts = self._entry_starts
        return json_list([f'{starts[e.state]}{e.computed},"tokens":{e.tokens}}}' for e in batch])


def _encoded_tokens(name: str, response: RecordedResponse, first: int) -> Iterator[str]:
    """Yield the entry of each token that a request emits from `first` on."""
    start = f'{{"id":{name},"token_id":'
    for position, piece in enumerate(response.pieces(first), first):
        token_id = response.token_id(position)
        yield f'{start}{"null" if token_id is None else token_id},"text":{_json(piece)}}}'


def json_list(items: Iterable[str]) -> Any:
    """Return items that are JSON as a list, which `orjson.dumps` takes as it is."""
    return orjson.Fragment(f"[{','.join(items)}]")


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
