"""Notes on what a replay does not do as the trace or the options have it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tracesim.analysis.report import Run
from tracesim.profiles.profile import Profile
from tracesim.responses.recorded_response import RecordedResponse
from tracesim.timing.arrival_process import ArrivalProcess
from tracesim.trace.record import TraceRecord
from tracesim_cli.terminal.text import counted


@dataclass(slots=True)
class RecordCounts:
    """How many records have something about which the user is informed.

    `waiting` counts those that wait for others: later turns of `sessions`, and records with `after`;
    `waiting_timed` counts those of them that have an arrival time, and `delayed` those with a delay.
    """

    timed: int = 0
    stepped: int = 0
    without_text: int = 0
    not_spelled: int = 0
    waiting: int = 0
    waiting_timed: int = 0
    delayed: int = 0
    sessions: set[str] = field(default_factory=set)

    def add(self, record: TraceRecord, response: RecordedResponse | None) -> None:
        """Count a record; `response` is None if it was not added to the engine."""
        self.timed += bool(record.arrival_time)
        self.stepped += bool(record.arrival_step)
        is_later_turn = record.session_id in self.sessions
        if record.after or (record.after is None and is_later_turn):
            self.waiting += 1
            self.waiting_timed += record.arrival_time is not None
            self.delayed += bool(record.delay)
        if record.session_id is not None:
            self.sessions.add(record.session_id)
        if response and record.response is not None:
            self.without_text += not response.has_text
            self.not_spelled += response.has_text and not response.is_spelled


def notes_on(
    counts: RecordCounts, arrivals: ArrivalProcess, *, has_clock: bool, has_random_router: bool = False
) -> Iterator[str]:
    """Yield the notes for a replay of these records with this arrival process."""
    follows = bool(counts.waiting) and arrivals.sessions == "follow"
    if arrivals.kind == "trace" and not has_clock and counts.timed:
        times = f"arrival times of {counted(counts.timed, 'record')}"
        which = "those that wait for no other" if follows else "all requests"
        yield f"{times} are ignored, as there is no --clock: {which} arrive at step 0"
    if arrivals.kind == "trace" and has_clock and counts.stepped:
        steps = f"arrival_step of {counted(counts.stepped, 'record')}"
        yield f"{steps} is ignored, as there is a --clock: these requests arrive at the start"
    has_arrivals = arrivals.kind == "trace" and (counts.timed if has_clock else counts.stepped)
    if arrivals.speedup != 1 and not has_arrivals and not arrivals.has_rate:
        yield "--speedup is ignored: no request has an arrival that it could change"
    if arrivals.seed and not arrivals.is_random and not has_random_router:
        yield "--seed is ignored: no arrivals are random; --arrivals poisson:RATE makes them so"
    if follows and not has_clock and counts.delayed:
        yield f"delay of {counted(counts.delayed, 'record')} counts steps, as there is no --clock"
    if follows and has_clock and counts.waiting_timed:
        verb = "waits" if counts.waiting_timed == 1 else "wait"
        turns = f"{counted(counts.waiting_timed, 'request')} with an arrival time"
        yield f"{turns} {verb} for others to finish; --sessions recorded replays the times of the trace"
    if counts.without_text:
        yield (
            f"{counted(counts.without_text, 'record')} replayed without text: response_token_ids do not "
            "spell the response; name the tokenizer that made them with --tokenizer"
        )
    if counts.not_spelled:
        is_are = "is" if counts.not_spelled == 1 else "are"
        yield (
            f"{counted(counts.not_spelled, 'record')} {is_are} not spelled back by this tokenizer: the "
            "recorded text is shown, and stop strings are found in it"
        )


def notes_on_range(run: Run, profiles: Sequence[Profile], clock: str) -> Iterator[str]:
    """Yield a note if the run left the batches that its clock was fitted on.

    The clock is that of the last of the profiles that has this one and names a range.
    """
    fitted = [each for each in profiles if each.fitted_on and each.settings.get("clock") == clock]
    if not fitted or fitted[-1].fitted_on is None:
        return
    limits = fitted[-1].fitted_on
    computed = [each for each in run.requests.values() if each.scheduled_step is not None]
    prompts = [each.request.num_prompt_tokens for each in computed]
    lengths = [each.request.num_prompt_tokens + each.state.num_output_tokens for each in computed]
    budget = run.config.max_num_batched_tokens
    prefill = max(prompts, default=0) if budget is None else min(budget, max(prompts, default=0))
    reached = (
        (
            max(engine.counts.largest_decode for engine in run.engines),
            limits.decode_requests,
            "decode request",
            "in one step",
        ),
        (prefill, limits.prefill_tokens, "prompt token", "in one step"),
        (max(lengths, default=0), limits.context_tokens, "token", "of one request"),
    )
    beyond = [
        f"{counted(value, noun)} {where}, fitted up to {limit:,}"
        for value, limit, noun, where in reached
        if value > limit
    ]
    if beyond:
        yield (
            f"warning: this run is outside the range of the clock of {fitted[-1].name}: {'; '.join(beyond)}. "
            "Its durations there are extrapolated"
        )
