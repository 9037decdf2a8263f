"""The panel of the live view: lanes of requests, the waiting queue, meters and speeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.cells import cell_len

from tracesim.engine.step_records import WaitingFor
from tracesim_cli.terminal.lines import Fragment, clip_line
from tracesim_cli.terminal.text import clip, counted, format_rate, label
from tracesim_cli.views.request_colors import request_style
from tracesim_cli.views.snapshot import Lane, Meter, Phase, Snapshot

Line = list[Fragment]

_LANE_WIDTH: Final = 46
_LANE_GAP: Final = 3
_MAX_LABEL: Final = 12
_MAX_BAR: Final = 40
_FIXED_LINES: Final = 4
_MIN_BAR: Final = 5
_HIGH: Final = 0.8
_VERY_HIGH: Final = 0.95
_ONE_LINE_FROM: Final = 110
_SIGNS: Final[dict[Phase, tuple[str, str]]] = {
    "queued": ("○", "dim"),
    "prefill": ("◐", ""),
    "decode": ("●", ""),
    "preempted": ("↺", "bold red"),
    "finished": ("✓", "green"),
    "rejected": ("✗", "red"),
}
_KEY_HINTS: Final = (("space", "pause"), ("→", "step"), ("n", "next event"), ("q", "end"))


def lanes_that_fit(width: int, height: int, requests: int) -> tuple[int, int]:
    """Return the columns and the lines of lanes on a terminal, for a run of so many requests."""
    columns = max(1, (width + _LANE_GAP) // (_LANE_WIDTH + _LANE_GAP))
    lines = max(0, (height - 2 * _FIXED_LINES) // 3)
    return columns, min(lines, -(-requests // columns))


def panel_lines(
    snapshot: Snapshot, width: int, lanes: tuple[int, int], *, has_keys: bool, is_paused: bool = False
) -> list[Line]:
    """Return the lines of the panel, none wider than `width`; equal settings give equally many.

    `lanes` has the columns and the lines of lanes.
    """
    lines = [_progress(snapshot, width)]
    lines += _lane_lines(snapshot, width, *lanes)
    lines.append(clip_line(_queue(snapshot), width))
    lines.append(clip_line(_meters(snapshot.meters, width), width))
    lines += _figures(snapshot, width, has_keys=has_keys, is_paused=is_paused)
    return lines


def _progress(snapshot: Snapshot, width: int) -> Line:
    """Return a line across the panel that fills up as requests finish."""
    text = f" {snapshot.finished:,}/{counted(snapshot.requests, 'request')}"
    length = max(0, width - len(text))
    done = length * snapshot.finished // snapshot.requests if snapshot.requests else length
    return [("━" * done, "green"), ("─" * (length - done), "dim"), (clip(text, width), "bold")]


def _lane_lines(snapshot: Snapshot, width: int, columns: int, lines: int) -> list[Line]:
    """Return the lanes in columns, from top to bottom; the last place counts the requests without a lane."""
    if not lines:
        return []
    lane_width = (width - _LANE_GAP * (columns - 1)) // columns
    shown = list(snapshot.lanes[: columns * lines])
    hidden = snapshot.hidden
    if hidden and len(shown) == columns * lines:
        last = shown.pop()
        hidden += last is not None and last.finish_reason is None
    label_width = max([min(cell_len(label(lane.id)), _MAX_LABEL) for lane in shown if lane], default=0)
    cells = [lane_line(lane, lane_width, label_width) if lane else [] for lane in shown]
    if hidden:
        cells.append([(f"+{hidden:,} more", "dim")])
    result: list[Line] = []
    for index in range(lines):
        line: Line = []
        for column, cell in enumerate(cells[index::lines]):
            start = column * (lane_width + _LANE_GAP)
            line.append((" " * (start - sum(cell_len(text) for text, _ in line)), ""))
            line += cell
        result.append(line)
    return result


def lane_line(lane: Lane, width: int, label_width: int) -> Line:
    """Return a lane: sign and id, a bar of prompt and response, the phase, and the tokens done of it."""
    sign, style = _SIGNS[lane.phase]
    color = request_style(lane.id)
    is_over = lane.phase in ("finished", "rejected")
    name = clip(label(lane.id), label_width)
    name += " " * (label_width - cell_len(name))
    phase = lane.phase
    word = phase if lane.phase != "finished" else lane.finish_reason or phase
    if lane.phase in ("decode", "finished") or (lane.phase == "preempted" and lane.emitted):
        done = f"{lane.emitted:,}/{lane.output_tokens:,}"
    else:
        done = f"{lane.computed:,}/{lane.prompt_tokens:,}"
    figures = f" {clip(word, 9):9} {done:>11}"
    bar_width = max(0, min(width - label_width - 3 - len(figures), _MAX_BAR))
    bar: Line = [(" " * bar_width, "")] if is_over else _bar(lane, bar_width, color)
    word_style = "dim" if lane.phase in ("queued", "finished") else style
    line: Line = [
        (f"{sign} ", style or color),
        (f"{name} ", color if is_over else f"bold {color}"),
        *bar,
        (figures[:11], word_style),
        (figures[11:], "dim" if is_over or lane.phase == "queued" else ""),
    ]
    return clip_line(line, width)


def _bar(lane: Lane, width: int, color: str) -> Line:
    """Return a bar whose first third fills up with the prompt, and the rest with the response."""
    prompt = width // 3 if lane.output_tokens else width
    computed = prompt * lane.computed // lane.prompt_tokens if lane.prompt_tokens else 0
    emitted = (width - prompt) * lane.emitted // lane.output_tokens if lane.output_tokens else 0
    return [
        ("╍" * computed, color),
        ("─" * (prompt - computed), "dim"),
        ("━" * emitted, color),
        ("─" * (width - prompt - emitted), "dim"),
    ]


def _queue(snapshot: Snapshot) -> Line:
    """Return why the first request of the waiting queue waits, and how many wait behind it."""
    waiting, first = snapshot.waiting, snapshot.waiting_for
    line: Line = [("queue  ", "dim")]
    if not waiting:
        return [*line, ("empty", "dim")]
    if first is None:
        return [*line, (f"{counted(waiting, 'request')} for the next step", "")]
    line += [(label(first.id), f"bold {request_style(first.id)}"), (f" {waiting_words(first, snapshot)}", "")]
    if waiting > 1:
        line.append((f"; {waiting - 1:,} behind it", ""))
    return line


def waiting_words(waiting_for: WaitingFor, snapshot: Snapshot) -> str:
    """Return why a request waits, as words after its id."""
    needs, free = waiting_for.needs or 0, waiting_for.free or 0
    are_free = f"{free:,} {'is' if free == 1 else 'are'} free"
    if waiting_for.cause == "kv_blocks":
        return f"waits for {counted(needs, 'KV block')}, {are_free}"
    if waiting_for.cause == "watermark":
        return f"waits for {counted(needs, 'KV block')} with those of the watermark, {are_free}"
    if waiting_for.cause == "max_num_seqs":
        return f"waits, as max_num_seqs lets {counted(snapshot.max_num_seqs or 0, 'request')} run"
    if waiting_for.cause == "token_budget":
        return "waits, as the token budget of the step is used up"
    if waiting_for.cause == "chunked_prefill_off":
        return f"waits for {counted(needs, 'token')} of the token budget, {are_free}"
    return "waits, as a step that preempts admits none"


def _meters(meters: Sequence[Meter], width: int) -> Line:
    """Return the meters side by side."""
    line: Line = []
    each = (width - 2 * (len(meters) - 1)) // len(meters)
    for meter in meters:
        if line:
            line.append(("  ", ""))
        line += _meter(meter, each)
    return line


def _meter(meter: Meter, width: int) -> Line:
    """Return a meter: with its figures, or with a percentage where these leave too few cells for a bar."""
    if meter.total is None:
        return [(f"{meter.name} ", "dim"), ("no limit".ljust(max(0, width - len(meter.name) - 1)), "")]
    share = min(1.0, meter.used / meter.total) if meter.total else 0.0
    name, figures = meter.name, f"{meter.used:,}/{meter.total:,}"
    longest = 2 * len(f"{meter.total:,}") + 1  # so that the bar keeps its length
    if width - len(name) - longest - 2 < _MIN_BAR:
        name = meter.short_name
    if width - len(name) - longest - 2 < _MIN_BAR:
        figures, longest = f"{share:.0%}", len("100%")
    bar = max(0, min(width - len(name) - longest - 2, _MAX_BAR))
    filled = round(bar * share)
    style = "green"
    if meter.warns and share > _HIGH:
        style = "red" if share > _VERY_HIGH else "yellow"
    return [
        (f"{name} ", "dim"),
        ("━" * filled, style),
        ("─" * (bar - filled), "dim"),
        (f" {figures}".ljust(width - len(name) - 1 - bar), ""),
    ]


def _figures(snapshot: Snapshot, width: int, *, has_keys: bool, is_paused: bool) -> list[Line]:
    """Return step, time and speeds, and the keys in the same line or, on a narrow terminal, in a second."""
    parts = [("step ", "-" if snapshot.step is None else f"{snapshot.step:,}")]
    if snapshot.time is not None:
        parts.append(("time ", f"{snapshot.time:,.3f} s"))
    for unit, speed in (("steps/s", snapshot.steps_per_second), ("tokens/s", snapshot.tokens_per_second)):
        parts.append(("", f"{'-' if speed is None else format_rate(speed)} {unit}"))
    figures: Line = []
    for name, value in parts:
        figures += [(f"{'  ' if figures else ''}{name}", "dim"), (value, "")]
    if not has_keys:
        return [clip_line(figures, width)]
    hints = _hints(is_paused=is_paused)
    if width < _ONE_LINE_FROM:
        return [clip_line(figures, width), clip_line(hints, width)]
    needed = sum(cell_len(text) for text, _ in hints)
    figures = clip_line(figures, width - needed - 2)
    used = sum(cell_len(text) for text, _ in figures)
    return [[*figures, (" " * (width - used - needed), ""), *hints]]


def _hints(*, is_paused: bool) -> Line:
    """Return the keys, each with its meaning."""
    hints: Line = [("paused", "bold reverse"), ("  ", "")] if is_paused else []
    for key, meaning in _KEY_HINTS:
        if key == "space" and is_paused:
            meaning = "go on"
        hints += [(key, "bold"), (f" {meaning}{'' if key == 'q' else '  '}", "dim")]
    return hints
