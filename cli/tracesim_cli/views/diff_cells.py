"""What stands in a cell of a comparison: entries and figures as text, cut where they are equal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import takewhile
from operator import eq
from typing import Any

from rich.cells import cell_len, set_cell_size

from tracesim.analysis.step_diff import Entry, align
from tracesim_cli.terminal.text import clip, label, quoted
from tracesim_cli.views.step_table import reason

_MOST_CHANGES = 20


def entry_text(field: str, parts: Sequence[str], entry: Entry) -> str:
    """An entry with all that can differ, as the step table spells it: `r2:13@16`, `r1 1917 " world"`.

    `parts` names the values of the entry; of a list of ids it is empty.
    """
    values = dict(zip(parts or ("id",), entry, strict=True))
    name = label(values["id"]) if "id" in values else ""
    return (name + _TAILS.get(field, _nothing)(values)).strip()


def figure_text(figure: int | None) -> str:
    """A figure; `endless` for the free blocks of an endless cache."""
    return "endless" if figure is None else f"{figure:,}"


def changes(field: str, left: Any, right: Any) -> str:
    """A field that differs in a few words: `running 3|4`, or by the ids of entries `decode -r3 +r4 !r5`."""
    if not isinstance(left, list) or not isinstance(right, list):
        return f"{field} {figure_text(left)}|{figure_text(right)}"
    words = [_change(*sides) for sides in align(left, right) if sides[0] != sides[1]]
    more = [f"+{len(words) - _MOST_CHANGES} more"] if len(words) > _MOST_CHANGES else []
    return " ".join([field, *words[:_MOST_CHANGES], *more])


def differing(left: str, right: str, room: int) -> tuple[str, str]:
    """Two texts in `room` cells each; where both would look the same, from just before they differ."""
    cut = clip(left, room), clip(right, room)
    if left == right or cut[0] != cut[1]:
        return cut
    equal = sum(1 for _ in takewhile(bool, map(eq, left, right)))
    start = max(0, equal - room // 3)
    return clip("…" + left[start:], room), clip("…" + right[start:], room)


def tail(text: str, room: int) -> str:
    """The end of a text, which tells most of a path, in `room` cells."""
    if cell_len(text) <= room:
        return text
    backwards = set_cell_size(text[::-1], max(room - 1, 0))
    return "…" + backwards[::-1]


def _change(left: Entry | None, right: Entry | None) -> str:
    mark = "+" if left is None else "-" if right is None else "!"
    return f"{mark}{label(str((left or right or ('',))[0]))}"


def _scheduled(values: dict[str, Any]) -> str:
    computed = values.get("computed")
    tokens = f":{values['tokens']}" if "tokens" in values else ""
    return tokens + (f"@{computed}" if computed else "")


def _decoded(values: dict[str, Any]) -> str:
    computed = f"@{values['computed']}" if "computed" in values else ""
    return (f":{values['tokens']}" if values.get("tokens", 1) != 1 else "") + computed


def _cached(values: dict[str, Any]) -> str:
    return f"~{values['tokens']}" if "tokens" in values else ""


def _emitted(values: dict[str, Any]) -> str:
    said = [str(values["token_id"])] if values.get("token_id") is not None else []
    said += [quoted(values["text"])] if values.get("text") is not None else []
    return "".join(f" {word}" for word in said)


def _finished(values: dict[str, Any]) -> str:
    return f" {reason(values.get('finish_reason', ''), values.get('stop_reason'))}"


def _nothing(_values: dict[str, Any]) -> str:
    return ""


_TAILS: dict[str, Callable[[dict[str, Any]], str]] = {
    "prefill": _scheduled,
    "decode": _decoded,
    "cached": _cached,
    "emitted": _emitted,
    "finished": _finished,
}
