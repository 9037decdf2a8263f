"""From trace files to an engine with every request in it, or to the problems that stand in the way."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from tracesim.engine.llm_engine import LLMEngine
from tracesim.errors import TraceProblem
from tracesim.responses.sampling_params import SamplingParams
from tracesim.trace.problems import NO_RECORDS
from tracesim.trace.reader import read_trace
from tracesim.trace.record import TraceRecord
from tracesim_cli.terminal.exit_codes import ExitCode, fail
from tracesim_cli.terminal.status import with_status
from tracesim_cli.terminal.text import counted
from tracesim_cli.views.problem_text import format_problem

MOST_SHOWN = 10
"""How many problems a refused replay shows; `tracesim validate` shows them all."""

_TOLD = frozenset({"likely-typo", "no-arrival-time", "other-choices"})
"""Warnings that a replay shows: what is replayed may not be what was meant."""

_BATCH = 1024
"""Records that are tokenized together."""


class _Batch(NamedTuple):
    """Records, and the problems that were met on the way to the last of them."""

    records: list[TraceRecord]
    problems: list[TraceProblem]


class Loader:
    """Reads a trace into an engine, batch by batch, and keeps the problems on the way.

    Texts are let go as soon as they are tokens: a trace may be larger than the memory.
    """

    def __init__(
        self, engine: LLMEngine, params: SamplingParams, *, skip_invalid: bool, notes_times: bool = False
    ) -> None:
        """With `notes_times` it is said if the trace has times, which mean nothing in this run."""
        self._engine = engine
        self._params = params
        self._skip_invalid = skip_invalid
        self._notes_times = notes_times
        self._num_timed = 0
        self._problems: list[TraceProblem] = []
        self._found: list[TraceProblem] = []  # since the last batch that was read
        self._told: list[TraceProblem] = []
        self._num_failed = 0
        self._num_silent = 0

    def load(self, paths: Sequence[str], limit: int | None, trace_format: str | None = None) -> None:
        """Add every request of the trace, or of its first `limit` valid records.

        Without `skip_invalid` any problem ends the command before the first step, with the first problems on
        standard error; with it, standard error says how many records were left out.
        """
        reading = f"reading {paths[0]}" if len(paths) == 1 else f"reading {len(paths)} files"
        records = self._valid_records(with_status(read_trace(paths, trace_format=trace_format), reading))
        batches = self._batches(islice(records, limit))
        ahead = next(batches, None)
        while batch := ahead:
            ahead = next(batches, None)  # it is tokenized while this one is added
            self._add(batch)
        self._problems += self._found
        if not self._skip_invalid:
            _refuse(self._problems)
        _refuse([problem for problem in self._problems if problem.code in NO_RECORDS])
        if not self._engine.requests:
            _refuse(self._problems, skipped=True)
        self._note_what_was_left_out()

    def _valid_records(self, items: Iterable[TraceRecord | TraceProblem]) -> Iterator[TraceRecord]:
        for item in items:
            if isinstance(item, TraceRecord):
                yield item
            elif item.severity == "error":
                self._found.append(item)
            elif item.code in _TOLD:
                self._told.append(item)
            elif item.code == "failed-request":
                self._num_failed += 1

    def _batches(self, records: Iterator[TraceRecord]) -> Iterator[_Batch]:
        """The records in batches, each of which is being tokenized from now on."""
        while batch := list(islice(records, _BATCH)):
            problems, self._found = self._found, []
            if not self._is_refused:
                self._engine.simulator.tokenize_ahead(batch)
            yield _Batch(batch, problems)

    @property
    def _is_refused(self) -> bool:
        """Whether the trace will not be replayed: what is left to find is problems."""
        return bool(self._problems) and not self._skip_invalid

    def _add(self, batch: _Batch) -> None:
        self._problems += batch.problems
        if self._is_refused:
            return
        refused = self._engine.add_records(batch.records, self._params)
        self._problems += [
            TraceProblem("cannot-run", "error", record.file, record.line, None, str(error))
            for record, error in refused
        ]
        if self._notes_times:
            self._num_timed += sum([bool(record.arrival_time) for record in batch.records])
        both = [r for r in batch.records if r.response_token_ids is not None and r.response is not None]
        added = [r for r in both if r.id in self._engine.requests]
        self._num_silent += sum(not self._engine.requests[r.id].response.has_text for r in added)

    def _note_what_was_left_out(self) -> None:
        of_files = [problem for problem in self._problems if _is_of_file(problem)]
        of_records = [problem for problem in self._problems if not _is_of_file(problem)]
        for problem in [*of_files, *self._told][:MOST_SHOWN]:
            _note(format_problem(problem))
        if of_records:
            left_out = len({(problem.file, problem.line) for problem in of_records})
            total = counted(left_out + len(self._engine.requests), "record")
            _note(f"left out {left_out:,} invalid of {total}; the first: {format_problem(of_records[0])}")
        if self._num_failed:
            _note(f"left out {counted(self._num_failed, 'request')} that failed when recorded")
        if self._num_timed:
            _note("without --clock, times mean nothing: all that have an arrival_time are there at once")
        if self._num_silent:
            _note(
                f"{counted(self._num_silent, 'record')} replayed without text: response_token_ids do not "
                "spell the response; name the tokenizer that made them with --tokenizer"
            )


def _refuse(problems: Sequence[TraceProblem], *, skipped: bool = False) -> None:
    """End the command if there are problems; what to do is said as far as it helps."""
    if not problems:
        return
    shown = [format_problem(problem) for problem in problems[:MOST_SHOWN]]
    if len(problems) > MOST_SHOWN:
        shown.append(f"... and {len(problems) - MOST_SHOWN:,} more; tracesim validate shows them all")
    if any(problem.code in NO_RECORDS for problem in problems):
        shown.append("nothing was replayed")
    elif skipped:
        shown.append("nothing was replayed: no valid record is left")
    else:
        shown.append("nothing was replayed; mend the trace, or leave invalid records out with --skip-invalid")
    fail("\n".join(shown), ExitCode.INVALID_TRACE)


def _is_of_file(problem: TraceProblem) -> bool:
    """Whether it is no single record that is at fault."""
    return problem.line is None or problem.code == "truncated-file"


def _note(message: str) -> None:
    print(f"tracesim: {message}", file=sys.stderr)  # noqa: T201
