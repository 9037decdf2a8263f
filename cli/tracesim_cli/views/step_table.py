"""The table of steps: which columns there are, how wide they are, and one line of text a step.

Nothing here prints. A line is first a list of styled fragments; from those come a Rich `Text` and a plain
string alike. All that a trace brings along, ids included, passes `visible` and never Rich's markup.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from rich.cells import cell_len

from tracesim.engine.outputs import EmittedToken, FinishedRequest, ScheduledTokens, StepRecord
from tracesim_cli.terminal.lines import Fragment, rich_text
from tracesim_cli.terminal.safe_text import visible
from tracesim_cli.terminal.text import clip, label, quoted
from tracesim_cli.views.items import Item, fit

if TYPE_CHECKING:
    from rich.text import Text


LEGEND = """\
Signs in the table:
r1:8     prefill of 8 tokens of request r1
r1:8@16  prefill of 8 tokens, after 16 tokens that were computed before
r1:8~16  prefill of 8 tokens, after 16 tokens from the prefix cache
r1 "a"   token that r1 emits: its text, its id where there is no text, or · where only lengths are known
+1       one more entry that does not fit in the column"""
"""The signs in the table of steps, for the help of a command."""

REASON_STYLES = {"stop": "green", "length": "yellow", "abort": "red"}

_GAP = 2
_NARROWEST = 40
_MERGED_BELOW = 80
_PREEMPTED_FROM = 120


Entries = tuple[int, Iterator[Item]]
"""How many entries a cell has, and the entries, made only as they are asked for."""


@dataclass(frozen=True, slots=True)
class Column:
    """Cells `start` to `end` of every line, and what a step puts there, `between` spaces apart."""

    title: str
    start: int
    end: int
    between: int
    entries: Callable[[StepRecord], Entries]


class StepTable:
    """The table for a terminal of `width` cells; no line is ever wider, and none wraps.

    With `finite_blocks` there can be preemptions: they have a column where there is room for one, and share
    the last column with what finished where there is not. Below 40 cells the table stays 40 wide.
    """

    def __init__(self, width: int, *, finite_blocks: bool = False) -> None:
        self.width = max(width, _NARROWEST)
        self._step_width = 5 if self.width < _MERGED_BELOW else 6
        self._columns = tuple(_placed(_parts(self.width, finite_blocks), self._step_width, self.width))

    def header(self) -> Text:
        """Return the line of column titles."""
        return rich_text(self.header_fragments())

    def row(self, record: StepRecord) -> Text:
        """Return the line of one step."""
        return rich_text(self.row_fragments(record))

    def header_fragments(self) -> list[Fragment]:
        """Return the line of column titles in pieces."""
        line = "step".rjust(self._step_width)
        for column in self._columns:
            line = line.ljust(column.start) + clip(column.title, column.end - column.start)
        return [(line, "bold")]

    def row_fragments(self, record: StepRecord) -> list[Fragment]:
        """Return the line of one step in pieces.

        A step number too long for its column takes the room it needs from the next one.
        """
        first = self._columns[0]
        step = clip(str(record.step), (first.start + first.end) // 2).rjust(self._step_width)
        line: list[Fragment] = [(step, "dim")]
        filled = len(step)
        for column in self._columns:
            total, items = column.entries(record)
            if not total:
                continue
            start = max(column.start, filled + 1)
            line.append((" " * (start - filled), ""))
            cell, cells = fit(items, total, column.end - start, column.between)
            line += cell
            filled = start + cells
        return line


def reason(finish_reason: str, stop_reason: str | None) -> str:
    """Return why a request finished in words: `length`, or `stop "END"` where a stop string was met."""
    shown = visible(finish_reason)
    return shown if stop_reason is None else f"{shown} {quoted(stop_reason)}"


class _Part(NamedTuple):
    """A column before it is placed: it gets its weight of the width."""

    title: str
    weight: int
    between: int
    entries: Callable[[StepRecord], Entries]


def _parts(width: int, finite_blocks: bool) -> list[_Part]:
    """Choose the columns: a narrow table has one for the whole batch."""
    own_preempted = finite_blocks and width >= _PREEMPTED_FROM
    parts = [_Part("prefill", 4, 1, _prefill), _Part("decode", 4, 1, _decode)]
    if width < _MERGED_BELOW:
        parts = [_Part("prefill:n decode", 7, 1, _batch)]
    parts.append(_Part("emitted", 7, 2, _emitted))
    if own_preempted:
        return [*parts, _Part("finished", 5, 2, _finished), _Part("preempted", 3, 1, _preempted)]
    return [*parts, _Part("events" if finite_blocks else "finished", 5, 2, _events)]


def _placed(parts: list[_Part], start: int, width: int) -> Iterator[Column]:
    """Lay columns side by side after `start`, each as wide as its weight of what is left."""
    weights = sum(part.weight for part in parts)
    for left, part in zip(range(len(parts), 0, -1), parts, strict=True):
        share = (width - start - _GAP * left) * part.weight // weights
        yield Column(part.title, start + _GAP, start + _GAP + share, part.between, part.entries)
        start += _GAP + share
        weights -= part.weight


def _prefill(record: StepRecord) -> Entries:
    return len(record.prefill), _prefill_items(record)


def _decode(record: StepRecord) -> Entries:
    return len(record.decode), map(_decode_item, record.decode)


def _batch(record: StepRecord) -> Entries:
    items = chain(_prefill_items(record), map(_decode_item, record.decode))
    return len(record.prefill) + len(record.decode), items


def _emitted(record: StepRecord) -> Entries:
    return len(record.emitted), map(_emitted_item, record.emitted)


def _finished(record: StepRecord) -> Entries:
    return len(record.finished), map(_finished_item, record.finished)


def _preempted(record: StepRecord) -> Entries:
    return len(record.preempted), (_item(request_id, "red") for request_id in record.preempted)


def _events(record: StepRecord) -> Entries:
    preempted = (_item(request_id, "", " preempted", "red") for request_id in record.preempted)
    total = len(record.finished) + len(record.preempted)
    return total, chain(preempted, map(_finished_item, record.finished))


def _prefill_items(record: StepRecord) -> Iterator[Item]:
    """`r2:13`; `r2:13@16` after 16 tokens computed before, `r2:13~16` after 16 found in the cache."""
    cached = {entry.id: entry.tokens for entry in record.cached or ()}
    for entry in record.prefill:
        mark = "~" if entry.id in cached else "@"
        before = f"{mark}{entry.computed}" if entry.computed else ""
        yield _item(entry.id, "", f":{entry.tokens}{before}", "cyan")


def _decode_item(entry: ScheduledTokens) -> Item:
    return _item(entry.id, "dim")


def _emitted_item(token: EmittedToken) -> Item:
    """`r1 " world"`; `r1 1917` when there is no text, `r1 ·` when there are only lengths."""
    if token.text is not None:
        return _item(token.id, "dim", " " + quoted(token.text))
    return _item(token.id, "dim", " ·" if token.token_id is None else f" {token.token_id}")


def _finished_item(request: FinishedRequest) -> Item:
    shown = reason(request.finish_reason, request.stop_reason)
    return _item(request.id, "", " " + shown, REASON_STYLES.get(request.finish_reason, ""))


def _item(request_id: str, label_style: str, tail: str = "", tail_style: str = "") -> Item:
    shown = label(request_id)
    return Item(shown, label_style, tail, tail_style, cell_len(shown) + cell_len(tail))
