"""`tracesim convert`: traces of any format as one of the project's own."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO, cast

import typer

from tracesim.errors import ConfigError, TraceProblem
from tracesim.trace.problems import NO_RECORDS
from tracesim.trace.reader import read_trace
from tracesim.trace.writer import record_to_json
from tracesim_cli.commands.arguments import SkipInvalid, TraceFormat, Traces, named
from tracesim_cli.terminal.exit_codes import ExitCode, fail, with_exit_codes
from tracesim_cli.terminal.output_files import atomic_writer
from tracesim_cli.terminal.safe_text import visible
from tracesim_cli.terminal.status import with_status
from tracesim_cli.terminal.text import counted
from tracesim_cli.views.problem_text import format_problem

MOST_SHOWN = 10
"""How many problems are shown; `tracesim validate` shows them all."""

EPILOG = """\
Example:
tracesim convert mooncake_trace.jsonl trace.jsonl.gz

Exit codes:
0  the trace is written
1  the input is invalid
2  wrong usage"""


@with_exit_codes
def convert(
    traces: Traces,
    out: Annotated[
        str,
        typer.Argument(
            metavar="OUT",
            help="The file to write, packed if .gz or .zst; - is standard output.",
            callback=named,
        ),
    ],
    trace_format: TraceFormat = None,
    skip_invalid: SkipInvalid = False,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Write traces of any format as one trace in tracesim's own: JSONL, one request a line.

    The file is written whole or not at all. Exit code 0: done; 1: the trace is invalid; 2: wrong usage.
    """
    if out != "-" and Path(out).is_file() and not force:
        raise ConfigError(f"{out} is there already; name another file, or write over it with --force")
    items = with_status(read_trace(traces, trace_format=trace_format), "converting")
    written, problems = 0, _Problems()
    with _opened(out) as file:
        for item in items:
            if isinstance(item, TraceProblem):
                problems.add(item)
            else:
                file.write(record_to_json(item))
                written += 1
        problems.settle(written, out, skip_invalid=skip_invalid)
    if out != "-":
        typer.echo(f"{visible(out)}: {counted(written, 'record')}")


class _Problems:
    """What was met on the way."""

    def __init__(self) -> None:
        self._shown: list[str] = []
        self._errors = 0
        self._is_final = False
        self._failed = 0

    def add(self, problem: TraceProblem) -> None:
        """Keep an error while there is room, and count requests that failed."""
        self._failed += problem.code == "failed-request"
        if problem.severity == "error":
            self._errors += 1
            self._is_final |= problem.code in NO_RECORDS
            if len(self._shown) < MOST_SHOWN:
                self._shown.append(format_problem(problem))

    def settle(self, written: int, out: str, *, skip_invalid: bool) -> None:
        """End the command where the errors forbid to write, or say what was left out."""
        if self._is_final or (self._errors and not (skip_invalid and written)):
            fail("\n".join([*self._shown, *self._advice(out, skip_invalid)]), ExitCode.INVALID_TRACE)
        if self._errors:
            _note(
                f"{counted(self._errors, 'error')}, left out with their records; the first: {self._shown[0]}"
            )
        if self._failed:
            _note(f"left out {counted(self._failed, 'request')} that failed when recorded")

    def _advice(self, out: str, skip_invalid: bool) -> Iterator[str]:
        if self._errors > len(self._shown):
            yield f"... and {self._errors - len(self._shown):,} more; tracesim validate shows them all"
        lost = "what was written is not whole" if out == "-" else "nothing was written"
        if self._is_final:
            yield lost
        elif skip_invalid:
            yield f"{lost}: no valid record is left"
        else:
            yield f"{lost}; mend the trace, or leave invalid records out with --skip-invalid"


@contextmanager
def _opened(out: str) -> Iterator[BinaryIO]:
    """The file to write to, which packs what its name says; nothing is left where the block fails."""
    if out == "-":
        yield sys.stdout.buffer
        return
    with atomic_writer(out) as file:
        if out.endswith(".gz"):
            with gzip.GzipFile("", "wb", 6, file, mtime=0) as packed:
                yield cast("BinaryIO", packed)
        elif out.endswith(".zst"):
            with _zstd(file) as packed:
                yield packed
        else:
            yield file


def _zstd(file: BinaryIO) -> BinaryIO:
    try:
        import zstandard
    except ImportError:
        raise ConfigError("zstd needs one more package: pip install 'tracesim[zst]'") from None
    return cast("BinaryIO", zstandard.ZstdCompressor().stream_writer(file, closefd=False))


def _note(message: str) -> None:
    print(f"tracesim: {message}", file=sys.stderr)  # noqa: T201
