"""A run as Chrome trace events for ui.perfetto.dev: strides, causes of waiting, requests, and counters."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, Final

import orjson

from tracesim.analysis.queueing import CAUSE_LABELS
from tracesim.charts.chart_data import ChartData
from tracesim.charts.labels import visible
from tracesim.charts.timeline import UNLIMITED, Phase, Span, StrideColumns, Timeline, is_later
from tracesim.limits import MAX_INTEGER

Event = dict[str, Any]
Clock = Callable[[float], int]
"""Converts a time to nanoseconds, so that adjacent slices meet exactly."""

ENGINE: Final = 1
SLOTS: Final = 2
_STEPS: Final = 1
_CAUSES: Final = 2
_NANOSECONDS: Final = {"steps": 1_000_000, "s": 1_000_000_000}
_UNIT_NOTES: Final = {
    "steps": "there is no clock: 1 step is shown as 1 ms",
    "s": "seconds of the run's clock",
}
_PHASES: Final = {phase: phase.name.lower() for phase in Phase}
_KINDS: Final = {
    (True, True): "prefill + decode",
    (True, False): "prefill",
    (False, True): "decode",
    (False, False): "no batch",
}
_STRIDE_NOTE: Final = "a slice is consecutive steps with the same batch, its figures those of each step"
_EVENTS_AT_ONCE: Final = 2000


def perfetto_trace(data: ChartData) -> Iterator[bytes]:
    """Yield the pieces of one JSON document, one event per line.

    A request has one slot, a track of its own, from its admission to its end, also while it is preempted, and
    until it is no more computed in vain; then another request can take the slot. Times are in microseconds.
    """
    timeline = data.timeline
    head = {
        "title": visible(data.title),
        "time": _UNIT_NOTES[timeline.unit],
        "steps": _STRIDE_NOTE,
        **{f"summary: {visible(name)}": visible(value) for name, value in data.summary},
        **{f"setting: {visible(name)}": visible(str(value)) for name, value in data.settings.items()},
    }
    yield b'{"displayTimeUnit":"ms","otherData":%s,"traceEvents":[' % orjson.dumps(head)
    scale = _NANOSECONDS[timeline.unit]

    def clock(time: float) -> int:
        return round(time * scale)

    strides, causes = _strides(timeline.strides, clock), _causes(timeline, clock)
    events = chain(strides, causes, _counters(data, clock), _slots(timeline, clock))
    separator = b"\n"
    while some := list(map(orjson.dumps, islice(events, _EVENTS_AT_ONCE))):
        yield separator + b",\n".join(some)
        separator = b",\n"
    yield b"\n]}\n"


def _microseconds(nanoseconds: int) -> float | int:
    is_whole = nanoseconds % 1000 == 0 and nanoseconds <= MAX_INTEGER
    return nanoseconds // 1000 if is_whole else nanoseconds / 1000


def _slice(name: str, category: str, process: int, thread: int, start: int, end: int) -> Event:
    return {
        "ph": "X",
        "name": name,
        "cat": category,
        "pid": process,
        "tid": thread,
        "ts": _microseconds(start),
        "dur": _microseconds(end - start),
    }


def _name(kind: str, process: int, thread: int, name: str) -> Event:
    return {"ph": "M", "name": kind, "pid": process, "tid": thread, "args": {"name": name}}


def _strides(strides: StrideColumns, clock: Clock) -> Iterator[Event]:
    """Yield the names of the engine and of its track, and each stride as a slice."""
    yield _name("process_name", ENGINE, 0, "engine")
    yield _name("thread_name", ENGINE, _STEPS, "steps")
    columns = (
        strides.number,
        strides.steps,
        strides.start,
        strides.end,
        strides.prefill_requests,
        strides.prefill_tokens,
        strides.decode_requests,
        strides.discarded_decodes,
    )
    for number, steps, start, end, prefills, tokens, decodes, discarded in zip(*columns, strict=True):
        kind = _KINDS[prefills > 0, decodes > 0]
        event = _slice(kind, "step", ENGINE, _STEPS, clock(start), clock(end))
        event["args"] = args = {"step": number}
        if steps > 1:
            args["steps"] = steps
        args["prefill requests"] = prefills
        args["prefill tokens"] = tokens
        args["decode requests"] = decodes
        if discarded:
            args["discarded decodes"] = discarded
        yield event


def _causes(timeline: Timeline, clock: Clock) -> Iterator[Event]:
    """Yield what keeps requests waiting, a slice for each interval."""
    if not timeline.causes:
        return
    yield _name("thread_name", ENGINE, _CAUSES, "waiting for")
    ends = [time for time, _ in timeline.causes[1:]] + [timeline.end]
    for (start, cause), end in zip(timeline.causes, ends, strict=True):
        if cause is not None and start < end:
            yield _slice(CAUSE_LABELS[cause], "cause", ENGINE, _CAUSES, clock(start), clock(end))


def _counters(data: ChartData, clock: Clock) -> Iterator[Event]:
    """Yield the value of each counter whenever it changes; batch tokens are 0 while the engine is idle.

    The blocks in use change at the end of a stride, and in a single step at its start.
    """
    strides = data.timeline.strides
    tokens = [p + d for p, d in zip(strides.prefill_tokens, strides.decode_requests, strict=True)]
    waiting = zip(strides.start, strides.waiting, strict=True)
    yield from _counter("running", "requests", _without_idle(strides, strides.running), clock)
    yield from _counter("waiting", "requests", waiting, clock)
    yield from _counter("batch tokens", "tokens", _without_idle(strides, tokens), clock)
    if data.num_blocks is not None and UNLIMITED not in strides.free_blocks[:1]:
        num_blocks = data.num_blocks
        columns = zip(strides.start, strides.end, strides.steps, strides.free_blocks, strict=True)
        used = ((start if steps == 1 else end, num_blocks - free) for start, end, steps, free in columns)
        yield from _counter("KV blocks used", "blocks", used, clock)


def _counter(name: str, unit: str, values: Iterable[tuple[float, int]], clock: Clock) -> Iterator[Event]:
    """Yield a value and its time where it differs from the one before."""
    last: int | None = None
    for time, value in values:
        if value != last:
            yield {
                "ph": "C",
                "name": name,
                "pid": ENGINE,
                "ts": _microseconds(clock(time)),
                "args": {unit: value},
            }
            last = value


def _without_idle(strides: StrideColumns, values: Sequence[int]) -> Iterator[tuple[float, int]]:
    """Yield the value of each stride at its start, and 0 where the engine gets idle."""
    last_end = strides.start[0] if len(strides) else 0.0
    for start, end, value in zip(strides.start, strides.end, values, strict=True):
        if is_later(start, last_end):
            yield last_end, 0
        yield start, value
        last_end = end
    yield last_end, 0


def _slots(timeline: Timeline, clock: Clock) -> Iterator[Event]:
    """Yield each admitted request as a slice in its slot, and its phases as slices inside."""
    admitted_spans = [
        [span for span in spans if span.phase is not Phase.QUEUED] for spans in timeline.spans_by_request()
    ]
    slots = _lowest_free_slots(admitted_spans)
    yield _name("process_name", SLOTS, 0, "requests, by running slot")
    for slot in range(max(slots.values(), default=-1) + 1):
        yield _name("thread_name", SLOTS, slot + 1, f"slot {slot}")
        yield {**_name("thread_sort_index", SLOTS, slot + 1, ""), "args": {"sort_index": slot}}
    for request in timeline.requests.values():
        spans = admitted_spans[request.index]
        if not spans:
            continue
        start, end, track = clock(spans[0].start), clock(spans[-1].end), slots[request.index] + 1
        event = _slice(visible(request.id), "request", SLOTS, track, start, end)
        event["args"] = {
            "prompt tokens": request.prompt_tokens,
            "output tokens": request.output_tokens,
            "preemptions": len(request.preemptions),
            "queued (ms)": _microseconds(start - clock(request.arrival)) / 1000,
            "finish reason": visible(request.finish_reason or "unfinished"),
        }
        yield event
        for _, phase, since, until in spans:
            yield _slice(_PHASES[phase], "phase", SLOTS, track, clock(since), clock(until))


def _lowest_free_slots(admitted_spans: Sequence[Sequence[Span]]) -> Mapping[int, int]:
    """Return the slot of each request that was admitted, by its index: the lowest that is free."""
    stays = [
        (spans[0].start, request, spans[-1].end) for request, spans in enumerate(admitted_spans) if spans
    ]
    slots: dict[int, int] = {}
    free: list[int] = []
    leaving: list[tuple[float, int]] = []
    for start, request, end in sorted(stays):
        while leaving and leaving[0][0] <= start:
            heapq.heappush(free, heapq.heappop(leaving)[1])
        slots[request] = heapq.heappop(free) if free else len(leaving)
        heapq.heappush(leaving, (end, slots[request]))
    return slots
