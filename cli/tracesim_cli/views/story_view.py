"""The story of a request in sentences, for `tracesim replay --explain`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Final, NamedTuple

from tracesim.analysis.explanation import (
    Arrival,
    Computation,
    Discard,
    End,
    Event,
    FirstToken,
    Period,
    Preemption,
    Story,
    Wait,
)
from tracesim.analysis.figure_text import format_milliseconds
from tracesim.analysis.metrics import RequestLatency
from tracesim.analysis.queueing import CAUSE_LABELS
from tracesim.engine.progress import RequestProgress
from tracesim.requests.request import FINISHED_IGNORED
from tracesim_cli.terminal.lines import Fragment
from tracesim_cli.terminal.text import counted, label, quoted
from tracesim_cli.views.run_view import wrap

Line = list[Fragment]

_MOST_CHUNKS: Final = 4
_MOST_NAMES: Final = 3
_MOST_WAITS: Final = 6
_MIN_SENTENCE: Final = 30

_STYLES: Final[Mapping[type, str]] = {Wait: "yellow", Preemption: "red", FirstToken: "green", End: "green"}


def format_story(story: Story, latency: RequestLatency | None = None, *, width: int = 100) -> list[Line]:
    """Return the story of a request: a title, and for each event the steps, the time and a sentence.

    Sentences are wrapped to `width` cells. More than a few waits in a row are summed up in one sentence. The
    last line has the latencies, if there are any.
    """
    progress = story.progress
    prompt = counted(progress.request.num_prompt_tokens, "prompt token")
    output = counted(progress.request.num_output_tokens, "output token")
    lines: list[Line] = [[(label(progress.request.id), "bold"), (f"  {prompt}, {output}", "dim")]]
    rows = [_row(events, progress) for events in _grouped(story.events)]
    if progress.finish_reason is None:
        state = "It had not finished" if story.events else "It had not arrived"
        rows.append(_Row("", "", f"{state} when the replay ended.", "yellow"))
    if figures := _latency(latency):
        rows.append(_Row("", "", figures, "dim"))
    step_width = max(len(row.steps) for row in rows)
    time_width = max(len(row.seconds) for row in rows)
    indent = 2 + step_width + 2 + (time_width + 2 if time_width else 0)
    for row in rows:
        first, *others = wrap(row.sentence.split(" "), max(_MIN_SENTENCE, width - indent))
        margin = f"  {row.steps.ljust(step_width)}  "
        if time_width:
            margin += f"{row.seconds.rjust(time_width)}  "
        lines.append([(margin, "dim"), (first, row.style)])
        lines += [[(" " * indent, ""), (other, row.style)] for other in others]
    return lines


class _Row(NamedTuple):
    steps: str
    seconds: str
    sentence: str
    style: str


def _grouped(events: Sequence[Event]) -> Iterator[list[Event]]:
    """Yield each event by itself, but many waits in a row together, except the last as first in the queue."""
    for is_wait, group in groupby(events, lambda event: isinstance(event, Wait)):
        each = list(group)
        last = each[-1]
        rest = [each.pop()] if isinstance(last, Wait) and not last.behind else []
        if is_wait and len(each) > _MOST_WAITS:
            yield each
        else:
            yield from ([event] for event in each)
        if rest:
            yield rest


def _row(events: Sequence[Event], progress: RequestProgress) -> _Row:
    """Return the row of an event, or of many waits in a row."""
    event = events[0]
    if len(events) > 1:
        waits = [each for each in events if isinstance(each, Wait)]
        when = Period(event.when.first, waits[-1].when.last, event.when.start, waits[-1].when.end)
        sentence = _waits(waits, when)
    else:
        when, sentence = event.when, _sentence(event, progress)
    steps = f"step {when.first:,}" if when.first == when.last else f"steps {when.first:,}-{when.last:,}"
    if isinstance(event, Arrival):
        steps = f"before {steps}"
    time = when.end if isinstance(event, FirstToken | End) else when.start
    seconds = "" if time is None else f"{time:,.3f} s"
    return _Row(steps, seconds, sentence, _STYLES.get(type(event), ""))


def _latency(latency: RequestLatency | None) -> str:
    """Return the latencies of a request, in milliseconds."""
    if latency is None:
        return ""
    figures = [
        ("queue time", latency.queue_time),
        ("TTFT", latency.ttft),
        ("TPOT", latency.tpot),
        ("E2E", latency.e2e),
    ]
    return ", ".join(
        f"{name} {format_milliseconds(value)} ms" for name, value in figures if value is not None
    )


def _waits(waits: Sequence[Wait], when: Period) -> str:
    """Return behind whom a request waited, and for which causes in which part of the steps."""
    behind = {request_id: None for wait in waits for request_id in wait.behind}
    steps: Counter[str] = Counter()
    for wait in waits:
        steps[CAUSE_LABELS[wait.cause]] += wait.when.last - wait.when.first + 1
    shares = [(cause, max(0.01, num / steps.total())) for cause, num in steps.most_common()]
    causes = [
        f"{share:.0%} {'of these steps ' if not n else ''}for {cause}"
        for n, (cause, share) in enumerate(shares)
    ]
    return f"It waited{_duration(when)} behind {_names(behind)}: {', '.join(causes)}."


def _sentence(event: Event, progress: RequestProgress) -> str:
    if isinstance(event, Arrival):
        return "It arrived."
    if isinstance(event, Wait):
        return _wait(event)
    if isinstance(event, Computation):
        return _computation(event)
    if isinstance(event, FirstToken):
        return "It emitted its first token."
    if isinstance(event, Preemption):
        if event.needed_by == progress.request.id:
            return "It was preempted: it needed another KV block itself, and none was free."
        return f"It was preempted: {label(event.needed_by)} needed its KV blocks."
    if isinstance(event, Discard):
        return f"It was computed in vain{_duration(event.when)}: the scheduler did not know of its end yet."
    return _end(event, progress)


def _wait(wait: Wait) -> str:
    """Return behind whom a request waited, and for what."""
    if not wait.behind:
        return f"It was first in the queue and waited{_duration(wait.when)}: {_cause(wait, 'it')}."
    first = label(next(iter(wait.behind)))
    return f"It waited{_duration(wait.when)} behind {_names(wait.behind)}: {_cause(wait, first)}."


def _cause(wait: Wait, first: str) -> str:
    """Return why `first` was not admitted at the start of a wait."""
    needs, free = wait.needs or 0, wait.free or 0
    if wait.cause == "kv_blocks":
        return f"{first} needed {counted(needs, 'KV block')}, and {_were(free)} free"
    if wait.cause == "watermark":
        return f"with the watermark {first} needed {counted(needs, 'KV block')}, and {_were(free)} free"
    if wait.cause == "chunked_prefill_off":
        return f"{first} needed {counted(needs, 'token')} of the budget at once, and {_were(free)} left"
    if wait.cause == "max_num_seqs":
        return "as many requests ran as max_num_seqs allows"
    if wait.cause == "preemption":
        return "a step that preempts a request admits none"
    if wait.needs is None:
        return "nothing was left of the token budget"
    return f"{first} needed {counted(needs, 'token')} of the budget at once, and {_were(free)} left"


def _were(number: int) -> str:
    return "none was" if number == 0 else "1 was" if number == 1 else f"{number:,} were"


def _names(ids: Mapping[str, None]) -> str:
    """Return ids with commas, or the first and the last of many and how many are between them."""
    names = [label(each) for each in ids]
    if len(names) == 1:
        return names[0]
    if len(names) <= _MOST_NAMES:
        return f"{', '.join(names[:-1])} and {names[-1]}"
    return f"{names[0]}, {counted(len(names) - 2, 'other')} and {names[-1]}"


def _computation(event: Computation) -> str:
    """Return which tokens were computed, in which chunks, and which came from the cache."""
    cached = f", after {counted(event.cached, 'token')} from the prefix cache" if event.cached else ""
    total = sum(tokens * steps for tokens, steps in event.chunks)
    if not total:
        return f"It was computed again: its newest token{cached}."
    chunks = [f"{steps:,} x {tokens:,}" if steps > 1 else f"{tokens:,}" for tokens, steps in event.chunks]
    num_chunks = sum(steps for _, steps in event.chunks)
    parts = ""
    if num_chunks > 1:
        more = len(chunks) - _MOST_CHUNKS
        listed = ", ".join(chunks[:_MOST_CHUNKS]) + (f" and {more:,} more" if more > 0 else "")
        parts = f" in {num_chunks:,} chunks ({listed})"
    what = "It was computed again" if event.is_repeated else "Its prompt was computed"
    return f"{what}: {counted(total, 'token')}{parts}{cached}."


def _end(event: End, progress: RequestProgress) -> str:
    """Return why a request finished."""
    tokens = counted(progress.state.num_output_tokens, "token")
    if event.is_rejected:
        return "It was rejected: it can never run with these settings."
    if progress.state.status is FINISHED_IGNORED:
        return f"It ended after {tokens}: it can never be computed again with these settings."
    if progress.stop_reason is not None:
        return f"It finished after {tokens}: the stop string {quoted(progress.stop_reason)} was complete."
    if progress.vllm_finish_reason == "length":
        return f"It finished after {tokens}: max_tokens or max_model_len was reached."
    return f"It finished after {tokens}, at the end of its recording."


def _duration(when: Period) -> str:
    """Return how long a period was, in steps and under a clock in seconds."""
    steps = f" for {counted(when.last - when.first + 1, 'step')}"
    if when.start is None or when.end is None:
        return steps
    return f"{steps} ({when.end - when.start:,.3f} s)"
