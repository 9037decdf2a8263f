"""A run as Chrome trace events for ui.perfetto.dev: steps, requests in slots, and counters."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final

import orjson

from tracesim.charts.bins import is_idle_between
from tracesim.charts.chart_data import ChartData
from tracesim.charts.labels import visible
from tracesim.charts.timeline import UNLIMITED, Phase, Span, StepColumns, Timeline
from tracesim.limits import MAX_INTEGER

Event = dict[str, Any]

ENGINE: Final = 1
SLOTS: Final = 2
_NANOSECONDS: Final = {"steps": 1_000_000, "s": 1_000_000_000}
_UNIT_NOTES: Final = {
    "steps": "there is no clock: 1 step is shown as 1 ms",
    "s": "seconds of the run's clock",
}


def perfetto_trace(data: ChartData) -> Iterator[bytes]:
    """Yield the pieces of one JSON document, one event per line.

    A request has one slot, a track of its own, from its admission to its end, also while it is preempted, and
    until it is no more computed in vain; then another request can take the slot. Times are in microseconds.
    """
    head = {
        "title": visible(data.title),
        "time": _UNIT_NOTES[data.timeline.unit],
        **{f"summary: {visible(name)}": visible(value) for name, value in data.summary},
        **{f"setting: {visible(name)}": visible(str(value)) for name, value in data.settings.items()},
    }
    yield b'{"displayTimeUnit":"ms","otherData":%s,"traceEvents":[' % orjson.dumps(head)
    timeline = data.timeline
    clock = _Clock(timeline)
    separator = b"\n"
    for event in chain(_steps(timeline.steps, clock), _counters(data, clock), _slots(timeline, clock)):
        yield separator + orjson.dumps(event)
        separator = b",\n"
    yield b"\n]}\n"


class _Clock:
    """Converts times to microseconds, rounded to nanoseconds, so that adjacent slices meet exactly."""

    def __init__(self, timeline: Timeline) -> None:
        self._scale = _NANOSECONDS[timeline.unit]

    def at(self, time: float) -> float | int:
        return _microseconds(round(time * self._scale))

    def between(self, start: float, end: float) -> float | int:
        return _microseconds(round(end * self._scale) - round(start * self._scale))


def _microseconds(nanoseconds: int) -> float | int:
    is_whole = nanoseconds % 1000 == 0 and nanoseconds <= MAX_INTEGER
    return nanoseconds // 1000 if is_whole else nanoseconds / 1000


def _name(kind: str, process: int, thread: int, name: str) -> Event:
    return {"ph": "M", "name": kind, "pid": process, "tid": thread, "args": {"name": name}}


def _steps(steps: StepColumns, clock: _Clock) -> Iterator[Event]:
    """Yield the names of the engine and of its track, and each step as a slice."""
    yield _name("process_name", ENGINE, 0, "engine")
    yield _name("thread_name", ENGINE, 1, "steps")
    columns = (
        steps.number,
        steps.start,
        steps.duration,
        steps.prefill_requests,
        steps.prefill_tokens,
        steps.decode_requests,
        steps.discarded_decodes,
    )
    for number, start, duration, prefills, tokens, decodes, discarded in zip(*columns, strict=True):
        kinds = [kind for kind, count in (("prefill", prefills), ("decode", decodes)) if count]
        yield {
            "ph": "X",
            "name": " + ".join(kinds) or "no batch",
            "cat": "step",
            "pid": ENGINE,
            "tid": 1,
            "ts": clock.at(start),
            "dur": clock.between(start, start + duration),
            "args": {
                "step": number,
                "prefill requests": prefills,
                "prefill tokens": tokens,
                "decode requests": decodes,
                **({"discarded decodes": discarded} if discarded else {}),
            },
        }


def _counters(data: ChartData, clock: _Clock) -> Iterator[Event]:
    """Yield the value of each counter whenever it changes; batch tokens are 0 while the engine is idle."""
    steps = data.timeline.steps
    tokens = [p + d for p, d in zip(steps.prefill_tokens, steps.decode_requests, strict=True)]
    series: dict[str, tuple[str, Sequence[int]]] = {
        "running": ("requests", steps.running),
        "waiting": ("requests", steps.waiting),
        "batch tokens": ("tokens", tokens),
    }
    if data.num_blocks is not None and UNLIMITED not in steps.free_blocks[:1]:
        series["KV blocks used"] = ("blocks", [data.num_blocks - free for free in steps.free_blocks])
    for name, (unit, values) in series.items():
        is_lasting = name != "batch tokens"
        counter = {"ph": "C", "name": name, "pid": ENGINE}
        last: int | None = None
        last_end = 0.0
        for start, duration, value in zip(steps.start, steps.duration, values, strict=True):
            if last and not is_lasting and is_idle_between(last_end, start):
                yield {**counter, "ts": clock.at(last_end), "args": {unit: 0}}
                last = 0
            if value != last:
                yield {**counter, "ts": clock.at(start), "args": {unit: value}}
                last = value
            last_end = start + duration
        if last and not is_lasting:
            yield {**counter, "ts": clock.at(last_end), "args": {unit: 0}}


def _slots(timeline: Timeline, clock: _Clock) -> Iterator[Event]:
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
        start, end = spans[0].start, spans[-1].end
        common = {"ph": "X", "pid": SLOTS, "tid": slots[request.index] + 1}
        about = {
            "prompt tokens": request.prompt_tokens,
            "output tokens": request.output_tokens,
            "preemptions": request.preemptions,
            "queued (ms)": clock.between(request.arrival, start) / 1000,
            "finish reason": visible(request.finish_reason or "unfinished"),
        }
        times = {"ts": clock.at(start), "dur": clock.between(start, end)}
        yield {**common, "name": visible(request.id), "cat": "request", **times, "args": about}
        for span in spans:
            times = {"ts": clock.at(span.start), "dur": clock.between(span.start, span.end)}
            yield {**common, "name": span.phase.name.lower(), "cat": "phase", **times}


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
