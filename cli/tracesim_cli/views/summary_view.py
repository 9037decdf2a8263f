"""The summary of a run: its figures and, if there are few requests, the text of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import TextIO

from rich.cells import cell_len

from tracesim.analysis.figure_text import format_milliseconds
from tracesim.analysis.metrics import Latency, Metrics
from tracesim.analysis.queueing import CAUSE_LABELS
from tracesim.analysis.report import BatchSizes, RequestReport, Summary
from tracesim_cli.terminal.display import Display
from tracesim_cli.terminal.lines import Fragment, clip_line, plain_text, print_lines
from tracesim_cli.terminal.safe_text import visible
from tracesim_cli.terminal.text import clip, counted, label, quoted
from tracesim_cli.views.request_colors import request_style
from tracesim_cli.views.request_items import REASON_STYLES, format_reason
from tracesim_cli.views.run_view import wrap

MAX_TEXTS = 12
"""With more requests than this, a summary does not show their texts."""

_MAX_REPLICAS = 16

Line = list[Fragment]
Rows = Sequence[tuple[str, Sequence[str]]]


def format_summary(
    summary: Summary,
    elapsed: float | None = None,
    requests: Sequence[RequestReport] = (),
    metrics: Metrics | None = None,
    run: Rows = (),
    *,
    width: int = 100,
) -> list[Line]:
    """Return what was run, its figures and, of at most 12 `requests`, the texts; no line exceeds `width`.

    `elapsed` is the duration of the run in seconds, for its speed; without it equal runs have equal lines.
    `metrics` exist under a clock only. `run` has titles, each with the words of its value, as
    `RunSettings.rows` returns them.
    """
    figures = [*_figures(summary, elapsed)]
    if metrics:
        figures += [*_throughput(metrics), *_latencies(metrics)]
    title_width = max(len(title) for title, _ in figures) + 2
    for title, words in reversed(run):
        first, *others = wrap(words, width - title_width)
        figures[:0] = [(title, [(first, "")]), *(("", [(line, "")]) for line in others)]
    lines = [clip_line([(title.ljust(title_width), "dim"), *value], width) for title, value in figures]
    if 0 < len(requests) <= MAX_TEXTS:
        lines += [[], *format_texts(requests, width=width)]
    return lines


def format_texts(requests: Sequence[RequestReport], *, width: int = 100) -> list[Line]:
    """Return a line per request: its id, why it finished, and its text, or its length if it has no text."""
    ids, endings = [], []
    for request in requests:
        ids.append(clip(label(request.id), width // 4))
        reason = request.finish_reason
        ending = "unfinished" if reason is None else format_reason(reason, request.stop_reason)
        endings.append(clip(ending, width // 3))
    id_width = max(map(cell_len, ids), default=0) + 2
    ending_width = max(map(cell_len, endings), default=0) + 2
    lines = []
    for request, shown, ending in zip(requests, ids, endings, strict=True):
        num_tokens = counted(request.output_tokens, "token")
        line = [
            (shown + " " * (id_width - cell_len(shown)), request_style(request.id)),
            (ending + " " * (ending_width - cell_len(ending)), _reason_style(request.finish_reason)),
            (num_tokens, "dim") if request.text is None else (quoted(request.text), ""),
        ]
        lines.append(clip_line(line, width))
    return lines


def summary_rows(summary: Summary, metrics: Metrics | None = None) -> list[tuple[str, str]]:
    """Return the figures of a run, except its latencies, as plain text: a title and a value each."""
    figures = [*_figures(summary, None), *(_throughput(metrics) if metrics else ())]
    return [(title, plain_text(value)) for title, value in figures]


def print_summary(
    stream: TextIO,
    display: Display,
    summary: Summary,
    elapsed: float | None = None,
    requests: Sequence[RequestReport] = (),
    metrics: Metrics | None = None,
    run: Rows = (),
) -> None:
    """Print what `format_summary` returns, in colour or as plain text, as `display` wants it."""
    lines = format_summary(summary, elapsed, requests, metrics, run, width=display.width)
    print_lines(stream, display, lines)


def _figures(summary: Summary, elapsed: float | None) -> Iterator[tuple[str, Line]]:
    """Yield the figures of a run, each with its title: requests, steps, tokens, batches and the KV cache."""
    requests: Line = [(f"{summary.requests:,}", "")]
    for count, ending, style in _endings(summary):
        requests += [(": " if len(requests) == 1 else ", ", ""), (f"{count:,} {visible(ending)}", style)]
    yield "requests", requests
    if summary.sessions:
        yield "sessions", [(f"{summary.sessions:,}", "")]
    steps = f"{summary.steps:,}"
    if summary.steps:
        steps += f": {summary.prefill_steps:,} with prefill, {summary.decode_steps:,} with decode"
    yield "steps", [(steps, "")]
    yield "tokens", [(f"{summary.prompt_tokens:,} prompt, {summary.output_tokens:,} output", "")]
    yield "prefill batch", [(_batch_sizes(summary.prefill_batch), "")]
    yield "decode batch", [(_batch_sizes(summary.decode_batch), "")]
    yield "preemptions", [(f"{summary.preemptions:,}", "red" if summary.preemptions else "")]
    yield from _queue(summary)
    if summary.discarded_tokens is not None:
        yield "discarded", [(counted(summary.discarded_tokens, "token"), "")]
    if summary.peak_kv_cache_usage is not None:
        yield "peak KV cache usage", [(f"{summary.peak_kv_cache_usage:.1%}", "")]
    if summary.cached_tokens is not None:
        tokens = counted(summary.cached_tokens, "prompt token")
        rate = summary.prefix_cache_hit_rate or 0
        yield "prefix cache hits", [(f"{tokens}, {rate:.1%}", "")]
        if summary.cached_session_tokens is not None:
            within = rate * summary.cached_session_tokens / max(1, summary.cached_tokens)
            text = f"{within:.1%} within sessions, {rate - within:.1%} across"
            yield "where cached", [(text, "")]
    yield from _replicas(summary)
    if elapsed:
        yield "speed", [(f"{summary.steps / elapsed:,.0f} steps/s ({elapsed:,.3f} s)", "")]


def _endings(summary: Summary) -> Iterator[tuple[int, str, str]]:
    """Yield how many requests ended in which way, with its style."""
    for reason, count in summary.finished.items():
        yield count, reason, _reason_style(reason)
    if summary.rejected:
        yield summary.rejected, "rejected: can never run", _reason_style("rejected")
    if summary.unsent:
        reason = "unsent: one that they wait for did not finish"
        yield summary.unsent, reason, _reason_style("unsent")
    if summary.unfinished:
        yield summary.unfinished, "unfinished", "bold"


def _replicas(summary: Summary) -> Iterator[tuple[str, Line]]:
    """Yield the load of each replica, and how uneven the load is."""
    if summary.imbalance is not None:
        yield "replicas", [(f"{len(summary.replicas)}: imbalance {summary.imbalance:.1%}", "")]
    for number, each in enumerate(summary.replicas[:_MAX_REPLICAS]):
        tokens = f"{each.prompt_tokens:,} prompt and {each.output_tokens:,} output tokens"
        text = f"{counted(each.requests, 'request')}, {tokens}"
        if each.prefix_cache_hit_rate is not None:
            text += f", {each.prefix_cache_hit_rate:.1%} hits"
        if each.preemptions:
            text += f", {counted(each.preemptions, 'preemption')}"
        yield f"replica {number}", [(text, "")]
    if (more := len(summary.replicas) - _MAX_REPLICAS) > 0:
        yield "", [(f"and {counted(more, 'more replica')}", "dim")]


def _queue(summary: Summary) -> Iterator[tuple[str, Line]]:
    """Yield what kept requests waiting, from 1 % of the queue time on, and whether the run was overloaded."""
    if total := sum(summary.queue_time_by_cause.values()):
        shares = [
            f"{100 * part / total:.0f} % {CAUSE_LABELS[cause]}"
            for cause, part in summary.queue_time_by_cause.items()
            if part >= total / 100
        ]
        yield "queue time", [(", ".join(shares), "")]
    if summary.overloaded:
        yield "overload", [("the queue only grew while requests arrived", "red")]


def _throughput(metrics: Metrics) -> Iterator[tuple[str, Line]]:
    """Yield the figures of a run under a clock, except its latencies, each with its title."""
    yield "virtual time", [(f"{metrics.duration:,.3f} s", "")]
    yield "request throughput", [(f"{metrics.request_throughput:,.2f} requests/s", "")]
    output_tokens = f"{metrics.output_token_throughput:,.1f} output tokens/s"
    total_tokens = f"{metrics.total_token_throughput:,.1f} total tokens/s"
    yield "token throughput", [(f"{output_tokens}, {total_tokens}", "")]
    yield "mean concurrency", [(f"{metrics.mean_batch:,.1f} requests", "")]
    if metrics.goodput is not None:
        yield "goodput", [(f"{metrics.goodput:,.2f} requests/s", "")]
    if metrics.slo_attainment is not None:
        missed = sorted((metrics.slo_missed or {}).items(), key=lambda each: -each[1])
        counts = ", ".join(f"{name} missed by {count:,}" for name, count in missed if count)
        attainment = f"{metrics.slo_attainment:.1%} of requests"
        yield "SLO attainment", [(f"{attainment}; {counts}" if counts else attainment, "")]


def _latencies(metrics: Metrics) -> Iterator[tuple[str, Line]]:
    """Yield the latencies of a run in milliseconds, under a line of column titles."""
    columns = [field.name for field in fields(Latency)]
    yield "latency (ms)", [("".join(f" {name:>10}" for name in columns), "dim")]
    for title, latency in (
        ("queue time", metrics.queue_time),
        ("TTFT", metrics.ttft),
        ("TPOT", metrics.tpot),
        ("ITL", metrics.itl),
        ("E2E", metrics.e2e),
    ):
        if latency is not None:
            values = [format_milliseconds(getattr(latency, name)) for name in columns]
            yield title, [("".join(f" {value:>10}" for value in values), "")]


def _batch_sizes(batch: BatchSizes) -> str:
    return f"mean {batch.mean:,.1f}, max {batch.max:,}"


def _reason_style(finish_reason: str | None) -> str:
    """Return the style of a finish reason; None is a request that has not finished."""
    return "dim" if finish_reason is None else REASON_STYLES.get(finish_reason, "")
