"""The entries of a table cell, and how many of them fit into it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from rich.cells import cell_len

from tracesim_cli.terminal.lines import Fragment
from tracesim_cli.terminal.text import clip

_MIN_LABEL = 5  # cells that an id keeps at least; a shorter piece would not identify it


class Item(NamedTuple):
    """One entry of a cell: its label is a request, its tail what happened to it; `cells` is its width."""

    label: str
    label_style: str
    tail: str
    tail_style: str
    cells: int


def fit(items: Iterable[Item], total: int, width: int, between: int = 1) -> tuple[list[Fragment], int]:
    """Return as many of `total` items as fit into `width` cells, then "+N" for the others; and their width.

    At least one item is shown, shortened if necessary. Only as many items are made as might fit.
    """
    seen: list[Item] = []
    used = 0
    shown, shown_cells = 0, 0
    for item in items:
        seen.append(item)
        used += item.cells + (between if len(seen) > 1 else 0)
        if used > width:
            break
        if used + count_cells(total - len(seen)) <= width:
            shown, shown_cells = len(seen), used
    if not shown:
        shown = 1
        seen[0] = _shorten(seen[0], width - count_cells(total - 1))
        shown_cells = seen[0].cells
    omitted = total - shown
    line: list[Fragment] = []
    for item in seen[:shown]:
        if line:
            line.append((" " * between, ""))
        line.append((item.label, item.label_style))
        if item.tail:
            line.append((item.tail, item.tail_style))
    if omitted:
        line.append((f" +{omitted}", "dim"))
    return line, shown_cells + count_cells(omitted)


def _shorten(item: Item, width: int) -> Item:
    """Return an item cut to `width` cells: its label, to no less than a third of them, then its tail."""
    kept = max(width - cell_len(item.tail), width // 3, _MIN_LABEL)
    label = clip(item.label, min(kept, width))
    tail = clip(item.tail, width - cell_len(label))
    return item._replace(label=label, tail=tail, cells=cell_len(label) + cell_len(tail))


def count_cells(omitted: int) -> int:
    """Return the width of the "+N" for that many items."""
    return len(f" +{omitted}") if omitted else 0
