"""Trace files read into an engine as requests, or reported if they cannot be replayed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from heapq import nsmallest
from itertools import islice
from typing import TYPE_CHECKING

from tracesim.cluster.making import make_engine
from tracesim.config import EngineArgs
from tracesim.engine.llm_engine import LLMEngine
from tracesim.errors import TraceProblem
from tracesim.responses.simulator import TraceSimulator
from tracesim.tokenizers.loading import LazyTokenizer
from tracesim.trace.batches import next_batch
from tracesim.trace.problems import ENDS_OF_FILES
from tracesim.trace.reader import read_trace
from tracesim.trace.record import TraceRecord
from tracesim_cli.commands.replay_notes import RecordCounts, notes_on
from tracesim_cli.commands.replay_options import InputOptions
from tracesim_cli.terminal.exit_codes import ExitCode, fail, print_message
from tracesim_cli.terminal.status import with_status
from tracesim_cli.terminal.text import counted
from tracesim_cli.views.problem_text import ProblemList, notes_on_warnings

if TYPE_CHECKING:
    from tracesim.cluster.cluster import Cluster


def load_engine(
    args: EngineArgs, traces: Sequence[str], inputs: InputOptions, *, quiet: bool = False
) -> LLMEngine | Cluster:
    """Return an engine with these settings, or several, with every request of the traces in it.

    Raises ConfigError before a trace is read. An invalid trace ends the command, and notes on what is not
    replayed as the trace has it are printed on standard error, unless `quiet`.
    """
    simulator = TraceSimulator([], LazyTokenizer(args.tokenizer), eos_step=args.eos_step)
    engine = make_engine(args, simulator)
    loader = TraceLoader(engine, skip_invalid=inputs.skip_invalid, quiet=quiet)
    loader.load(traces, inputs.limit, inputs.trace_format)
    if not quiet:
        for note in notes_on(
            loader.counts,
            engine.intake.process,
            has_clock=args.clock != "steps",
            has_random_router=args.replicas > 1 and args.router == "random",
        ):
            print_message(note)
    return engine


class TraceLoader:
    """Reads a trace into an engine, batch by batch, and collects its problems.

    Texts are dropped as soon as they are tokenized: a trace may be larger than the memory.
    """

    def __init__(self, engine: LLMEngine | Cluster, *, skip_invalid: bool, quiet: bool = False) -> None:
        """With `quiet` the progress and everything but errors that end the command are not shown."""
        self._engine = engine
        self._skip_invalid = skip_invalid
        self._quiet = quiet
        self._warnings = ProblemList()
        self._errors = ProblemList()
        self._invalid_lines: set[tuple[str, int | None]] = set()
        self._num_read = 0
        self.counts = RecordCounts()

    def load(self, paths: Sequence[str], limit: int | None, trace_format: str | None = None) -> None:
        """Add every request of the trace, or of its first `limit` valid records: of several files, in time.

        Without `skip_invalid` any error ends the command before the first step, with the errors on standard
        error; with it, they are reported and their records skipped.
        """
        valid = self._valid_records(read_items(paths, trace_format, quiet=self._quiet))
        records = first_records(valid, limit, num_files=len(paths))
        ahead = self._next_batch(records)
        while batch := ahead:
            ahead = self._next_batch(records)  # it is tokenized while this one is added
            self._add(batch)
        self._refuse_errors()
        if self._quiet:
            return
        for note in self._notes_on_problems():
            print_message(note)
        if limit is not None and self._num_read < limit:
            print_message(f"--limit is {limit:,}; the trace has {counted(self._num_read, 'valid record')}")

    def _valid_records(self, items: Iterable[TraceRecord | TraceProblem]) -> Iterator[TraceRecord]:
        for item in items:
            if not isinstance(item, TraceProblem):
                self._num_read += 1
                yield item
            elif item.severity == "error":
                self._add_error(item)
            else:
                self._warnings.add(item)

    def _next_batch(self, records: Iterator[TraceRecord]) -> list[TraceRecord]:
        """Read the next batch and begin to tokenize it; once the trace is invalid only its errors matter."""
        while batch := next_batch(records):
            if self._skip_invalid or self._errors.by_code.keys() <= {"cannot-run"}:
                self._engine.simulator.tokenize_ahead(batch)
                return batch
        return []

    def _add(self, batch: list[TraceRecord]) -> None:
        """Add a batch of records to the engine, and count those about which the user is informed."""
        for record, error in self._engine.add_records(batch):
            self._add_error(TraceProblem("cannot-run", "error", record.file, record.line, None, str(error)))
        for record in batch:
            progress = self._engine.requests.get(record.id)
            self.counts.add(record, progress.response if progress else None)

    def _add_error(self, error: TraceProblem) -> None:
        self._errors.add(error)
        if error.code not in ENDS_OF_FILES:  # the records before them are valid
            self._invalid_lines.add((error.file, error.line))

    def _refuse_errors(self) -> None:
        """End the command if there are errors that cannot be skipped, or are not to be."""
        errors = self._errors
        if not errors.num_errors:
            return
        if errors.exit_code is ExitCode.USAGE:
            result = "nothing was replayed"
        elif self._skip_invalid and self._engine.requests:
            return
        elif self._skip_invalid:
            result = "nothing was replayed: no valid record is left"
        elif errors.by_code.keys() == {"cannot-run"}:
            found = f"{errors.num_errors:,} of {counted(self._num_read, 'record')} can never run"
            result = f"nothing was replayed: {found}; raise the limit, or skip them with --skip-invalid"
        else:
            result = "nothing was replayed; fix the trace, or skip invalid records with --skip-invalid"
        fail(*errors.lines(), result, code=errors.exit_code)

    def _notes_on_problems(self) -> Iterator[str]:
        """Yield what is not replayed, and the trace's warnings."""
        if self._errors.num_errors:
            yield from self._errors.lines()
        if skipped := len(self._invalid_lines):
            total = counted(skipped + len(self._engine.requests), "record")
            yield f"skipped {skipped:,} invalid of {total}"
        yield from notes_on_warnings(self._warnings)


def read_items(
    paths: Sequence[str], trace_format: str | None, *, quiet: bool
) -> Iterable[TraceRecord | TraceProblem]:
    """Return the records and the problems of traces as they are read, with the progress unless `quiet`."""
    items = read_trace(paths, trace_format=trace_format)
    if quiet:
        return items
    return with_status(items, f"reading {paths[0]}" if len(paths) == 1 else f"reading {len(paths)} files")


def first_records(
    records: Iterable[TraceRecord], limit: int | None, *, num_files: int
) -> Iterator[TraceRecord]:
    """Return the first `limit` records: of several files, those that arrive first."""
    if limit is None or num_files == 1:
        return islice(records, limit)
    return iter(nsmallest(limit, records, key=_arrival_in_trace))


def _arrival_in_trace(record: TraceRecord) -> tuple[float, int]:
    """Return when a request arrived by its trace: a time, or else a step."""
    return record.arrival_time or 0.0, record.arrival_step or 0
