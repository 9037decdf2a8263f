"""Trace files read: paths in, `TraceRecord`s and `TraceProblem`s out, in the order of the trace."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import chain

import orjson

from tracesim.errors import TraceError, TraceProblem
from tracesim.limits import MAX_ERRORS_IN_A_ROW, MAX_LINE_BYTES
from tracesim.trace.formats import OWN, FormatName, check_format, make_format
from tracesim.trace.formats.detection import detect_format, foreign_field
from tracesim.trace.formats.interface import Entry, TraceFormat, no_records
from tracesim.trace.formats.json_objects import is_document
from tracesim.trace.ids import RecordIds
from tracesim.trace.input_file import InputFile
from tracesim.trace.json_object import (
    BLANKS,
    LIGHT_BYTES,
    may_repeat_keys,
    not_an_object,
    read_invalid,
    repeated_keys,
    too_many_values,
)
from tracesim.trace.places import Places
from tracesim.trace.problems import WARNINGS, Finding, describe, problem
from tracesim.trace.record import TraceRecord
from tracesim.trace.schema import LENGTHS, LIMITS, Fields, Shape, seconds_of_finer_unit, whole_number
from tracesim.trace.sessions import AfterLinks

_MAX_SHAPES = 1024
_MAX_SHAPE_NAMES = 4096
_DELAYED = frozenset({"delay", "session_id", "input_length"})
_LONG_DELAYS = range(100, 10**9)  # 0.1 s to 11 days in milliseconds
_MILLISECONDS = Finding(
    "time-unit",
    "delay",
    "is read as seconds; a trace of Mooncake has milliseconds, and is read with --trace-format mooncake",
)

# What `_make` does, without a Python call for each line: a trace may repeat a prompt in every line.
_new_record = partial(tuple.__new__, TraceRecord)
_new_problem = partial(tuple.__new__, TraceProblem)

Items = Sequence[TraceRecord | TraceProblem]


def read_trace(
    paths: Sequence[str | os.PathLike[str]],
    *,
    trace_format: str | None = None,
    max_line_bytes: int = MAX_LINE_BYTES,
) -> Iterator[TraceRecord | TraceProblem]:
    """Read one trace from one or more files, compressed or not; `-` is standard input.

    `trace_format` names the format of all files; without it the format of each is detected from its content.

    Ids are unique over all files; a record without one is called r1, r2, ... by its position among all
    records. An invalid record is not yielded, but each of its errors is; a warning comes before its record.
    Nothing is raised for what a file is or contains, and no file is held in memory, unless its format needs
    all of it. Raises ConfigError for an unknown format.
    """
    return read_with(TraceReader(trace_format, max_line_bytes), paths)


def read_with(
    reader: TraceReader, paths: Sequence[str | os.PathLike[str]]
) -> Iterator[TraceRecord | TraceProblem]:
    """Read one trace as `read_trace` does, with a reader that the caller keeps and can ask for `formats`."""
    return chain(chain.from_iterable(map(reader.read, paths)), reader.finish())


def read_records(
    paths: Sequence[str | os.PathLike[str]], *, trace_format: str | None = None
) -> list[TraceRecord]:
    """Return all records of one trace; warnings are ignored. Raises TraceError with every error there is."""
    items = list(read_trace(paths, trace_format=trace_format))
    problems = [item for item in items if isinstance(item, TraceProblem) and item.severity == "error"]
    if problems:
        raise TraceError(problems)
    return [item for item in items if isinstance(item, TraceRecord)]


class TraceReader:
    """Reads the files of one trace in turn, and remembers what has to be unique over all of them.

    With `one_trace` false each file is a trace of its own, except for the files of a format that needs
    several. `formats` has the format of each file that was opened. Raises ConfigError for an unknown
    `trace_format`.
    """

    def __init__(
        self,
        trace_format: str | None = None,
        max_line_bytes: int = MAX_LINE_BYTES,
        *,
        one_trace: bool = True,
    ) -> None:
        self.formats: dict[str, FormatName] = {}
        self._chosen_format = None if trace_format is None else check_format(trace_format)
        self._max_line_bytes = max_line_bytes
        self._format_readers: dict[FormatName, TraceFormat] = {}
        self._one_trace = one_trace
        self._builder = RecordBuilder()

    def read(self, path: str | os.PathLike[str]) -> Iterator[TraceRecord | TraceProblem]:
        """Yield the records of a file and its problems, as far as they do not depend on later files."""
        with InputFile(path, self._max_line_bytes) as file:
            if file.failure:
                yield file.failure
                return
            name = self._chosen_format or detect_format(file)
            if isinstance(name, TraceProblem):
                yield name
                return
            self.formats[file.name] = name
            continued = self._format_readers.get(name)
            if not self._one_trace and not (continued and continued.waits_for_all):
                yield from self.finish()
                self._format_readers.clear()
                self._builder = RecordBuilder()
            self._builder.open_file(file.name)
            is_jsonl = name == OWN and not is_document(file.head)
            try:
                yield from self._read_own(file) if is_jsonl else self._read_format(file, name)
            except _TooManyErrorsError:
                yield _too_many_errors(file.name, file.line_number)

    def finish(self) -> Iterator[TraceRecord | TraceProblem]:
        """Yield, after the last file, the records that depended on it, and problems between records."""
        builder = self._builder
        for reader in self._format_readers.values():
            builder.field_names = reader.field_names
            try:
                for item in reader.finish():
                    yield from (item,) if isinstance(item, TraceProblem) else builder.build_entry(item)
            except _TooManyErrorsError:
                yield _too_many_errors(builder.places.file, builder.places.line)
        yield from builder.finish()

    def _read_own(self, file: InputFile) -> Iterator[TraceRecord | TraceProblem]:
        """Read a file of tracesim's own JSONL."""
        builder = self._builder
        places, build = builder.places, builder.build
        records, failed = len(builder.ids.has_default), False
        for line in file.lines():
            if isinstance(line, TraceProblem):
                failed |= line.severity == "error"
                yield builder.pass_on(line)
                continue
            places.line = file.line_number
            if len(line) > LIGHT_BYTES and (heavy := too_many_values(line.decode("latin-1"))):
                yield builder.skip(heavy)
                continue
            try:
                fields = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                if stripped := line.strip(BLANKS):
                    yield from builder.build_invalid(stripped, error)
                continue
            if type(fields) is not dict:
                yield builder.skip(not_an_object(fields))
            elif may_repeat_keys(line, fields) and (findings := repeated_keys(line)):
                yield from builder.reject(fields, findings)
            else:
                yield from build(fields)
        if len(builder.ids.has_default) == records and not failed:
            yield no_records(file)

    def _read_format(self, file: InputFile, name: FormatName) -> Iterator[TraceRecord | TraceProblem]:
        """Read a file of another format through its reader."""
        builder = self._builder
        reader = self._format_readers.get(name) or self._format_readers.setdefault(name, make_format(name))
        builder.field_names = reader.field_names
        num_kept, num_skipped, is_empty = reader.num_kept, 0, True
        for entry in reader.read(file):
            items = (
                [builder.pass_on(entry)] if isinstance(entry, TraceProblem) else builder.build_entry(entry)
            )
            num_skipped += isinstance(entry, Entry) and entry.fields is None
            for item in items:
                is_empty &= isinstance(item, TraceProblem) and item.severity != "error"
                yield item
        builder.places.line = max(builder.places.line, file.line_number)
        if is_empty and reader.num_kept == num_kept:
            yield no_records(file, num_skipped)


