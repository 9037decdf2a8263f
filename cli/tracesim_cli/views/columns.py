"""The layout of a table of steps: columns of figures, then columns of entries, in lines of a fixed width.

Nothing here prints. A line is a list of styled fragments, which become Rich text or a plain string.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, Generic, NamedTuple, TypeVar

from tracesim_cli.terminal.lines import Fragment, clip_line
from tracesim_cli.terminal.text import clip
from tracesim_cli.views.items import Item, count_cells, fit

Row = TypeVar("Row")

GAP = 2
"""Cells between two columns."""


class Figure(NamedTuple):
    """A column with one text for each row, aligned to the right in `width` cells."""

    title: str
    width: int
    text: Callable[[Any], str]


class Entries(NamedTuple):
    """A column of entries, `between` cells apart.

    `items` returns how many entries a row has in this column, and the entries, each made when needed.
    `weight` is the column's share of the width that the figures leave. An event is more important than other
    entries: where its column is too narrow, it starts before its column.
    """

    title: str
    items: Callable[[Any], tuple[int, Iterable[Item]]]
    weight: int
    between: int = 1
    is_event: bool = False


class _Place(NamedTuple):
    column: Entries
    start: int
    width: int


class Columns(Generic[Row]):
    """The columns of a table that is `width` cells wide."""

    def __init__(self, width: int, figures: Sequence[Figure], entries: Sequence[Entries]) -> None:
        self.width = width
        self._figures = figures
        end = sum(figure.width for figure in figures) + GAP * (len(figures) - 1)
        weights = sum(column.weight for column in entries)
        self._places: list[_Place] = []
        for index, column in enumerate(entries):
            gaps = GAP * (len(entries) - index)
            share = (width - end - gaps) * column.weight // weights
            self._places.append(_Place(column, end + GAP, share))
            end += GAP + share
            weights -= column.weight

    def titles(self) -> list[Fragment]:
        """Return the line of column titles."""
        line = (" " * GAP).join(figure.title.rjust(figure.width) for figure in self._figures)
        for column, start, width in self._places:
            line = line.ljust(start) + clip(column.title, width)
        return [(line, "bold")]

    def line(self, row: Row) -> list[Fragment]:
        """Return the line of a row.

        A figure that is too long for its column moves what follows it in this row only. Entries that are too
        long for their column continue over columns that are empty in this row.
        """
        text = self._figures_of(row)
        line: list[Fragment] = [(text, "dim")]
        filled = len(text)
        for items, total, start, end, between in self._placed(row):
            start = max(start, filled + 1)
            line.append((" " * (start - filled), ""))
            cell, cells = fit(items, total, end - start, between)
            line += cell
            filled = start + cells
        return line if filled <= self.width else clip_line(line, self.width)

    def _figures_of(self, row: Row) -> str:
        text, end = "", -GAP
        for figure in self._figures:
            end += GAP + figure.width
            value = figure.text(row)
            text += value.rjust(max(end - len(text), len(value) + bool(text)))
        first = self._places[0]
        return clip(text, first.start + first.width // 2)

    def _placed(self, row: Row) -> list[tuple[Iterable[Item], int, int, int, int]]:
        """Return the entries of each column that has any: items, their number, and where they start and end.

        They end where the next ones start. Events that need more cells than that take up to half the column
        before them.
        """
        found = []
        for place in self._places:
            total, items = place.column.items(row)
            if total:
                found.append((place, total, items))
        placed: list[tuple[Iterable[Item], int, int, int, int]] = []
        end = self.width
        for index in reversed(range(len(found))):
            (column, start, _), total, items = found[index]
            if column.is_event:
                items = list(islice(items, self.width))
                needed = sum(item.cells for item in items) + column.between * (len(items) - 1)
                needed += count_cells(total - len(items))
                if needed > end - start:
                    least = self._places[0].start
                    if index:
                        before = found[index - 1][0]
                        least = before.start + before.width // 2 + GAP
                    start = min(start, max(end - needed, least))
            placed.append((items, total, start, end, column.between))
            end = start - GAP
        placed.reverse()
        return placed
