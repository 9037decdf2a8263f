"""From trace files to an engine with every request in it, or to the problems that stand in the way."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from tracesim.config import EngineConfig
from tracesim.errors import RequestError, TraceProblem
from tracesim.llm_engine import LLMEngine
from tracesim.sampling import SamplingParams
from tracesim.simulator import TraceSimulator
from tracesim.tokenizer import load_tokenizer
from tracesim.trace import TraceRecord, read_trace
from tracesim_cli.exits import ExitCode, fail
from tracesim_cli.problem_text import format_problem

MOST_SHOWN = 10
"""How many problems a refused replay shows; `tracesim validate` shows them all."""

_NO_RECORDS = frozenset({"missing-file", "is-a-directory", "unreadable-file"})
"""Problems that leave nothing to go on with, so that `--skip-invalid` does not cover them."""


@dataclass(slots=True)
class Loaded:
    """The valid records of a trace, and the problems of all others."""

    records: list[TraceRecord] = field(default_factory=list)
    problems: list[TraceProblem] = field(default_factory=list)
    typos: list[TraceProblem] = field(default_factory=list)


def load_trace(paths: Sequence[str], limit: int | None) -> Loaded:
    """Read the trace, or as much of it as has its first `limit` valid records."""
    loaded = Loaded()
    if limit == 0:
        return loaded
    for item in read_trace(paths):
        if isinstance(item, TraceRecord):
            loaded.records.append(item)
            if len(loaded.records) == limit:
                break
        elif item.severity == "error":
            loaded.problems.append(item)
        elif item.code == "likely-typo":
            loaded.typos.append(item)
    return loaded


def load_engine(
    loaded: Loaded, config: EngineConfig, tokenizer: str, params: SamplingParams, *, skip_invalid: bool
) -> LLMEngine:
    """An engine to which every record has been added.

    Without `skip_invalid` any problem ends the command before the first step, with the first problems on
    standard error; with it, standard error says how many records were left out.
    """
    if not skip_invalid:
        _refuse(loaded.problems)
    needed = any(_needs_tokenizer(record) for record in loaded.records)
    engine = LLMEngine(config, TraceSimulator([], load_tokenizer(tokenizer) if needed else None))
    for record in loaded.records:
        try:
            engine.add_record(record, params)
        except RequestError as error:
            loaded.problems.append(
                TraceProblem("cannot-run", "error", record.file, record.line, None, str(error))
            )
    if not skip_invalid:
        _refuse(loaded.problems)
    _refuse([problem for problem in loaded.problems if problem.code in _NO_RECORDS])
    if not engine.requests:
        _refuse(loaded.problems)
    _note_what_was_left_out(loaded, engine)
    return engine


def _needs_tokenizer(record: TraceRecord) -> bool:
    return record.response is not None or (record.prompt is not None and record.prompt_token_ids is None)


def _refuse(problems: Sequence[TraceProblem]) -> None:
    if not problems:
        return
    shown = [format_problem(problem) for problem in problems[:MOST_SHOWN]]
    if len(problems) > MOST_SHOWN:
        shown.append(f"... and {len(problems) - MOST_SHOWN:,} more; tracesim validate shows them all")
    shown.append("nothing was replayed; mend the trace, or leave invalid records out with --skip-invalid")
    fail("\n".join(shown), ExitCode.INVALID_TRACE)


def _note_what_was_left_out(loaded: Loaded, engine: LLMEngine) -> None:
    for typo in loaded.typos[:MOST_SHOWN]:
        _note(format_problem(typo))
    if loaded.problems:
        lines = {(problem.file, problem.line) for problem in loaded.problems}
        first = format_problem(loaded.problems[0])
        left_out, total = len(lines), len(lines) + len(engine.requests)
        _note(f"left out {left_out:,} invalid of {total:,} records; the first: {first}")
    silent = sum(
        record.response is not None and not engine.simulator.cursor(record.id).has_text
        for record in loaded.records
        if record.id in engine.requests
    )
    if silent:
        _note(
            f"{silent:,} records carry response_token_ids that do not spell their response; replayed "
            "without text: name the tokenizer that made the ids with --tokenizer"
        )


def _note(message: str) -> None:
    print(f"tracesim: {message}", file=sys.stderr)  # noqa: T201
