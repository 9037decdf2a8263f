"""`tracesim inspect`: what is in a trace."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from typing import Annotated, Any, Literal

import orjson
import typer

from tracesim.analysis.trace_statistics import LengthStats, TraceStats
from tracesim.errors import TraceProblem
from tracesim.tokenizers.loading import LazyTokenizer
from tracesim.trace.reader import TraceReader, read_with
from tracesim.trace.record import TraceRecord
from tracesim_cli.commands.arguments import TokenizerName, TraceFormat, Traces
from tracesim_cli.terminal.display import choose_display
from tracesim_cli.terminal.exit_codes import ExitCode, fail, with_exit_codes
from tracesim_cli.terminal.status import with_status
from tracesim_cli.views.inspect_view import COLUMNS, Inspected, print_inspected
from tracesim_cli.views.problem_text import format_problem

INSPECT_SCHEMA = "tracesim.inspect/1"
RATE_BUCKETS = 60
"""Parts of the time that the JSON document tells the arrival rate of."""

_BATCH = 1024
_MOST_SHOWN = 10

EPILOG = """\
Example:
tracesim inspect trace.jsonl

Exit codes:
0  all records are valid
1  some are not
2  wrong usage"""


@with_exit_codes
def inspect(
    traces: Traces,
    trace_format: TraceFormat = None,
    tokenizer: TokenizerName = "embedded",
    output_format: Annotated[
        Literal["text", "json"], typer.Option("--format", help="How to write the figures.")
    ] = "text",
) -> None:
    """Show what is in traces, as one: records, lengths, arrivals and shared prefixes.

    Invalid records are left out and told. Exit code 0: all are valid; 1: some are not; 2: wrong usage.
    """
    reader = TraceReader(trace_format)
    stats = TraceStats(LazyTokenizer(tokenizer))
    problems = _Problems()
    records = problems.pass_over(with_status(read_with(reader, traces), "reading"))
    while batch := list(islice(records, _BATCH)):
        stats.add(batch)
    inspected = Inspected(reader.formats, stats, problems.counts, tokenizer)
    if stats.records:
        _write(inspected, output_format)
    if problems.shown:
        sys.stdout.flush()
        fail("\n".join(problems.shown), ExitCode.INVALID_TRACE)


def format_json(inspected: Inspected) -> bytes:
    """The figures as one JSON document, `INSPECT_SCHEMA`, with a newline at its end."""
    stats = inspected.stats
    prefixes, arrivals = stats.prefixes, stats.arrivals
    document: dict[str, Any] = {
        "schema": INSPECT_SCHEMA,
        "files": [{"file": file, "format": name} for file, name in inspected.formats.items()],
        "records": stats.records,
        "kinds": stats.kinds,
        "errors": inspected.problems["error"],
        "warnings": inspected.problems["warning"],
        "tokenizer": inspected.tokenizer if stats.has_tokenized else None,
        "prompt_tokens": _lengths(stats.prompt_tokens),
        "output_tokens": _lengths(stats.output_tokens),
        "arrivals": None,
        "prefixes": {**asdict(prefixes), "found_fraction": round(prefixes.found_fraction, 4)},
    }
    if arrivals:
        document["arrivals"] = {
            "unit": arrivals.unit,
            "count": arrivals.count,
            "first": arrivals.first,
            "last": arrivals.last,
            "rates": [round(rate, 6) for rate in arrivals.rates(RATE_BUCKETS)],
        }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


class _Problems:
    """How many there were of each severity, and the first errors."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._first: list[str] = []

    @property
    def shown(self) -> list[str]:
        """The first errors, and how many more there are."""
        more = self.counts["error"] - len(self._first)
        return (
            [*self._first, f"... and {more:,} more; tracesim validate shows them all"]
            if more
            else self._first
        )

    def pass_over(self, items: Any) -> Iterator[TraceRecord]:
        """The records between the problems."""
        for item in items:
            if not isinstance(item, TraceProblem):
                yield item
                continue
            self.counts[item.severity] += 1
            if item.severity == "error" and len(self._first) < _MOST_SHOWN:
                self._first.append(format_problem(item))


def _write(inspected: Inspected, output_format: str) -> None:
    if output_format == "json":
        sys.stdout.buffer.write(format_json(inspected))
    else:
        print_inspected(sys.stdout, choose_display(os.environ, sys.stdout), inspected)


def _lengths(lengths: LengthStats) -> dict[str, Any]:
    return {
        "total": lengths.total,
        "mean": round(lengths.mean, 2),
        **{name: round(lengths.percentile(percent), 2) for name, percent in COLUMNS.items()},
        "histogram": [{"from": low, "to": high, "count": count} for low, high, count in lengths.histogram()],
    }
