"""Trace files read into an engine as requests, or reported if they cannot be replayed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from tracesim.engine.llm_engine import LLMEngine
from tracesim.errors import TraceProblem
from tracesim.responses.sampling_params import SamplingParams
from tracesim.trace.reader import read_trace
from tracesim.trace.record import TraceRecord
from tracesim_cli.terminal.exit_codes import ExitCode, fail, print_message
from tracesim_cli.terminal.status import with_status
from tracesim_cli.terminal.text import counted
from tracesim_cli.views.problem_text import ProblemList

_NOT_REPORTED = frozenset({"duplicate-prompt", "bom", "no-final-newline", "failed-request", "no-request"})
"""Warnings that do not change what is replayed, or are counted in a note instead."""

_BATCH_RECORDS = 1024
"""Records that are tokenized together."""


class TraceLoader:
    """Reads a trace into an engine, batch by batch, and collects its problems.

    Texts are dropped as soon as they are tokenized: a trace may be larger than the memory.
    """

    def __init__(
        self, engine: LLMEngine, params: SamplingParams, *, skip_invalid: bool, ignores_times: bool = False
    ) -> None:
        """With `ignores_times` the user is informed that this run ignores the trace's arrival times."""
        self._engine = engine
        self._params = params
        self._skip_invalid = skip_invalid
        self._ignores_times = ignores_times
        self._warnings = ProblemList()
        self._errors = ProblemList()
        self._invalid_lines: set[tuple[str, int | None]] = set()
        self._num_read = 0
        self._num_timed = 0
        self._num_in_sessions = 0
        self._num_without_text = 0
        self._num_not_spelled = 0

    def load(self, paths: Sequence[str], limit: int | None, trace_format: str | None = None) -> None:
        """Add every request of the trace, or of its first `limit` valid records.

        Without `skip_invalid` any error ends the command before the first step, with the errors on standard
        error; with it, they are reported and their records skipped.
        """
        reading = f"reading {paths[0]}" if len(paths) == 1 else f"reading {len(paths)} files"
        items = with_status(read_trace(paths, trace_format=trace_format), reading)
        records = islice(self._valid_records(items), limit)
        ahead = self._next_batch(records)
        while batch := ahead:
            ahead = self._next_batch(records)  # it is tokenized while this one is added
            self._add(batch)
        self._refuse_errors()
        self._print_skipped()
        self._print_changed()
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
        while batch := list(islice(records, _BATCH_RECORDS)):
            if self._skip_invalid or self._errors.by_code.keys() <= {"cannot-run"}:
                self._engine.simulator.tokenize_ahead(batch)
                return batch
        return []

    def _add(self, batch: list[TraceRecord]) -> None:
        """Add a batch of records to the engine, and count those about which the user is informed."""
        for record, error in self._engine.add_records(batch, self._params):
            self._add_error(TraceProblem("cannot-run", "error", record.file, record.line, None, str(error)))
        for record in batch:
            self._num_timed += bool(record.arrival_time)
            self._num_in_sessions += (record.session_id, record.after, record.delay) != (None, None, None)
            if record.response is not None and record.id in self._engine.requests:
                response = self._engine.requests[record.id].response
                self._num_without_text += not response.has_text
                self._num_not_spelled += response.has_text and not response.is_spelled

    def _add_error(self, error: TraceProblem) -> None:
        self._errors.add(error)
        if error.code != "truncated-file":  # the records before the damage are valid
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
        fail("\n".join([*errors.lines(), result]), errors.exit_code)

    def _print_skipped(self) -> None:
        """Inform the user of what is not replayed, and of the trace's warnings."""
        if self._errors.num_errors:
            print_message("\n".join(self._errors.lines()))
        if skipped := len(self._invalid_lines):
            total = counted(skipped + len(self._engine.requests), "record")
            print_message(f"skipped {skipped:,} invalid of {total}")
        reported = ProblemList()
        for problem in self._warnings.kept:
            if problem.code not in _NOT_REPORTED:
                reported.add(problem)
        print_message("\n".join(reported.lines()))
        if failed := self._warnings.by_code["failed-request"]:
            print_message(f"skipped {counted(failed, 'request')} that failed when recorded")
        if unanswered := self._warnings.by_code["no-request"]:
            print_message(f"skipped {counted(unanswered, 'conversation')} without an answer to replay")

    def _print_changed(self) -> None:
        """Inform the user of what is not replayed as the trace has it."""
        if self._ignores_times and self._num_timed:
            print_message(
                f"arrival times of {counted(self._num_timed, 'record')} are ignored, as there is no --clock: "
                "all requests arrive at step 0"
            )
        if self._num_in_sessions:
            records = counted(self._num_in_sessions, "record")
            print_message(
                f"session_id, after and delay of {records} are ignored: each request arrives by itself"
            )
        if self._num_without_text:
            print_message(
                f"{counted(self._num_without_text, 'record')} replayed without text: response_token_ids do "
                "not spell the response; name the tokenizer that made them with --tokenizer"
            )
        if self._num_not_spelled:
            is_are = "is" if self._num_not_spelled == 1 else "are"
            print_message(
                f"{counted(self._num_not_spelled, 'record')} {is_are} not spelled back by this tokenizer: "
                "the recorded text is shown, and stop strings are found in it"
            )
