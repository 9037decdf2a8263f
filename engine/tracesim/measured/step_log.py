"""Step records with durations (`tracesim.step/1`): of a replay under a clock, or recorded in a real vLLM."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from tracesim.errors import MeasurementError
from tracesim.measured.measurements import MeasuredRequest, MeasuredRun, MeasuredStep
from tracesim.measured.values import seconds
from tracesim.requests.batch import pairs_of_chunk

_SCHEMA: Final = "tracesim.step/"


def is_step_log(fields: Mapping[str, Any]) -> bool:
    """Return whether a JSON object is a step record."""
    return str(fields.get("schema")).startswith(_SCHEMA)


def step_log_run(name: str, objects: Iterable[tuple[int, dict[str, Any]]]) -> MeasuredRun:
    """Return the steps of a log, and the requests that it follows to their end.

    The arrival of a request, which a log does not have, is the start of the first step that computes any of
    it. Raises MeasurementError.
    """
    steps: list[MeasuredStep] = []
    requests = _Requests()
    for line, fields in objects:
        record = _record(name, line, fields)
        requests.begin(record, len(steps))
        if record.duration and (record.prefill or record.decode):
            steps.append(_step(record))
        requests.end(record, len(steps))
    if not steps:
        raise MeasurementError(name, None, "has no step that computes anything and takes time")
    return MeasuredRun(name, "a step log", requests.ended, steps, places=requests.places)


class _Record(NamedTuple):
    """What is needed of a step record; entries have an id, the tokens computed before, and those computed."""

    start: float
    duration: float
    prefill: Sequence[tuple[str, int, int]]
    decode: Sequence[tuple[str, int, int]]
    emitted: Sequence[str]
    finished: Sequence[str]


def _record(name: str, line: int, fields: Mapping[str, Any]) -> _Record:
    """Return a step record. Raises MeasurementError."""
    if not is_step_log(fields):
        raise MeasurementError(name, line, "is no step record, as the lines before it are")
    if "duration" not in fields:
        message = "has no duration: record the steps of a real server, or replay with --clock"
        raise MeasurementError(name, line, message)
    start = seconds(fields.get("start"), name, line, "start")
    duration = seconds(fields["duration"], name, line, "duration")
    try:
        prefill, decode = (
            [(str(each["id"]), int(each["computed"]), int(each["tokens"])) for each in fields[batch]]
            for batch in ("prefill", "decode")
        )
        emitted, finished = ([str(each["id"]) for each in fields[part]] for part in ("emitted", "finished"))
    except (KeyError, TypeError, ValueError):
        message = "has no lists prefill, decode, emitted and finished as a step record has them"
        raise MeasurementError(name, line, message) from None
    return _Record(start, duration, prefill, decode, emitted, finished)


def _step(record: _Record) -> MeasuredStep:
    return MeasuredStep(
        sum(tokens for _, _, tokens in record.prefill),
        len(record.prefill),
        len(record.decode),
        sum(computed for _, computed, _ in record.decode),
        sum(pairs_of_chunk(computed, tokens) for _, computed, tokens in record.prefill),
        record.duration,
    )


@dataclass(slots=True)
class _Progress:
    """A request that a log follows: the start and the place of its first step, and its tokens so far."""

    started: float
    step: int
    prompt_tokens: int = 0
    output_tokens: int = 0
    first_token: float = 0.0
    last_token: float = 0.0
    first_token_step: int = 0
    last_token_step: int = 0


class _Requests:
    """The requests of a log: those that run, and those that have `ended`, with their `places`."""

    def __init__(self) -> None:
        self.ended: list[MeasuredRequest] = []
        self.places: dict[int, tuple[int, int, int]] = {}
        self._running: dict[str, _Progress] = {}

    def begin(self, record: _Record, num_steps: int) -> None:
        """Note the requests of a step, before which there were so many."""
        for request_id, computed, tokens in record.prefill:
            progress = self._running.setdefault(request_id, _Progress(record.start, num_steps))
            if not progress.output_tokens:
                progress.prompt_tokens = computed + tokens

    def end(self, record: _Record, num_steps: int) -> None:
        """Note the tokens of a step, with which there are so many, and who finished."""
        end = record.start + record.duration
        for request_id in record.emitted:
            progress = self._running.get(request_id)
            if progress is None:  # it began before the log
                continue
            if not progress.output_tokens:
                progress.first_token, progress.first_token_step = end, num_steps
            progress.last_token, progress.last_token_step = end, num_steps
            progress.output_tokens += 1
        for request_id in record.finished:
            progress = self._running.pop(request_id, None)
            if progress is None or not progress.output_tokens:
                continue
            number = len(self.ended)
            self.places[number] = progress.step, progress.first_token_step, progress.last_token_step
            self.ended.append(
                MeasuredRequest(
                    number,
                    request_id,
                    progress.prompt_tokens,
                    progress.output_tokens,
                    progress.started,
                    progress.first_token,
                    progress.last_token,
                )
            )
