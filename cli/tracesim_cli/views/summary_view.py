"""The end of a run in a few lines: its figures, and for a small trace what each request said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TextIO

from rich.cells import cell_len

from tracesim.analysis.metrics import Metrics
from tracesim.analysis.report import BatchSizes, RequestReport, Summary
from tracesim_cli.terminal.display import Display
from tracesim_cli.terminal.lines import Fragment, plain_text, print_lines
from tracesim_cli.terminal.safe_text import visible
from tracesim_cli.terminal.text import clip, label, quoted
from tracesim_cli.views.step_table import REASON_STYLES, reason

MAX_TEXTS = 12
"""With more requests than this, a summary does not show their texts."""

Line = list[Fragment]


def format_summary(
    summary: Summary,
    elapsed: float | None = None,
    requests: Sequence[RequestReport] = (),
    metrics: Metrics | None = None,
    *,
    width: int = 100,
) -> list[Line]:
    """Return the figures of a run and, of at most 12 `requests`, the texts; no line is wider than `width`.

    `elapsed` is the run's time in seconds; without it no speed is given. `metrics` are there under a clock.
    """
    figures = [*_figures(summary, elapsed), *(format_metrics(metrics) if metrics else ())]
    lines = [_cut([(f"{title:<15}", "dim"), *value], width) for title, value in figures]
    if 0 < len(requests) <= MAX_TEXTS:
        lines += [[], *format_texts(requests, width=width)]
    return lines


def format_texts(requests: Sequence[RequestReport], *, width: int = 100) -> list[Line]:
    """Return a line a request: its id, why it finished, and its text in visible escapes."""
    ids = [clip(label(request.id), width // 4) for request in requests]
    endings = [clip(_ending(request), width // 3) for request in requests]
    id_width = max(map(cell_len, ids), default=0)
    ending_width = max(map(cell_len, endings), default=0)
    return [
        _cut(
            [
                (_padded(shown, id_width), ""),
                (_padded(ending, ending_width), REASON_STYLES.get(request.finish_reason or "", "dim")),
                _said(request),
            ],
            width,
        )
        for request, shown, ending in zip(requests, ids, endings, strict=True)
    ]


def summary_rows(summary: Summary, metrics: Metrics | None = None) -> list[tuple[str, str]]:
    """Return the figures of a run as plain text, each with its title; its latencies are not among them."""
    figures = [*_figures(summary, None), *(_throughput(metrics) if metrics else ())]
    return [(title, plain_text(value)) for title, value in figures]


def print_summary(
    stream: TextIO,
    display: Display,
    summary: Summary,
    elapsed: float | None = None,
    requests: Sequence[RequestReport] = (),
    metrics: Metrics | None = None,
) -> None:
    """Print what `format_summary` returns: in colour on a live display, else as plain text."""
    lines = format_summary(summary, elapsed, requests, metrics, width=display.width)
    print_lines(stream, display, lines)


def _figures(summary: Summary, elapsed: float | None) -> Iterator[tuple[str, Line]]:
    yield "requests", _request_figures(summary)
    steps = f"{summary.steps:,}"
    if summary.steps:
        steps += f": {summary.prefill_steps:,} with prefill, {summary.decode_steps:,} with decode"
    yield "steps", [(steps, "")]
    yield "tokens", [(f"{summary.prompt_tokens:,} prompt, {summary.output_tokens:,} output", "")]
    yield "prefill batch", [(_sizes(summary.prefill_batch), "")]
    yield "decode batch", [(_sizes(summary.decode_batch), "")]
    yield "preemptions", [(f"{summary.preemptions:,}", "red" if summary.preemptions else "")]
    if summary.peak_kv_cache_usage is not None:
        yield "KV cache", [(f"at most {summary.peak_kv_cache_usage:.1%} of the blocks held", "")]
    if summary.cached_tokens is not None:
        rate = f"{summary.prefix_cache_hit_rate or 0:.1%}"
        yield "prefix cache", [(f"{summary.cached_tokens:,} prompt tokens cached: {rate}", "")]
    if elapsed:
        yield "speed", [(f"{summary.steps / elapsed:,.0f} steps/s ({elapsed:,.3f} s)", "")]


def format_metrics(metrics: Metrics) -> Iterator[tuple[str, Line]]:
    """Yield the figures of a run under a clock, each with its title."""
    yield from _throughput(metrics)
    yield "seconds", [("".join(f"{head:>11}" for head in ("mean", "p50", "p90", "p99")), "dim")]
    for title, latency in (
        ("queue time", metrics.queue_time),
        ("TTFT", metrics.ttft),
        ("TPOT", metrics.tpot),
        ("ITL", metrics.itl),
        ("E2E", metrics.e2e),
    ):
        if latency is not None:
            values = (latency.mean, latency.p50, latency.p90, latency.p99)
            yield title, [("".join(f"{value:>11,.4f}" for value in values), "")]


def _throughput(metrics: Metrics) -> Iterator[tuple[str, Line]]:
    yield "virtual time", [(f"{metrics.duration:,.3f} s", "")]
    yield (
        "throughput",
        [
            (f"{metrics.request_throughput:,.2f} requests/s, ", ""),
            (f"{metrics.output_token_throughput:,.1f} output tokens/s, ", ""),
            (f"{metrics.total_token_throughput:,.1f} tokens/s in all", ""),
        ],
    )
    yield "batch in time", [(f"mean {metrics.mean_batch:,.1f} requests", "")]
    if metrics.goodput is not None:
        yield "goodput", [(f"{metrics.goodput:,.2f} requests/s", "")]


def _request_figures(summary: Summary) -> Line:
    """`3: 2 stop, 1 length`, each reason in its colour."""
    counts = [(count, visible(why), REASON_STYLES.get(why, "")) for why, count in summary.finished.items()]
    if summary.unfinished:
        counts.append((summary.unfinished, "unfinished", "bold"))
    line: Line = [(f"{summary.requests:,}", "")]
    for count, why, style in counts:
        line += [(": " if len(line) == 1 else ", ", ""), (f"{count:,} {why}", style)]
    return line


def _sizes(batch: BatchSizes) -> str:
    return f"mean {batch.mean:,.1f}, max {batch.max:,}"


def _ending(request: RequestReport) -> str:
    if request.finish_reason is None:
        return "unfinished"
    return reason(request.finish_reason, request.stop_reason)


def _said(request: RequestReport) -> Fragment:
    """The text, or how many tokens it was when there is none to show."""
    if request.text is None:
        return f"{request.output_tokens:,} tokens", "dim"
    return quoted(request.text), ""


def _padded(text: str, width: int) -> str:
    return text + " " * (width - cell_len(text) + 2)


def _cut(line: Line, width: int) -> Line:
    """Return a line cut to `width` cells, with an ellipsis where it goes on."""
    shown: Line = []
    for text, style in line:
        if width <= 0:
            break
        piece = clip(text, width)
        shown.append((piece, style))
        width -= cell_len(piece)
    return shown
