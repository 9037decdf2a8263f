"""`tracesim inspect`: what a trace contains."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Annotated, Literal

import typer

from tracesim.analysis.trace_statistics import TraceStatistics
from tracesim.errors import TraceProblem
from tracesim.tokenizers.loading import LazyTokenizer
from tracesim.trace.batches import next_batch
from tracesim.trace.reader import TraceReader, read_with
from tracesim.trace.record import TraceRecord
from tracesim_cli.commands.arguments import TokenizerName, TraceFormat, Traces
from tracesim_cli.terminal.display import choose_display
from tracesim_cli.terminal.exit_codes import fail, with_exit_codes
from tracesim_cli.terminal.json_output import stdout_for_json
from tracesim_cli.terminal.status import with_status
from tracesim_cli.terminal.streams import ignoring_closed_pipe
from tracesim_cli.views.inspect_document import format_json
from tracesim_cli.views.inspect_view import Inspected, print_inspected
from tracesim_cli.views.problem_text import ProblemList

EPILOG = """\
Example:
tracesim inspect trace.jsonl

Exit codes:
0  all records are valid
1  some records are invalid
2  wrong usage, or a file cannot be read"""


@with_exit_codes
def inspect(
    traces: Traces,
    trace_format: TraceFormat = None,
    tokenizer: TokenizerName = "embedded",
    output_format: Annotated[
        Literal["text", "json"], typer.Option("--format", help="How to write the figures.")
    ] = "text",
) -> None:
    """Show what is in traces: records, sessions, lengths, arrivals and shared prefixes.

    Invalid records are skipped and reported.
    """
    reader = TraceReader(trace_format)
    stats = TraceStatistics(LazyTokenizer(tokenizer))
    problems = ProblemList()
    errors = ProblemList()

    def valid_records() -> Iterator[TraceRecord]:
        for item in with_status(read_with(reader, traces), "reading"):
            if isinstance(item, TraceProblem):
                problems.add(item)
                if item.severity == "error":
                    errors.add(item)
            else:
                yield item

    records = valid_records()
    while batch := next_batch(records):
        stats.add(batch)
    inspected = Inspected(reader.formats, stats, problems.by_severity, tokenizer)
    with ignoring_closed_pipe():  # the verdict is the exit code in any case
        if stats.records and output_format == "json":
            stdout_for_json()(format_json(inspected))
        elif stats.records:
            print_inspected(sys.stdout, choose_display(os.environ, sys.stdout), inspected)
    if errors.num_errors:
        fail(*errors.lines(), code=errors.exit_code)
