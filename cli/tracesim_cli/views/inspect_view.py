"""What is in a trace, in figures and bars for a terminal of any width."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import NamedTuple, TextIO

from rich.cells import cell_len

from tracesim.analysis.percentiles import PERCENTILES
from tracesim.analysis.trace_statistics import ArrivalStats, LengthStats, PrefixStats, TraceStats
from tracesim_cli.terminal.display import Display
from tracesim_cli.terminal.lines import Fragment, plain_text, print_lines
from tracesim_cli.terminal.safe_text import visible
from tracesim_cli.terminal.text import clip, counted

COLUMNS = {**{f"p{percent}": percent for percent in PERCENTILES}, "max": 100}

Line = list[Fragment]

_TITLE = 16
_NARROWEST = 40
_SIDE_BY_SIDE = 92
_WIDEST = 140  # a bar of more tells nothing more
_GAP = 4
_AXIS = 12
_CHART_ROWS = 4
_FEWEST_COLUMNS = 10
_ARRIVALS_A_COLUMN = 5  # with fewer, a column tells chance and no rate


class Glyphs(NamedTuple):
    """The fillings of a cell, from none to all: from below for columns, from the left for rows."""

    columns: str
    rows: str


BLOCKS = Glyphs(" ▁▂▃▄▅▆▇█", " ▏▎▍▌▋▊▉█")
PLAIN = Glyphs(" .:|#", " #")


@dataclass(frozen=True, slots=True)
class Inspected:
    """The figures of a trace: the format of each file, how many problems of each severity, the tokenizer."""

    formats: Mapping[str, str]
    stats: TraceStats
    problems: Mapping[str, int]
    tokenizer: str


class Figure(NamedTuple):
    """A title, what there is to say, and what helps to read it."""

    title: str
    value: str
    note: str = ""


def format_inspected(inspected: Inspected, *, width: int = 100, glyphs: Glyphs = BLOCKS) -> list[Line]:
    """The figures as lines, none wider than `width`."""
    width = min(max(width, _NARROWEST), _WIDEST)
    stats = inspected.stats
    lines = [*_folded(_heading(inspected, width), width), [], *_table(stats, width), []]
    lines += _histograms(stats, width, glyphs)
    if arrivals := stats.arrivals:
        rates = arrivals.rates(min(width - _AXIS, max(_FEWEST_COLUMNS, arrivals.count // _ARRIVALS_A_COLUMN)))
        lines += [[], *_folded(_arrivals(arrivals, rates, stats.records), width)]
        lines += _chart(arrivals, rates, width - _AXIS, glyphs)
    if stats.prefixes.blocks:
        lines += [[], *_folded(_prefixes(stats.prefixes, stats.records), width)]
    return [_cut(line, width) for line in lines]


def print_inspected(stream: TextIO, display: Display, inspected: Inspected) -> None:
    """Print what `format_inspected` returns: in colour on a live display, else as plain text."""
    can_draw = (stream.encoding or "").lower().replace("-", "") in ("utf8", "utf16")
    lines = format_inspected(inspected, width=display.width, glyphs=BLOCKS if can_draw else PLAIN)
    print_lines(stream, display, lines)


def _heading(inspected: Inspected, width: int) -> Iterator[Figure]:
    stats = inspected.stats
    for file, name in inspected.formats.items():
        yield Figure("trace", _end_of(visible(file), width - _TITLE), name)
    kinds = [f"{count:,} with {kind}" for kind, count in stats.kinds.items() if count]
    yield Figure("records", f"{stats.records:,}", ", ".join(kinds))
    problems = [counted(count, severity) for severity, count in sorted(inspected.problems.items())]
    if problems:
        yield Figure("problems", ", ".join(problems), "tracesim validate shows them")
    if stats.has_tokenized:
        yield Figure("tokenizer", visible(inspected.tokenizer))


def _table(stats: TraceStats, width: int) -> Iterator[Line]:
    sides = {"prompt": stats.prompt_tokens, "output": stats.output_tokens}
    rows = [["tokens", "total", "mean", *COLUMNS]]
    for title, lengths in sides.items():
        figures = [f"{lengths.percentile(percent):,.0f}" for percent in COLUMNS.values()]
        rows.append([title, f"{lengths.total:,}", f"{lengths.mean:,.1f}", *figures])
    cells = [max(map(len, column)) for column in zip(*rows, strict=True)]
    gap = next((gap for gap in (4, 3, 2) if sum(cells) + gap * len(cells) <= width), 1)
    for row in rows:
        figures = [" " * gap + cell.rjust(size) for cell, size in zip(row[1:], cells[1:], strict=True)]
        yield [(row[0], "dim"), ("".join(figures), "dim" if row is rows[0] else "")]


def _histograms(stats: TraceStats, width: int, glyphs: Glyphs) -> Iterator[Line]:
    """Both beside each other where there is room for them."""
    if width < _SIDE_BY_SIDE:
        yield from _histogram("prompt tokens", stats.prompt_tokens, width, glyphs)
        yield []
        yield from _histogram("output tokens", stats.output_tokens, width, glyphs)
        return
    half = (width - _GAP) // 2
    left = _histogram("prompt tokens", stats.prompt_tokens, half, glyphs)
    right = _histogram("output tokens", stats.output_tokens, half, glyphs)
    nothing: Line = []
    for one, other in zip_longest(left, right, fillvalue=nothing):
        room = half + _GAP - cell_len(plain_text(one))
        yield [*one, (" " * room, ""), *other] if other else one


def _histogram(title: str, lengths: LengthStats, width: int, glyphs: Glyphs) -> list[Line]:
    """A row for each power of two: from - to, a bar, how many."""
    rows = [(_range(low, high), count) for low, high, count in lengths.histogram()]
    label_width = max([len(title), *(len(label) for label, _ in rows)])
    count_width = max((len(f"{count:,}") for _, count in rows), default=0)
    room = width - label_width - count_width - 4
    most = max((count for _, count in rows), default=0)
    lines: list[Line] = [[(title, "bold")]]
    for label, count in rows:
        bar = _bar(count, most, room, glyphs)
        lines.append(
            [(f"{label:>{label_width}}  ", "dim"), (bar, "cyan"), (f"  {count:>{count_width},}", "")]
        )
    return lines


def _range(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,} - {high:,}"


def _bar(count: int, most: int, room: int, glyphs: Glyphs) -> str:
    """A bar of `room` cells; what is not zero is seen."""
    full = len(glyphs.rows) - 1
    parts = max(1, round(count / most * room * full)) if count else 0
    whole, rest = divmod(parts, full)
    return (glyphs.rows[-1] * whole + (glyphs.rows[rest] if rest else "")).ljust(room)


def _arrivals(arrivals: ArrivalStats, rates: Sequence[float], records: int) -> Iterator[Figure]:
    unit = arrivals.unit
    of = "" if arrivals.count == records else f" of {records:,}"
    span = f"from {_time(arrivals.first, unit)} to {_time(arrivals.last, unit)}"
    yield Figure("arrivals", f"{arrivals.count:,}{of}", span)
    if rates:
        mean = (arrivals.count - 1) / arrivals.duration
        column = _time(arrivals.duration / len(rates), unit)
        said = f"mean {_rate(mean, unit)}, highest {_rate(max(rates), unit)}"
        yield Figure("arrival rate", said, f"a column is {column}")


def _chart(arrivals: ArrivalStats, rates: Sequence[float], room: int, glyphs: Glyphs) -> Iterator[Line]:
    """Rates as columns of several rows, as wide as there is room; what is not zero is seen."""
    if not rates:
        return
    full = len(glyphs.columns) - 1
    most = max(rates)
    heights = [max(1, round(rate / most * _CHART_ROWS * full)) if rate else 0 for rate in rates]
    labels = [_rate(most, arrivals.unit), *[""] * (_CHART_ROWS - 1)]
    for row, label in zip(reversed(range(_CHART_ROWS)), labels, strict=True):
        column = [glyphs.columns[min(max(height - row * full, 0), full)] for height in heights]
        cells = "".join(cell * (room // len(rates)) for cell in column)
        yield [(f"{label:>{_AXIS - 2}}  ", "dim"), (cells, "cyan")]


def _prefixes(prefixes: PrefixStats, records: int) -> Iterator[Figure]:
    found = f"{prefixes.found_fraction:.1%} of prompt tokens in an endless cache"
    blocks = f"{prefixes.found_blocks:,} of {counted(prefixes.blocks, 'block')}"
    yield Figure("shared prefixes", found, blocks)
    of = "" if prefixes.records == records else f" of {prefixes.records:,}"
    shared = f"{prefixes.shared_first:,}{of} share their first block"
    yield Figure("", shared, f"{counted(prefixes.first_blocks, 'first block')} in all")


def _time(value: float, unit: str) -> str:
    """Steps, or seconds, as hours and minutes where there are some."""
    if unit == "steps":
        return f"{value:,.3g} steps" if value < 100 else f"{value:,.0f} steps"
    if value < 120:
        return f"{value:,.3g} s"
    minutes, seconds = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _rate(value: float, unit: str) -> str:
    return (f"{value:,.0f}" if value >= 100 else f"{value:.3g}") + ("/s" if unit == "seconds" else "/step")


def _end_of(text: str, room: int) -> str:
    """The end of a path that is too long, which tells more than its beginning."""
    while cell_len(text) > room:
        text = "…" + text[2:]
    return text


def _folded(figures: Iterable[Figure], width: int) -> Iterator[Line]:
    """Figures as lines, the note on one of its own where there is no room beside the value."""
    for title, value, note in figures:
        line: Line = [(f"{title:<{_TITLE}}", "dim"), (value, "")]
        fits = _TITLE + cell_len(value) + cell_len(note) + 3 <= width
        if note and fits:
            line.append((f" ({note})", "dim"))
        yield line
        if note and not fits:
            yield [(" " * _TITLE, ""), (note, "dim")]


def _cut(line: Line, width: int) -> Line:
    """A line cut to `width` cells, with an ellipsis where it goes on."""
    shown: Line = []
    for text, style in line:
        piece = clip(text, width)
        shown.append((piece, style))
        width -= cell_len(piece)
    return shown
