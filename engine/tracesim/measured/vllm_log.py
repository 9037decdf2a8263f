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
_HINTS: Final = (b"vllm", b"INFO ", b"EngineCore", b"[loggers.py")


def is_vllm_log(head: bytes) -> bool:
    """Return whether a file that begins with `head` is a log of vLLM."""
    return b"Iteration(" in head or sum(hint in head for hint in _HINTS) > 1


def read_vllm_log(name: str, lines: Iterable[tuple[int, bytes]]) -> MeasuredRun:
    """Return the steps of a log, other lines of which are ignored.

    vLLM counts a preempted request that is computed again as one that generates; its tokens but one are
    prefill here. A step in which nothing is computed, which data parallelism makes, is skipped. With
    asynchronous scheduling the time is that for which the engine waited for the step. Raises
    MeasurementError.
    """
    steps, usage = [], []
    num_like = first_like = 0
    for number, line in lines:
        if b"Iteration(" not in line:
            continue
        found = _LINE.search(line)
        if found is None:
            num_like, first_like = num_like + 1, first_like or number
            continue
        prefills, prefill_tokens, decodes, decode_tokens = (int(each) for each in found.groups()[:4])
        elapsed, is_dummy, used = float(found[5]), found[6], found[7]
        if is_dummy or not elapsed or not prefills + decodes:
            continue
        recomputed = max(0, decode_tokens - decodes)
        steps.append(
            MeasuredStep(
                prefill_tokens + recomputed, prefills + bool(recomputed), decodes, None, None, elapsed / 1000
            )
        )
        if used is not None:
            usage.append(float(used) / 100)
    if not steps and num_like:
        message = (
            f"has {num_like:,} lines with Iteration( that are not those of vLLM 0.19 to 0.32; expected: "
            "Iteration(1): 1 context requests, 8 context tokens, 0 generation requests, 0 generation tokens, "
            "iteration elapsed time: 12.30 ms"
        )
        raise MeasurementError(name, first_like, message)
    if not steps:
        message = "is a log of vLLM without a line for each step; start: vllm serve MODEL "
        raise MeasurementError(name, None, f"{message}--enable-logging-iteration-details")
    return MeasuredRun(name, "vLLM's log", steps=steps, usage=usage if len(usage) == len(steps) else ())
