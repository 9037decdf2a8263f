"""The cells of a comparison of steps: entries and figures as text, shortened where they are equal."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from operator import eq
from typing import Any

from rich.cells import cell_len, set_cell_size

from tracesim.analysis.step_diff import Entry, align
from tracesim_cli.terminal.text import clip, label, quoted
from tracesim_cli.views.request_items import format_reason

_MAX_CHANGES = 20


def entry_text(field: str, parts: Sequence[str], entry: Entry) -> str:
    """Return an entry with all that may differ, as the step table shows it: `r2:13@16`, `r1 1917 " a"`.

    `parts` names the values of the entry; it is empty for a list of ids.
    """
    values = dict(zip(parts or ("id",), entry, strict=True))
    text = label(values["id"]) if "id" in values else ""
    computed, tokens = values.get("computed"), values.get("tokens")
    if field == "prefill":
        text += f":{tokens}" if "tokens" in values else ""
        text += f"@{computed}" if computed else ""
    elif field == "decode":
        text += f":{tokens}" if tokens not in (None, 1) else ""
        text += f"@{computed}" if "computed" in values else ""
    elif field == "cached":
        text += f"~{tokens}" if "tokens" in values else ""
    elif field == "emitted":
        text += f" {values['token_id']}" if values.get("token_id") is not None else ""
        text += f" {quoted(values['text'])}" if values.get("text") is not None else ""
    elif field == "finished":
        text += f" {format_reason(values.get('finish_reason', ''), values.get('stop_reason'))}"
    return text.strip()


def figure_text(figure: int | None) -> str:
    """Return a figure; None, the number of free blocks of an unlimited cache, is "unlimited"."""
    return "unlimited" if figure is None else f"{figure:,}"


def change_text(field: str, left: Any, right: Any) -> str:
    """Return what differs in a field: `running 3|4`, or the ids of the entries in `decode -r3 +r4 !r5`."""
    if not isinstance(left, list) or not isinstance(right, list):
        return f"{field} {figure_text(left)}|{figure_text(right)}"
    words = []
    for a, b in align(left, right):
        if a != b:
            mark = "+" if a is None else "-" if b is None else "!"
            words.append(f"{mark}{label(str((a or b or ('',))[0]))}")
    more = [f"+{len(words) - _MAX_CHANGES} more"] if len(words) > _MAX_CHANGES else []
    return " ".join([field, *words[:_MAX_CHANGES], *more])


def clip_differing(left: str, right: str, width: int) -> tuple[str, str]:
    """Return two texts cut to `width` cells; if they would then look equal, from just before they differ."""
    clipped = clip(left, width), clip(right, width)
    if left == right or clipped[0] != clipped[1]:
        return clipped
    equal = sum(1 for _ in takewhile(bool, map(eq, left, right)))
    start = max(0, equal - width // 3)
    return clip("…" + left[start:], width), clip("…" + right[start:], width)


def clip_start(text: str, width: int) -> str:
    """Return the end of `text` in `width` cells: the most specific part of a path."""
    if cell_len(text) <= width:
        return text
    return "…" + set_cell_size(text[::-1], max(width - 1, 0))[::-1]
