"""The entries of table cells that name a request: its id in its own colour, and what happened to it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from typing import Final

from rich.cells import cell_len

from tracesim.engine.step_records import FinishedRequest, ScheduledTokens
from tracesim_cli.terminal.safe_text import visible
from tracesim_cli.terminal.text import label, quoted
from tracesim_cli.views.items import Item
from tracesim_cli.views.request_colors import request_style

REASON_STYLES: Final = {
    "stop": "green",
    "length": "yellow",
    "abort": "red",
    "rejected": "red",
    "unsent": "red",
}


def request_item(request_id: str, tail: str = "", tail_style: str = "", sign: str = "") -> Item:
    """Return the entry of a request, with what happened to it as the tail, or as a sign before its id."""
    shown, style, cells = _shown(request_id)
    return Item(sign + shown, style, tail, tail_style, len(sign) + cells + cell_len(tail))


@lru_cache(maxsize=4096)
def _shown(request_id: str) -> tuple[str, str, int]:
    """Return an id as it is shown, its style, and its width."""
    shown = label(request_id)
    return shown, request_style(request_id), cell_len(shown)


def prefill_item(
    entry: ScheduledTokens, cached: Collection[str] = (), discarded: Collection[str] = ()
) -> Item:
    """Return the entry of a prefill; `cached` has the ids whose tokens before it came from the cache."""
    before = f"{'~' if entry.id in cached else '@'}{entry.computed}" if entry.computed else ""
    return request_item(entry.id, f":{entry.tokens}{before}{'!' if entry.id in discarded else ''}")


def finished_items(finished: Sequence[FinishedRequest], rejected: Collection[str]) -> Iterator[Item]:
    """Yield the entries of requests that finished, and why."""
    for request in finished:
        reason = "rejected" if request.id in rejected else request.finish_reason
        text = format_reason(reason, request.stop_reason)
        yield request_item(request.id, f" {text}", REASON_STYLES.get(reason, ""))


def preempted_items(
    preempted: Sequence[str], preempted_for: Sequence[str] | None, *, with_word: bool
) -> Iterator[Item]:
    """Yield the entries of preempted requests: with the word or, in a column of their own, for whom."""
    for place, request_id in enumerate(preempted):
        tail = " preempted" if with_word else ""
        if preempted_for and not with_word:
            other = preempted_for[place]
            tail = f" for {'itself' if other == request_id else label(other)}"
        yield request_item(request_id, tail, "red")


def format_reason(finish_reason: str, stop_reason: str | None) -> str:
    """Return why a request finished: `length`, or `stop "END"` with the stop string that ended it."""
    shown = visible(finish_reason)
    return shown if stop_reason is None else f"{shown} {quoted(stop_reason)}"
