"""From the lines of a trace, or the entries of a format, to records and problems."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any

import orjson

from tracesim.errors import TraceError, TraceProblem
from tracesim.trace.formats import OWN, FormatName, check_format, make_format, tell_format
from tracesim.trace.formats.interface import Entry, TraceFormat
from tracesim.trace.input_file import MAX_LINE_BYTES, TraceFile
from tracesim.trace.problems import WARNINGS, Finding, problem, quoted
from tracesim.trace.record import TraceRecord
from tracesim.trace.schema import CHECKS, Fields, Shape

_KNOWN = frozenset(CHECKS)
_BLANKS = b" \t\r\n"
_DEFAULT_ID = re.compile(r"r([1-9][0-9]{0,17})")
_MAX_SHAPES = 1024
_MAX_SHAPE_NAMES = 4096

# What `_make` does, without a Python frame for each line: a trace may repeat a prompt in all of them.
_new_record = partial(tuple.__new__, TraceRecord)
_new_problem = partial(tuple.__new__, TraceProblem)

Items = Iterator[TraceRecord | TraceProblem]


class TraceReader:
    """Reads the files of one trace, in turn, and remembers what is to be unique over them.

    `formats` tells the format of each file that was opened. Without a `trace_format` its content tells it.
    Raises ConfigError for a format that there is not.
    """

    def __init__(self, trace_format: str | None = None, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self.formats: dict[str, FormatName] = {}
        self._chosen = None if trace_format is None else check_format(trace_format)
        self._max_line_bytes = max_line_bytes
        self._readers: dict[FormatName, TraceFormat] = {}
        self._field_names: Mapping[str, str] = {}
        self._file = ""
        self._line = 0
        self._before = 0  # the lines of the files before this one: a place is one number over all files
        self._starts: list[tuple[int, str]] = []  # and for each file
        self._shapes: dict[tuple[str, ...], Shape] = {}
        self._typos_told: set[str] = set()
        self._ids: dict[str, int] = {}  # given ids, and the place of each
        self._unnamed = bytearray()  # for each record whether it goes by its default id
        self._prompts: dict[int, int] = {}  # a hash of each prompt, and its first place

    def read(self, path: str | os.PathLike[str]) -> Items:
        """The records of a file and what is wrong with it, as far as they do not wait for another file."""
        with TraceFile(path, self._max_line_bytes) as file:
            self._begin(file.name)
            if file.failure:
                yield file.failure
                return
            name = self.formats[file.name] = self._chosen or tell_format(file.head)
            yield from self._read_lines(file) if name == OWN else self._read_entries(file, name)

    def finish(self) -> Items:
        """After the last file: the records that had to wait."""
        for reader in self._readers.values():
            self._field_names = reader.field_names
            for item in reader.finish():
                yield from (item,) if isinstance(item, TraceProblem) else self._add(item)

    def _begin(self, file: str) -> None:
        self._before += self._line
        self._file, self._line = file, 0
        self._starts.append((self._before, file))
        self._typos_told.clear()
        self._field_names = {}

    def _read_lines(self, file: TraceFile) -> Items:
        records, failed = len(self._unnamed), False
        for line in file.lines():
            if isinstance(line, TraceProblem):
                failed |= line.severity == "error"
                yield self._passed_on(line)
                continue
            self._line += 1
            yield from self._read_line(line)
        if len(self._unnamed) == records and not failed:
            yield _no_records(self._file)

    def _read_entries(self, file: TraceFile, name: FormatName) -> Items:
        reader = self._readers.get(name) or self._readers.setdefault(name, make_format(name))
        self._field_names = reader.field_names
        is_empty = not reader.waits_for_all
        for entry in reader.read(file):
            items = (self._passed_on(entry),) if isinstance(entry, TraceProblem) else self._add(entry)
            for item in items:
                is_empty &= isinstance(item, TraceProblem) and item.severity != "error"
                yield item
        self._line = max(self._line, file.line_number)
        if is_empty:
            yield _no_records(self._file)

    def _add(self, entry: Entry) -> Sequence[TraceRecord | TraceProblem]:
        """What becomes of an entry: the same as of a line with these fields."""
        if entry.file != self._file:
            self._file = entry.file
            self._before = next(start for start, file in self._starts if file == entry.file)
        self._line = entry.line
        told = [self._problem(finding) for finding in entry.findings if finding.code in WARNINGS]
        faults = [finding for finding in entry.findings if finding.code not in WARNINGS]
        if entry.fields is None:
            self._unnamed.append(False)
            return [*told, *map(self._problem, faults)]
        read = self._faulty(entry.fields, faults) if faults else self._read_fields(entry.fields)
        return [*told, *read] if told else read

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
        return self._read_fields(fields)

    def _read_fields(self, fields: Fields) -> Sequence[TraceRecord | TraceProblem]:
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
        if shape.is_timed:
            fields["arrival_time"] = float(fields["arrival_time"])
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
        from tracesim.trace.lenient_json import look_again

        value, findings = look_again(line, error, _KNOWN)
        if isinstance(value, dict):
            return self._faulty(value, findings)
        if not findings:
            return self._not_an_object(value)
        self._unnamed.append(False)
        return [*map(self._problem, findings)]

    def _not_an_object(self, value: Any) -> Sequence[TraceProblem]:
        self._unnamed.append(False)
        from tracesim.trace.lenient_json import not_an_object

        return [self._problem(not_an_object(value))]

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
        named = self._field_names.get(field, field)
        return _new_problem(("duplicate-prompt", "warning", self._file, self._line, named, say))

    def _typos(self, shape: Shape) -> list[TraceRecord | TraceProblem]:
        """The likely typos that this file has not been told of."""
        new = [(name, meant) for name, meant in shape.likely_typos if name not in self._typos_told]
        self._typos_told.update(name for name, _ in new)
        say = "is not a field of a trace and is left alone; was {} meant?"
        return [self._problem(Finding("likely-typo", name, say.format(meant))) for name, meant in new]

    def _problem(self, finding: Finding) -> TraceProblem:
        field = finding.field and self._field_names.get(finding.field, finding.field)
        return problem(finding.code, self._file, self._line, field, finding.message)

    def _place(self) -> int:
        """The number of this line among those of all files."""
        return self._before + self._line

    def _where(self, place: int) -> str:
        if place > self._before:
            return f"line {place - self._before}"
        start, file = max(start for start in self._starts if start[0] < place)
        return f"line {place - start} of {file if file.isprintable() else quoted(file)}"


def _no_records(file: str) -> TraceProblem:
    return problem("empty-file", file, None, None, "has no records; a trace needs at least one")


def read_trace(
    paths: Sequence[str | os.PathLike[str]],
    *,
    trace_format: str | None = None,
    max_line_bytes: int = MAX_LINE_BYTES,
) -> Iterator[TraceRecord | TraceProblem]:
    """Read one trace from several files; `-` is standard input; gzip and zstd are unpacked.

    `trace_format` names the format of all files; without it each file's content tells its own.

    Ids are unique over all the files; a record without one is called r1, r2, ... by its position among all
    lines that are not blank. A record with an error is not yielded, all its errors are; a warning comes
    before its record. Nothing is raised for what a file is or holds, and no file is held in memory, unless a
    format needs the whole of it. Raises ConfigError for a format that there is not.
    """
    return read_with(TraceReader(trace_format, max_line_bytes), paths)


def read_with(
    reader: TraceReader, paths: Sequence[str | os.PathLike[str]]
) -> Iterator[TraceRecord | TraceProblem]:
    """The same with a reader of one's own, which tells afterwards what it found."""
    return chain(chain.from_iterable(map(reader.read, paths)), reader.finish())


def read_records(
    paths: Sequence[str | os.PathLike[str]], *, trace_format: str | None = None
) -> list[TraceRecord]:
    """All records of one trace; warnings are passed over. Raises TraceError, with every error there is."""
    items = list(read_trace(paths, trace_format=trace_format))
    problems = [item for item in items if isinstance(item, TraceProblem) and item.severity == "error"]
    if problems:
        raise TraceError(problems)
    return [item for item in items if isinstance(item, TraceRecord)]
