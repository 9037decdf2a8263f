"""The entries of a table cell, and how many of them fit into it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from rich.cells import cell_len

from tracesim_cli.terminal.lines import Fragment
from tracesim_cli.terminal.text import clip

_SHORT_LABEL = 5  # cells that an id keeps: of a short one the rest would tell nothing


class Item(NamedTuple):
    """One entry of a cell: the label says whose it is, the tail what became of it."""

    label: str
    label_style: str
    tail: str
    tail_style: str
    cells: int


def fit(items: Iterable[Item], total: int, room: int, between: int = 1) -> tuple[list[Fragment], int]:
    """Return as many of `total` items as `room` cells hold, then "+N" for those left out; and the cells used.

    At least one is shown, cut if need be. Only as many items are made as could be shown.
    """
    seen: list[Item] = []
    used = 0
    shown, shown_cells = 0, 0
    for item in items:
        seen.append(item)
        used += item.cells + (between if len(seen) > 1 else 0)
        if used > room:
            break
        if used + _count_cells(total - len(seen)) <= room:
            shown, shown_cells = len(seen), used
    if not shown:
        shown = 1
        seen[0] = _shortened(seen[0], room - _count_cells(total - 1))
        shown_cells = seen[0].cells
    return _joined(seen[:shown], total - shown, between), shown_cells + _count_cells(total - shown)


def _shortened(item: Item, room: int) -> Item:
    """Cut an item to `room` cells: a long label first, to no less than a third of them, then the tail."""
    kept = max(room - cell_len(item.tail), room // 3, _SHORT_LABEL)
    shown = clip(item.label, min(kept, room))
    tail = clip(item.tail, room - cell_len(shown))
    return item._replace(label=shown, tail=tail, cells=cell_len(shown) + cell_len(tail))


def _count_cells(left_out: int) -> int:
    return len(f" +{left_out}") if left_out else 0


def _joined(items: list[Item], left_out: int, between: int) -> list[Fragment]:
    """Put items side by side, and the count of those left out after them."""
    line: list[Fragment] = []
    for item in items:
        if line:
            line.append((" " * between, ""))
        line.append((item.label, item.label_style))
        if item.tail:
            line.append((item.tail, item.tail_style))
    if left_out:
        line.append((f" +{left_out}", "dim"))
    return line
