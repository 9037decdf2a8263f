"""The cells of a comparison of reports: values, times of requests, changes with their sign, and reasons."""

from __future__ import annotations

from typing import Final

from tracesim.analysis.comparison import MovedRequest, Unit
from tracesim.analysis.figures import Figure
from tracesim.analysis.queueing import CAUSE_LABELS
from tracesim_cli.terminal.text import counted
from tracesim_cli.views.figure_text import format_value
from tracesim_cli.views.summary_view import format_milliseconds

WHOLE_LABELS: Final = {"e2e": "E2E", "ttft": "TTFT"}
_LEAST_PART: Final = 0.05
"""Parts of a change that are smaller than this part of the greatest are no reason for it."""


def signed_value(figure: Figure, change: float) -> str:
    """Return the change of a figure with its sign: `+12.5`, `-3`; nothing if there is none to show."""
    if figure.unit == "yes or no" or not change:
        return ""
    shown = format_value(figure, abs(change))
    if not shown.strip("0."):
        shown = f"{abs(change) * (100 if figure.unit == 'fraction' else 1):.1g}"
    return _sign(change) + shown


def signed_percent(relative: float | None) -> str:
    """Return a change in percent in at most 7 characters, `-7.8%`; nothing without a base or a change."""
    if not relative:
        return ""
    if relative >= 100:
        return ">9,999%"
    if abs(relative) < 0.0005:
        return f"{relative * 100:+.1g}%"
    return f"{relative:+,.0%}" if relative >= 10 else f"{relative:+.1%}"


def time_text(time: float, unit: Unit) -> str:
    """Return a time of a request: in milliseconds, or in steps."""
    if unit == "s":
        return format_milliseconds(time)
    return f"{time:,.0f}" if time == int(time) else f"{time:,.1f}"


def signed_time(change: float, unit: Unit) -> str:
    """Return the change of a time with its sign; nothing if there is none."""
    return _sign(change) + time_text(abs(change), unit) if change else ""


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
            words.append(f"{counted(int(abs(change)), noun)} {'more' if change > 0 else 'fewer'}")
    return ", ".join(words)


def _sign(change: float) -> str:
    return "+" if change > 0 else "-"
