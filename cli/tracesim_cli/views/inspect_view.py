"""The statistics of a trace as figures and bars for a terminal of any width."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import zip_longest
from typing import NamedTuple, TextIO

from rich.cells import cell_len

from tracesim.analysis.trace_statistics import (
    ArrivalStatistics,
    LengthStatistics,
    PrefixStatistics,
    SessionStatistics,
    TraceStatistics,
)
from tracesim_cli.terminal.display import Display
from tracesim_cli.terminal.lines import Fragment, clip_line, plain_text, print_lines
from tracesim_cli.terminal.safe_text import visible
from tracesim_cli.terminal.text import counted

COLUMNS = {"p50": 50, "p90": 90, "p99": 99, "max": 100}

Line = list[Fragment]

_TITLE_WIDTH = 16
_MIN_WIDTH = 40
_MIN_WIDTH_SIDE_BY_SIDE = 92
_MAX_WIDTH = 140  # longer bars are not easier to compare
_GAP = 4
_AXIS_WIDTH = 12
_CHART_ROWS = 4
_FIRST_UNIX_TIME, _LAST_UNIX_TIME = 10**9, 10**11  # greater times than the first are seconds since 1970
_MIN_COLUMNS = 10
_ARRIVALS_PER_COLUMN = 5  # with fewer, a column shows chance and not a rate


class Glyphs(NamedTuple):
    """Characters that fill a cell more and more: from below for columns, from the left for rows."""

    columns: str
    rows: str


BLOCKS = Glyphs(" ▁▂▃▄▅▆▇█", " ▏▎▍▌▋▊▉█")
PLAIN = Glyphs(" .:|#", " #")


@dataclass(frozen=True, slots=True)
class Inspected:
    """The statistics of a trace, the format of each file, the problems by severity, and the tokenizer."""

    formats: Mapping[str, str]
    stats: TraceStatistics
    problems: Mapping[str, int]
    tokenizer: str


class Figure(NamedTuple):
    """A title, a value, and a note that explains the value."""

    title: str
    value: str
    note: str = ""


def format_inspected(inspected: Inspected, *, width: int = 100, glyphs: Glyphs = BLOCKS) -> list[Line]:
    """Return the statistics as lines, none wider than `width`."""
    width = min(max(width, _MIN_WIDTH), _MAX_WIDTH)
    stats = inspected.stats
    lines = [*_wrap(_heading(inspected, width), width), [], *_table(stats, width), []]
    lines += _histograms(stats, width, glyphs)
    if arrivals := stats.arrivals:
        rates = arrivals.rates(
            min(width - _AXIS_WIDTH, max(_MIN_COLUMNS, arrivals.count // _ARRIVALS_PER_COLUMN))
        )
        lines += [[], *_wrap(_arrivals(arrivals, rates, stats.records), width)]
        lines += _chart(arrivals, rates, width - _AXIS_WIDTH, glyphs)
    if sessions := stats.sessions:
        lines += [[], *_wrap(_sessions(sessions), width)]
    if stats.prefixes.blocks:
        lines += [[], *_wrap(_prefixes(stats.prefixes, stats.records), width)]
    return [clip_line(line, width) for line in lines]


def print_inspected(stream: TextIO, display: Display, inspected: Inspected) -> None:
    """Print what `format_inspected` returns, in colour or as plain text, as `display` wants it."""
    can_draw = (stream.encoding or "").lower().replace("-", "") in ("utf8", "utf16")
    lines = format_inspected(inspected, width=display.width, glyphs=BLOCKS if can_draw else PLAIN)
    print_lines(stream, display, lines)


def _heading(inspected: Inspected, width: int) -> Iterator[Figure]:
    stats = inspected.stats
    for file, name in inspected.formats.items():
        yield Figure("trace", _clip_start(visible(file), width - _TITLE_WIDTH), name)
    kinds = [f"{count:,} with {kind}" for kind, count in stats.kinds.items() if count]
    yield Figure("records", f"{stats.records:,}", ", ".join(kinds))
    problems = [counted(count, severity) for severity, count in sorted(inspected.problems.items())]
    if problems:
        yield Figure("problems", ", ".join(problems), "tracesim validate shows them")
    if stats.has_tokenized:
        yield Figure("tokenizer", visible(inspected.tokenizer))


def _table(stats: TraceStatistics, width: int) -> Iterator[Line]:
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


def _histograms(stats: TraceStatistics, width: int, glyphs: Glyphs) -> Iterator[Line]:
    """Yield both histograms, side by side where the width allows it."""
    if width < _MIN_WIDTH_SIDE_BY_SIDE:
        yield from _histogram("prompt tokens", stats.prompt_tokens, width, glyphs)
        yield []
        yield from _histogram("output tokens", stats.output_tokens, width, glyphs)
        return
    half = (width - _GAP) // 2
    left = _histogram("prompt tokens", stats.prompt_tokens, half, glyphs)
    right = _histogram("output tokens", stats.output_tokens, half, glyphs)
    nothing: Line = []
    for one, other in zip_longest(left, right, fillvalue=nothing):
        cells = half + _GAP - cell_len(plain_text(one))
        yield [*one, (" " * cells, ""), *other] if other else one


def _histogram(title: str, lengths: LengthStatistics, width: int, glyphs: Glyphs) -> list[Line]:
    """Return a row for each power of two: the range, a bar, and the count."""
    rows = [
        (f"{low:,}" if low == high else f"{low:,} - {high:,}", count)
        for low, high, count in lengths.histogram()
    ]
    label_width = max([len(title), *(len(label) for label, _ in rows)])
    count_width = max((len(f"{count:,}") for _, count in rows), default=0)
    cells = width - label_width - count_width - 4
    most = max((count for _, count in rows), default=0)
    lines: list[Line] = [[(title, "bold")]]
    for label, count in rows:
        bar = _bar(count, most, cells, glyphs)
        lines.append(
            [(f"{label:>{label_width}}  ", "dim"), (bar, "cyan"), (f"  {count:>{count_width},}", "")]
        )
    return lines


def _bar(count: int, most: int, cells: int, glyphs: Glyphs) -> str:
    """Return a bar in `cells` cells; a count that is not zero is always visible."""
    full = len(glyphs.rows) - 1
    parts = max(1, round(count / most * cells * full)) if count else 0
    whole, rest = divmod(parts, full)
    return (glyphs.rows[-1] * whole + (glyphs.rows[rest] if rest else "")).ljust(cells)


def _arrivals(arrivals: ArrivalStatistics, rates: Sequence[float], records: int) -> Iterator[Figure]:
    unit = arrivals.unit
    of = "" if arrivals.count == records else f" of {records:,}"
    span = f"from {_time(arrivals.first, unit)} to {_time(arrivals.last, unit)}"
    yield Figure("arrivals", f"{arrivals.count:,}{of}", span)
    if rates:
        mean = (arrivals.count - 1) / arrivals.duration
        column = _time(arrivals.duration / len(rates), unit)
        rates_text = f"mean {_rate(mean, unit)}, highest {_rate(max(rates), unit)}"
        yield Figure("arrival rate", rates_text, f"a column is {column}")


def _chart(
    arrivals: ArrivalStatistics, rates: Sequence[float], num_cells: int, glyphs: Glyphs
) -> Iterator[Line]:
    """Yield rates as columns over several rows; a rate that is not zero is always visible."""
    if not rates:
        return
    full = len(glyphs.columns) - 1
    most = max(rates)
    heights = [max(1, round(rate / most * _CHART_ROWS * full)) if rate else 0 for rate in rates]
    labels = [_rate(most, arrivals.unit), *[""] * (_CHART_ROWS - 1)]
    for row, label in zip(reversed(range(_CHART_ROWS)), labels, strict=True):
        column = [glyphs.columns[min(max(height - row * full, 0), full)] for height in heights]
        cells = "".join(cell * (num_cells // len(rates)) for cell in column)
        yield [(f"{label:>{_AXIS_WIDTH - 2}}  ", "dim"), (cells, "cyan")]


def _sessions(sessions: SessionStatistics) -> Iterator[Figure]:
    if sessions.turns:
        mean = sessions.turns / sessions.sessions
        note = f"mean {mean:,.1f} per session, longest {sessions.longest:,}"
        yield Figure("sessions", f"{sessions.sessions:,} with {counted(sessions.turns, 'turn')}", note)
    if sessions.after:
        yield Figure(
            "after",
            counted(sessions.after, "record"),
            "with ids of others to wait for",
        )
    if sessions.mean_delay is not None:
        note = f"of {counted(sessions.delays, 'record')} with a delay"
        yield Figure("think time", f"mean {_time(sessions.mean_delay, 'seconds')}", note)


def _prefixes(prefixes: PrefixStatistics, records: int) -> Iterator[Figure]:
    found = f"{prefixes.found_fraction:.1%} of prompt tokens in an unlimited cache"
    blocks = f"{prefixes.found_blocks:,} of {counted(prefixes.blocks, 'block')}"
    yield Figure("shared prefixes", found, blocks)
    if prefixes.found_session_tokens:
        within = prefixes.found_session_tokens / prefixes.prompt_tokens
        yield Figure("", f"{within:.1%} within sessions, {prefixes.found_fraction - within:.1%} across")
    of = "" if prefixes.records == records else f" of {prefixes.records:,}"
    shared = f"{prefixes.shared_first:,}{of} share their first block"
    yield Figure("", shared, f"{counted(prefixes.first_blocks, 'different first block')}")


def _time(value: float, unit: str) -> str:
    """Return steps, or seconds as hours and minutes if there are enough, or as a date."""
    if unit == "steps":
        number = f"{value:,.3g}" if value < 100 else f"{value:,.0f}"
        return f"{number} step" if number == "1" else f"{number} steps"
    if value < 120:
        return f"{value:,.3g} s"
    if _FIRST_UNIX_TIME <= value < _LAST_UNIX_TIME:
        return f"{datetime.fromtimestamp(value, timezone.utc):%Y-%m-%d %H:%M:%S} UTC"
    minutes, seconds = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _rate(value: float, unit: str) -> str:
    return (f"{value:,.0f}" if value >= 100 else f"{value:.3g}") + ("/s" if unit == "seconds" else "/step")


def _clip_start(text: str, cells: int) -> str:
    """Return the end of a path that is too long: it identifies the file better than the beginning."""
    while cell_len(text) > cells:
        text = "…" + text[2:]
    return text


def _wrap(figures: Iterable[Figure], width: int) -> Iterator[Line]:
    """Yield figures as lines, with the note on a line of its own where it does not fit beside the value."""
    for title, value, note in figures:
        line: Line = [(f"{title:<{_TITLE_WIDTH}}", "dim"), (value, "")]
        fits = _TITLE_WIDTH + cell_len(value) + cell_len(note) + 3 <= width
        if note and fits:
            line.append((f" ({note})", "dim"))
        yield line
        if note and not fits:
            yield [(" " * _TITLE_WIDTH, ""), (note, "dim")]
