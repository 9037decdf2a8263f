"""vLLM's log with a line for each step: `vllm serve --enable-logging-iteration-details`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from tracesim.errors import MeasurementError
from tracesim.measured.measurements import MeasuredRun, MeasuredStep

_LINE: Final = re.compile(
    rb"Iteration\([0-9]+\): ([0-9]{1,9}) context requests, ([0-9]{1,9}) context tokens, "
    rb"([0-9]{1,9}) generation requests, ([0-9]{1,9}) generation tokens, "
    rb"iteration elapsed time: ([0-9]{1,9}(?:\.[0-9]{1,9})?) ms( \(dummy\))?"
    rb"(?:.*KV cache usage: ([0-9]{1,3}(?:\.[0-9]{1,9})?)%)?"
)
_TIME: Final = re.compile(rb"\b([0-9]{2})-([0-9]{2}) ([0-9]{2}):([0-9]{2}):([0-9]{2})\b")
_ENGINE: Final = re.compile(rb"Engine ([0-9]+):")
_MIN_BUSY_SECONDS: Final = 60
_HINTS: Final = (b"vllm", b"INFO ", b"EngineCore", b"[loggers.py")


def is_vllm_log(head: bytes) -> bool:
    """Return whether a file that begins with `head` is a log of vLLM."""
    return b"Iteration(" in head or sum(hint in head for hint in _HINTS) > 1


def read_vllm_log(name: str, lines: Iterable[tuple[int, bytes]]) -> MeasuredRun:
    """Return the steps of a log, other lines of which are ignored.

    vLLM logs how long the engine waited for a step, and not what the host did before and after it. Where the
    engine was busy for a minute on end, by the times of the lines, the rest of that time is added to the
    steps, as much to each. vLLM counts a preempted request that is computed again as one that generates; its
    tokens but one are prefill here. A step in which nothing is computed, which data parallelism makes, is
    skipped. Raises MeasurementError.
    """
    steps: list[MeasuredStep] = []
    usage: list[float] = []
    host = _HostTime()
    num_like = first_like = 0
    for number, line in lines:
        if b"Iteration(" not in line:
            continue
        found = _LINE.search(line)
        if found is None:
            num_like, first_like = num_like + 1, first_like or number
            continue
        prefills, prefill_tokens, decodes, decode_tokens = (int(each) for each in found.groups()[:4])
        elapsed, is_dummy, used = float(found[5]) / 1000, found[6], found[7]
        if is_dummy or not prefills + decodes:
            continue
        recomputed = max(0, decode_tokens - decodes)
        steps.append(
            MeasuredStep(
                prefill_tokens + recomputed, prefills + bool(recomputed), decodes, None, None, elapsed
            )
        )
        host.add(line, elapsed, is_busy=decodes > 0)
        if used is not None:
            usage.append(float(used) / 100)
    if not steps:
        raise _no_steps(name, num_like, first_like)
    per_step = host.per_step
    steps = [step._replace(seconds=step.seconds + (per_step or 0.0)) for step in steps]
    return MeasuredRun(
        name,
        "vLLM's log",
        steps=steps,
        usage=usage if len(usage) == len(steps) else (),
        host_seconds=per_step,
    )


class _HostTime:
    """The time per step that the log of an engine does not have, from the longest stretch of busy steps.

    While requests generate in each step, the engine is never idle. Lines have times in whole seconds, so a
    stretch of a minute has an error of less than two in a hundred.
    """

    def __init__(self) -> None:
        self._engines: set[bytes] = set()
        self._begin: tuple[int, float, int] | None = None
        self._elapsed = 0.0
        self._num_steps = 0
        self._longest = (0, 0.0)

    def add(self, line: bytes, elapsed: float, *, is_busy: bool) -> None:
        """Note the line of a step."""
        if engine := _ENGINE.search(line):
            self._engines.add(engine[1])
        self._elapsed, self._num_steps = self._elapsed + elapsed, self._num_steps + 1
        found = _TIME.search(line)
        if found is None or not is_busy:
            self._begin = None
            return
        month, day, hour, minute, second = (int(each) for each in found.groups())
        now = (((month * 31 + day) * 24 + hour) * 60 + minute) * 60 + second
        if self._begin is None:
            self._begin = now, self._elapsed, self._num_steps
            return
        begin, elapsed_before, steps_before = self._begin
        if now - begin > self._longest[0]:
            rest = now - begin - (self._elapsed - elapsed_before)
            self._longest = now - begin, max(0.0, rest / (self._num_steps - steps_before))

    @property
    def per_step(self) -> float | None:
        """The time per step in seconds; None for several engines, and where no stretch is long enough."""
        seconds, per_step = self._longest
        return per_step if seconds >= _MIN_BUSY_SECONDS and len(self._engines) < 2 else None


def _no_steps(name: str, num_like: int, first_like: int) -> MeasurementError:
    """Return the error of a log without steps, in which so many lines are like those of steps."""
    if num_like:
        message = (
            f"has {num_like:,} lines with Iteration( that are not those of vLLM 0.19 to 0.32; expected: "
            "Iteration(1): 1 context requests, 8 context tokens, 0 generation requests, 0 generation tokens, "
            "iteration elapsed time: 12.30 ms"
        )
        return MeasurementError(name, first_like, message)
    message = "is a log of vLLM without a line for each step; start: vllm serve MODEL "
    return MeasurementError(name, None, f"{message}--enable-logging-iteration-details")
