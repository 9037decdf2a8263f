"""The settings and the times of compared runs as people read them, and why the times changed."""

from __future__ import annotations

from typing import Any, Final

from tracesim.analysis.comparison import MovedRequest, Unit
from tracesim.analysis.figure_text import format_milliseconds, sign_of
from tracesim.analysis.queueing import CAUSE_LABELS

WHOLE_LABELS: Final = {"e2e": "E2E", "ttft": "TTFT"}
"""What the time of a request is, as people read it."""

_LEAST_PART: Final = 0.05
"""Parts of a change that are smaller than this part of the greatest are no reason for it."""


def setting_text(value: Any) -> str:
    """Return the value of a setting: `on`, `2,048`, `none`; of a report from a file it is untrusted text."""
    if value is None or value == []:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)


def time_text(time: float, unit: Unit) -> str:
    """Return a time of a request: in milliseconds, or in steps."""
    if unit == "s":
        return format_milliseconds(time)
    return f"{time:,.0f}" if time == int(time) else f"{time:,.1f}"


def signed_time(change: float, unit: Unit) -> str:
    """Return the change of a time with its sign; nothing if there is none."""
    return sign_of(change) + time_text(abs(change), unit) if change else ""


def reasons_text(moved: MovedRequest, unit: Unit) -> str:
    """Return why the time of a request changed: `KV blocks -800, prefill +60, 2 preemptions less`."""
    reasons = moved.reasons()
    greatest = max((abs(change) for _, change in reasons), default=0)
    words = [
        f"{CAUSE_LABELS.get(name, name)} {signed_time(change, unit)}"
        for name, change in reasons
        if abs(change) >= greatest * _LEAST_PART
    ]
    before, after = moved.before, moved.after
    for change, noun in (
        (after.preemptions - before.preemptions, "preemption"),
        (after.cached_tokens - before.cached_tokens, "cached token"),
        (after.output_tokens - before.output_tokens, "output token"),
    ):
        if change:
            number, plural = int(abs(change)), "" if abs(change) == 1 else "s"
            words.append(f"{number:,} {noun}{plural} {'more' if change > 0 else 'fewer'}")
    return ", ".join(words)