class _TooManyErrorsError(Exception):
    """A file has nothing but errors for a long time."""


def _too_many_errors(file: str, line: int) -> TraceProblem:
    message = f"there are {MAX_ERRORS_IN_A_ROW:,} errors in a row up to here; the rest is not read"
    return problem("too-many-errors", file, line, None, message)


class RecordBuilder:
    """Makes a `TraceRecord`, or problems, of the fields of each record in turn.

    `field_names` has what the format of the current file calls a field of a record, where that differs.
    """

    def __init__(self) -> None:
        self.places = Places()
        self.ids = RecordIds(self.places)
        self.field_names: Mapping[str, str] = {}
        self._shapes: dict[tuple[str, ...], Shape] = {}
        self._reported_names: set[str] = set()
        self._seen_shapes: set[Shape] = set()
        self._prompt_places: dict[int, int] = {}  # by a hash of the prompt, the first place of each
        self._after = AfterLinks()
        self._num_errors_in_a_row = 0
        self._num_records_at_error = 0

    def open_file(self, name: str) -> None:
        """Go to the start of a file."""
        self.places.open_file(name)
        self._num_errors_in_a_row = 0
        self.field_names = {}
        self._reported_names.clear()
        self._seen_shapes.clear()

    def build(self, fields: Fields) -> Items:
        """Return the record that these fields make, after its warnings, or else its errors."""
        shape = self._shapes.get(tuple(fields)) or self._add_shape(tuple(fields))
        return self._accept(fields, shape) if shape.accepts(fields) else self.reject(fields, [])

    def build_entry(self, entry: Entry) -> Items:
        """Return what becomes of an entry of a format: the same as of a line with its fields."""
        self.places.move_to(entry.file, entry.line)
        warnings = [self._problem(finding) for finding in entry.findings if finding.code in WARNINGS]
        errors = [finding for finding in entry.findings if finding.code not in WARNINGS]
        if entry.fields is None:
            self.ids.skip()
            return [*warnings, *map(self._problem, errors)]
        items = self.reject(entry.fields, errors) if errors else self.build(entry.fields)
        return [*warnings, *items] if warnings else items

    def build_invalid(self, line: bytes, refusal: orjson.JSONDecodeError) -> Items:
        """Return what becomes of a line that orjson refused: a record after all, or its problems."""
        value, findings = read_invalid(line, refusal)
        if isinstance(value, dict):
            return self.reject(value, findings)
        if not findings:
            return [self.skip(not_an_object(value))]
        self.ids.skip()
        return [*map(self._problem, findings)]

    def reject(self, fields: Fields, findings: list[Finding]) -> Items:
        """Return everything that is wrong with a record, `findings` first.

        A field that is null counts as absent; a record that is then without fault is accepted after all.
        """
        fields = {name: value for name, value in fields.items() if value is not None}
        shape = self._shapes.get(tuple(fields)) or self._add_shape(tuple(fields))
        warnings = self._read_numbers(fields)
        findings = [*findings, *shape.faults(fields)]
        if not findings:
            return [*warnings, *self._accept(fields, shape)]
        _, taken = self.ids.claim(fields.get("id"))
        return [
            *warnings,
            *self._name_warnings(shape),
            *map(self._problem, [*findings, *([taken] if taken else [])]),
        ]

    def skip(self, finding: Finding) -> TraceProblem:
        """Count a record of which nothing can be read, and return its problem."""
        self.ids.skip()
        return self._problem(finding)

    def pass_on(self, found: TraceProblem) -> TraceProblem:
        """Return a problem of the file itself; a line that is too long counts as a record."""
        if found.code == "line-too-long":
            self.places.line += 1
            self.ids.skip()
        if found.severity == "error":
            self._count_error()
        return found

    def finish(self) -> Iterator[TraceProblem]:
        """Yield, after the last record, the problems that only the whole trace shows."""
        yield from self._after.problems(self.ids, self.field_names.get("after", "after"))

    def _accept(self, fields: Fields, shape: Shape) -> Items:
        """Return the record that valid fields make, after its warnings; an id that is taken is an error."""
        places = self.places
        items: list[TraceRecord | TraceProblem] = []
        if shape.unknown and shape not in self._seen_shapes:
            items = self._name_warnings(shape)
        record_id, taken = self.ids.claim(fields.get("id"))
        if taken:
            return [*items, self._problem(taken)]
        for name in shape.lists:
            value = fields[name]
            fields[name] = (value,) if type(value) is str else tuple(value)
        if _DELAYED.issubset(fields) and self._may_be_milliseconds(fields):
            items.append(self._problem(_MILLISECONDS))
        for name in shape.seconds:
            fields[name] = float(fields[name])
        if shape.prompt is not None:
            place = places.lines_before + places.line
            first = self._prompt_places.setdefault(hash(fields[shape.prompt]), place)
            if first != place:
                message = (
                    f"is the same as in {places.describe(first)}; no error, if both were meant to be replayed"
                )
                field = self.field_names.get(shape.prompt, shape.prompt)
                items.append(
                    _new_problem(("duplicate-prompt", "warning", places.file, places.line, field, message))
                )
        record = _new_record(shape.in_order(record_id, places.file, places.line, fields))
        if record.after or record.session_id is not None:
            self._after.add(record, self.ids)
        items.append(record)
        return items

    def _add_shape(self, names: tuple[str, ...]) -> Shape:
        """Return the shape of these names, and remember it unless there are too many."""
        shape = Shape(names)
        if len(self._shapes) < _MAX_SHAPES and sum(map(len, names)) < _MAX_SHAPE_NAMES:
            self._shapes[names] = shape
        return shape

    def _name_warnings(self, shape: Shape) -> list[TraceRecord | TraceProblem]:
        """Return a warning for each name, new in this file, that is a likely typo or of another format."""
        if len(self._seen_shapes) < _MAX_SHAPES:
            self._seen_shapes.add(shape)
        typos = {name: known for name, known in shape.likely_typos if name not in self._reported_names}
        foreign = [
            finding
            for name in shape.unknown
            if name not in self._reported_names and (finding := foreign_field(name, shape.names))
        ]
        self._reported_names.update(typos, [str(finding.field) for finding in foreign])
        message = "is not a field of a trace and is ignored; was {} meant?"
        findings = [Finding("likely-typo", name, message.format(known)) for name, known in typos.items()]
        return [*map(self._problem, [*findings, *foreign])]

    def _read_numbers(self, fields: Fields) -> list[TraceRecord | TraceProblem]:
        """Make numbers of tokens such as 18.0 or "18" integers, and Unix times in other units seconds.

        Return a warning for each field that is new in this file.
        """
        found = []
        for name in (*LENGTHS, *LIMITS):
            number = whole_number(fields.get(name))
            if number is not None:
                message = f"is {describe(fields[name])}; must be an integer, and is read as {number}"
                found.append(Finding("decimal-length", name, message))
                fields[name] = number
        seconds = seconds_of_finer_unit(fields.get("arrival_time"))
        if seconds is not None:
            message = f"is too great for seconds, and is read as Unix time in a finer unit: {seconds!r} s"
            found.append(Finding("time-unit", "arrival_time", message))
            fields["arrival_time"] = seconds
        new = [finding for finding in found if finding.field not in self._reported_names]
        self._reported_names.update([str(finding.field) for finding in new])
        return [*map(self._problem, new)]

    def _may_be_milliseconds(self, fields: Fields) -> bool:
        """Whether the first delay of a file looks like those of Mooncake, and other formats have floats."""
        if "delay" in self._reported_names:
            return False
        self._reported_names.add("delay")
        is_long = type(fields["delay"]) is int and fields["delay"] in _LONG_DELAYS
        return is_long and "arrival_time" not in fields

    def _problem(self, finding: Finding) -> TraceProblem:
        """Return a finding as a problem of the current line, with the field's name in the file."""
        if finding.code not in WARNINGS:
            self._count_error()
        field = finding.field and self.field_names.get(finding.field, finding.field)
        return problem(finding.code, self.places.file, self.places.line, field, finding.message)

    def _count_error(self) -> None:
        """Count an error. Raises _TooManyErrorsError if there are too many without a valid record between."""
        num_records = len(self.ids.has_default)
        is_in_a_row = num_records - self._num_records_at_error <= 1
        self._num_errors_in_a_row = self._num_errors_in_a_row + 1 if is_in_a_row else 1
        self._num_records_at_error = num_records
        if self._num_errors_in_a_row > MAX_ERRORS_IN_A_ROW:
            raise _TooManyErrorsError
