"""`tracesim convert`: traces of any format written as one trace in tracesim's own."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from tracesim.errors import ConfigError, TraceProblem, needs_package
from tracesim.trace.formats import FormatName
from tracesim.trace.reader import read_trace
from tracesim.trace.writer import record_to_json
from tracesim_cli.commands.arguments import Force, SkipInvalid, TraceFormat, named
from tracesim_cli.terminal.exit_codes import ExitCode, fail, print_message, with_exit_codes
from tracesim_cli.terminal.json_output import stdout_for_json
from tracesim_cli.terminal.output_files import atomic_writer, refuse_existing
from tracesim_cli.terminal.safe_text import visible
from tracesim_cli.terminal.status import with_status
from tracesim_cli.terminal.text import counted
from tracesim_cli.views.problem_text import ProblemList, notes_on_warnings

_NOT_WRITTEN = (".bz2", ".xz", ".lzma", ".zip", ".7z", ".lz4", ".br")
"""The ends of names of compressed files that cannot be written."""

EPILOG = """\
Example:
tracesim convert mooncake_trace.jsonl trace.jsonl.gz

Exit codes:
0  the trace is written
1  the input is invalid
2  wrong usage, or a file cannot be read"""


def _check_paths(paths: Any) -> list[str]:  # Python 3.10: Typer takes no callback of a `list[str]`
    if len(paths) == 1:
        raise typer.BadParameter(f"is missing; name the file to write after {paths[0]}", param_hint="OUT")
    if paths[-1].lower().endswith(_NOT_WRITTEN):
        message = f"is {visible(paths[-1])}; only .gz and .zst can be written compressed"
        raise typer.BadParameter(message, param_hint="OUT")
    return [named(path) for path in paths]


@with_exit_codes
def convert(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="TRACE... OUT",
            help="Trace files of any format, then the file to write; .gz and .zst compress, - is a stream.",
            callback=_check_paths,
        ),
    ],
    trace_format: TraceFormat = None,
    skip_invalid: SkipInvalid = False,
    force: Force = False,
) -> None:
    """Write traces of any format as one trace in tracesim's own: JSONL, one request per line.

    OUT is written whole or not at all.
    """
    *traces, out = paths
    if out != "-":
        refuse_existing(out, "OUT", force=force)
    num_written = _convert(traces, trace_format, out, skip_invalid=skip_invalid)
    if out != "-":
        typer.echo(f"{visible(out)}: {counted(num_written, 'record')}")


def _convert(traces: Sequence[str], trace_format: FormatName | None, out: str, *, skip_invalid: bool) -> int:
    """Write the records of `traces` to `out` and return how many; ends the command if they are invalid."""
    num_written, errors, warnings = 0, ProblemList(), ProblemList()
    with _opened(out) as write:
        for item in with_status(read_trace(traces, trace_format=trace_format), "converting"):
            if not isinstance(item, TraceProblem):
                write(record_to_json(item))
                num_written += 1
            else:
                (errors if item.severity == "error" else warnings).add(item)
        can_skip = skip_invalid and errors.exit_code is ExitCode.INVALID_TRACE
        if errors.num_errors and not (can_skip and num_written):
            result = "the output is incomplete" if out == "-" else "nothing was written"
            if can_skip:
                result += ": no valid record is left"
            elif errors.exit_code is ExitCode.INVALID_TRACE:
                result += "; fix the trace, or skip invalid records with --skip-invalid"
            fail(*errors.lines(), result, code=errors.exit_code)
    if errors.num_errors:
        print_message(*errors.lines(), "skipped the records that have these errors")
    for note in notes_on_warnings(warnings):
        print_message(note)
    return num_written


@contextmanager
def _opened(out: str) -> Iterator[Callable[[bytes], object]]:
    """Open the file to write to, compressed if its name says so; nothing is left of it if the block fails.

    Yields the function that writes. Raises ConfigError if the package for the compression is missing.
    """
    if out == "-":
        yield stdout_for_json()
        return
    with atomic_writer(out) as file:
        if out.endswith(".gz"):
            with gzip.GzipFile("", "wb", 6, file, mtime=0) as compressed:
                yield compressed.write
        elif out.endswith(".zst"):
            try:
                import zstandard
            except ImportError:
                raise ConfigError(needs_package("zstd", "zstandard")) from None
            with zstandard.ZstdCompressor().stream_writer(file, closefd=False) as compressed_zst:
                yield compressed_zst.write
        else:
            yield file.write
