"""The timeline of requests: the data from which lanes.js draws a lane for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tracesim.analysis.queueing import CAUSE_LABELS
from tracesim.charts.causes import ALL_CAUSES
from tracesim.charts.labels import visible
from tracesim.charts.page import Lanes
from tracesim.charts.timeline import Phase, Span, Timeline, TimelineRequest

_DIGITS: Final = 6
_LONGEST_ID: Final = 200


def request_lanes(timeline: Timeline, spans: Sequence[Sequence[Span]]) -> Lanes:
    """Return a lane for each request, in the order of arrival, and of adding where they arrived together.

    The data are columns with an entry per request:

    - `ids`, and `arrivals` in the timeline's unit, as all times;
    - `phases`, one letter for each span (see `PHASE_LETTERS`), and `times` with, for each span, the gap since
      the one before it or the arrival, and its duration;
    - `tokens`: those of the prompt, of it in the prefix cache, and of the output;
    - `first_tokens`: from the arrival to the first token, or null;
    - `chunks`: for each group of equal chunks of the prompt, how many they are, and how long;
    - `preemptions`: for each, when it was, and the index of the request that needed the blocks;
    - `ends`: the index of the reason in `reasons`.

    `causes` has when the cause of waiting changed, and the index of the cause from then on in `cause_names`,
    or -1.
    """
    requests = sorted(timeline.requests.values(), key=lambda request: request.arrival)
    places = {request.id: place for place, request in enumerate(requests)}
    phases, times = [], []
    for request in requests:
        letters, gaps = _phases_of(request, spans[request.index])
        phases.append(letters)
        times.append(gaps)
    reasons: dict[tuple[str | None, str | None], int] = {}
    ends = [reasons.setdefault((each.finish_reason, each.stop_reason), len(reasons)) for each in requests]
    data = {
        "unit": timeline.unit,
        "start": round(min(timeline.start, 0.0), _DIGITS),
        "end": round(timeline.end, _DIGITS),
        "ids": [visible(each.id, _LONGEST_ID) for each in requests],
        "arrivals": [round(each.arrival, _DIGITS) for each in requests],
        "phases": phases,
        "times": times,
        "tokens": [(each.prompt_tokens, each.cached_tokens, each.output_tokens) for each in requests],
        "first_tokens": [
            None if each.first_token is None else round(each.first_token - each.arrival, _DIGITS)
            for each in requests
        ],
        "chunks": [[number for group in each.chunks for number in group] for each in requests],
        "preemptions": [
            [(round(time, _DIGITS), places.get(needed_by, -1)) for time, needed_by in each.preemptions]
            for each in requests
        ],
        "ends": ends,
        "reasons": [_reason(*reason) for reason in reasons],
        "cause_names": [(cause, CAUSE_LABELS[cause]) for cause in ALL_CAUSES],
        "causes": [
            (round(time, _DIGITS), -1 if cause is None else ALL_CAUSES.index(cause))
            for time, cause in timeline.causes
        ],
    }
    note = (
        "A lane for each request, in the order of arrival. Where it waits, its colour is what it waits for."
    )
    return Lanes("Timeline of requests", note, data)


PHASE_LETTERS: Final = {
    Phase.QUEUED: "q",
    Phase.PREFILL: "p",
    Phase.DECODE: "d",
    Phase.PREEMPTED: "x",
    Phase.DISCARDED: "v",
}


def _phases_of(request: TimelineRequest, spans: Sequence[Span]) -> tuple[str, list[float]]:
    times: list[float] = []
    letters, since = "", request.arrival
    for _, phase, start, end in spans:
        letters += PHASE_LETTERS[phase]
        times += (round(start - since, _DIGITS), round(end - start, _DIGITS))
        since = end
    return letters, times


def _reason(finish_reason: str | None, stop_reason: str | None) -> str:
    if finish_reason is None:
        return "unfinished"
    return (
        finish_reason
        if stop_reason is None
        else f"{finish_reason}, by the stop string {visible(repr(stop_reason), 80)}"
    )
