"""The only reader of trace files: JSONL in, `TraceRecord`s and `TraceProblem`s out, in order."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import orjson

from tracesim.errors import TraceError, TraceProblem
from tracesim.trace_fields import CHECKS, Fields, Shape
from tracesim.trace_files import MAX_LINE_BYTES, TraceLines
from tracesim.trace_problems import ERRORS, WARNINGS, Finding, described, problem, quoted

__all__ = ["ERRORS", "MAX_LINE_BYTES", "WARNINGS", "TraceRecord", "read_records", "read_trace"]

_KNOWN = frozenset(CHECKS)
_BLANKS = b" \t\r\n"
_DEFAULT_ID = re.compile(r"r([1-9][0-9]{0,17})")
_MAX_SHAPES = 1024
_MAX_SHAPE_NAMES = 4096


class TraceRecord(NamedTuple):
    """One recorded request. What the trace does not say is None, but `arrival_step` is 0.

    Prompt and response are each given as text, as token ids or as both; or both lengths stand for them.
    `hash_ids` has one id for each 512 prompt tokens. A named tuple, as it is made for every line of a trace.
    """

    id: str
    prompt: str | None
    response: str | None
    prompt_token_ids: Sequence[int] | None
    response_token_ids: Sequence[int] | None
    input_length: int | None
    output_length: int | None
    hash_ids: Sequence[int] | None
    max_tokens: int | None
    min_tokens: int | None
    stop: tuple[str, ...] | None
    priority: int | None
    arrival_step: int
    file: str
    line: int


# What `_make` does, without a Python frame for each line: a trace may repeat a prompt in all of them.
_new_record = partial(tuple.__new__, TraceRecord)
_new_problem = partial(tuple.__new__, TraceProblem)


def read_trace(
    paths: Sequence[str | os.PathLike[str]], *, max_line_bytes: int = MAX_LINE_BYTES
) -> Iterator[TraceRecord | TraceProblem]:
    """Read one trace from several files; `-` is standard input; gzip and zstd are unpacked.

    Ids are unique over all the files; a record without one is called r1, r2, ... by its position among all
    lines that are not blank. A record with an error is not yielded, all its errors are; a warning comes
    before its record. Nothing is raised for what a file is or holds, and no file is held in memory.
    """
    reader = _Reader()
    for path in paths:
        yield from reader.read(TraceLines(path, max_line_bytes))


def read_records(paths: Sequence[str | os.PathLike[str]]) -> list[TraceRecord]:
    """All records of one trace; warnings are passed over. Raises TraceError, with every error there is."""
    items = list(read_trace(paths))
    problems = [item for item in items if isinstance(item, TraceProblem) and item.severity == "error"]
    if problems:
        raise TraceError(problems)
    return [item for item in items if isinstance(item, TraceRecord)]


class _Reader:
    """What is remembered over the lines and files of one trace."""

    def __init__(self) -> None:
        self._file = ""
        self._line = 0
        self._before = 0  # the lines of the files before this one: a place is one number over all files
        self._starts: list[tuple[int, str]] = []  # and for each file
        self._shapes: dict[tuple[str, ...], Shape] = {}
        self._typos_told: set[str] = set()
        self._ids: dict[str, int] = {}  # given ids, and the place of each
        self._unnamed = bytearray()  # for each record whether it goes by its default id
        self._prompts: dict[int, int] = {}  # a hash of each prompt, and its first place

    def read(self, lines: TraceLines) -> Iterator[TraceRecord | TraceProblem]:
        self._before += self._line
        self._file, self._line = lines.name, 0
        self._starts.append((self._before, self._file))
        self._typos_told.clear()
        records, failed = len(self._unnamed), False
        for line in lines:
            if isinstance(line, TraceProblem):
                failed |= line.severity == "error"
                yield self._passed_on(line)
                continue
            self._line += 1
            yield from self._read_line(line)
        if len(self._unnamed) == records and not failed:
            yield problem("empty-file", self._file, None, None, "has no records; a trace needs at least one")

    def _passed_on(self, found: TraceProblem) -> TraceProblem:
        if found.code == "line-too-long":
            self._line += 1
            self._unnamed.append(False)
        return found

    def _read_line(self, line: bytes) -> Sequence[TraceRecord | TraceProblem]:
        try:
            fields = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            line = line.strip(_BLANKS)
            return self._refused(line, error) if line else ()
        if type(fields) is not dict:
            return self._not_an_object(fields)
        shape = self._shapes.get(tuple(fields)) or self._new_shape(tuple(fields))
        if not shape.accepts(fields):
            return self._faulty(fields, [])
        return self._accepted(fields, shape)

    def _accepted(self, fields: Fields, shape: Shape) -> Sequence[TraceRecord | TraceProblem]:
        items: list[TraceRecord | TraceProblem] = self._typos(shape) if shape.likely_typos else []
        record_id, clash = self._claim_id(fields)
        if clash:
            return [*items, self._problem(clash)]
        for name in shape.sequences:
            value = fields[name]
            fields[name] = (value,) if type(value) is str else tuple(value)
        if shape.prompt is not None:
            place = self._before + self._line
            first = self._prompts.setdefault(hash(fields[shape.prompt]), place)
            if first != place:
                items.append(self._repeated_prompt(shape.prompt, first))
        items.append(_new_record(shape.in_order(record_id, self._file, self._line, fields)))
        return items

    def _faulty(self, fields: Fields, findings: list[Finding]) -> Sequence[TraceRecord | TraceProblem]:
        """The careful way: null is as good as absent, and everything wrong is told."""
        fields = {name: value for name, value in fields.items() if value is not None}
        shape = self._shapes.get(tuple(fields)) or self._new_shape(tuple(fields))
        findings = [*findings, *shape.faults(fields)]
        if not findings:
            return self._accepted(fields, shape)
        _, clash = self._claim_id(fields)
        findings += [clash] if clash else []
        return [*self._typos(shape), *map(self._problem, findings)]

    def _refused(self, line: bytes, error: orjson.JSONDecodeError) -> Sequence[TraceRecord | TraceProblem]:
        from tracesim.trace_json import look_again

        value, findings = look_again(line, error, _KNOWN)
        if isinstance(value, dict):
            return self._faulty(value, findings)
        if not findings:
            return self._not_an_object(value)
        self._unnamed.append(False)
        return [*map(self._problem, findings)]

    def _not_an_object(self, value: Any) -> Sequence[TraceProblem]:
        self._unnamed.append(False)
        say = f"is {described(value)}; each line must be one JSON object"
        return [self._problem(Finding("not-an-object", None, say))]

    def _new_shape(self, names: tuple[str, ...]) -> Shape:
        shape = Shape(names)
        if len(self._shapes) < _MAX_SHAPES and sum(map(len, names)) < _MAX_SHAPE_NAMES:
            self._shapes[names] = shape
        return shape

    def _claim_id(self, fields: Fields) -> tuple[str, Finding | None]:
        """The record's id, and what is wrong if it is taken."""
        given = fields.get("id")
        self._unnamed.append(given is None)
        if given is None:
            record_id = f"r{len(self._unnamed)}"
            first = self._ids.get(record_id) if self._ids else None
            if first is None:
                return record_id, None
            say = f"is missing, and {self._where(first)} has the default {record_id}; give each record an id"
            return record_id, Finding("duplicate-id", "id", say)
        place = self._place()
        first = self._ids.setdefault(given, place) if type(given) is str else place
        if first != place:
            say = f"{quoted(given)} is already the id of {self._where(first)}; ids must be unique"
            return given, Finding("duplicate-id", "id", say)
        return given, self._clash_with_default(given)

    def _clash_with_default(self, given: Any) -> Finding | None:
        match = _DEFAULT_ID.fullmatch(given) if type(given) is str else None
        if match and int(match[1]) < len(self._unnamed) and self._unnamed[int(match[1]) - 1]:
            say = f"{given} is already the default id of record {match[1]}; give every record an id"
            return Finding("duplicate-id", "id", say)
        return None

    def _repeated_prompt(self, field: str, first: int) -> TraceProblem:
        say = f"is the same as in {self._where(first)}; no error, if both were meant to be replayed"
        return _new_problem(("duplicate-prompt", "warning", self._file, self._line, field, say))

    def _typos(self, shape: Shape) -> list[TraceRecord | TraceProblem]:
        """The likely typos that this file has not been told of."""
        new = [(name, meant) for name, meant in shape.likely_typos if name not in self._typos_told]
        self._typos_told.update(name for name, _ in new)
        say = "is not a field of a trace and is left alone; was {} meant?"
        return [self._problem(Finding("likely-typo", name, say.format(meant))) for name, meant in new]

    def _problem(self, finding: Finding) -> TraceProblem:
        return problem(finding.code, self._file, self._line, finding.field, finding.message)

    def _place(self) -> int:
        """The number of this line among those of all files."""
        return self._before + self._line

    def _where(self, place: int) -> str:
        if place > self._before:
            return f"line {place - self._before}"
        start, file = max(start for start in self._starts if start[0] < place)
        return f"line {place - start} of {file if file.isprintable() else quoted(file)}"
