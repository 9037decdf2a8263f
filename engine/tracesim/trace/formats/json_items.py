"""The items of a JSON array, or JSON values one after another, without holding the whole of a file."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator, Set
from typing import Any

from tracesim.errors import TraceProblem
from tracesim.limits import MAX_ITEM_BYTES, MAX_LINE_BYTES
from tracesim.trace.input_file import InputFile
from tracesim.trace.json_object import (
    LIGHT_BYTES,
    REPEATED,
    parse_integer,
    read_invalid,
    read_object,
    read_value,
    too_many_values,
)
from tracesim.trace.problems import Finding, problem

Item = tuple[dict[str, Any] | None, list[Finding]]

_BLANK = re.compile(r"[ \t\r\n]*")
_FIRST_BITE = 1 << 16
_OBJECT = "it must be a JSON object, or an array of them"
_ITEM_LINES = MAX_ITEM_BYTES // MAX_LINE_BYTES
"""The limit of an item in longest lines."""
_NO_MARKS = re.compile(r'[^"\[\]{}]*')
_STRING_MARK = re.compile(r'["\\]')
_DECODER = json.JSONDecoder(parse_int=parse_integer)


def json_items(file: InputFile, wanted: Set[str] = frozenset()) -> Iterator[Item | TraceProblem]:
    """Yield each object of a JSON array, or of JSON values one after another, and what is wrong with it.

    Nothing is read after a broken item, because where the next one would begin is unknown. Of an object that
    is over the limit of an item only the `wanted` members are kept; if there are none, it is a broken item.
    """
    text = _Text(file)
    number = 1
    for item in _items(text, wanted):
        yield from text.problems()
        if not isinstance(item, Finding):
            number += 1
            yield item
        elif text.failure is None:
            yield problem(item.code, file.name, number, None, item.message)
    yield from text.problems()


def _items(text: _Text, wanted: Set[str]) -> Iterator[Item | Finding]:
    """Yield the items, and after the last what is wrong where they end."""
    is_array = text.take("[")
    is_first = True
    while not (text.take("]") if is_array else text.at_end()):
        if text.at_end():
            yield Finding(
                "invalid-json", None, "is missing: the array has no end; the file may have been cut off"
            )
            return
        if is_array and not is_first and not text.take(","):
            message = "is not separated by a comma from the item before it; nothing after it is read"
            yield Finding("invalid-json", None, message)
            return
        is_first = False
        found = text.value()
        if isinstance(found, str):
            yield read_object(found.encode("utf-8", "surrogateescape"))
            continue
        item = text.members(wanted) if wanted and found.code == "line-too-long" else found
        yield item
        if isinstance(item, Finding):
            return
    if not text.at_end():
        yield Finding("invalid-json", None, "is after the end of the array, and is not read")


class _Text:
    """The text of a file that was read and not taken yet; bytes that are not UTF-8 become surrogates."""

    def __init__(self, file: InputFile) -> None:
        self.failure: TraceProblem | None = None
        self._chunks = file.chunks()
        self._most = file.max_line_bytes * _ITEM_LINES
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._problems: list[TraceProblem] = []
        self._text = ""
        self._at = 0
        self._is_whole = False

    def problems(self) -> list[TraceProblem]:
        """Return the problems of the file that were found since the last call."""
        self.at_end()
        found, self._problems = self._problems, []
        return found

    def at_end(self) -> bool:
        """Skip blanks; return whether nothing is left."""
        while True:
            match = _BLANK.match(self._text, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._text):
                return False
            if not self._read_more(1):
                return True

    def take(self, mark: str) -> bool:
        """Take a mark and the blanks before it if it comes next; return whether it did."""
        if self.at_end() or self._text[self._at] != mark:
            return False
        self._at += 1
        return True

    def value(self) -> str | Finding:
        """Take the next value as it is written, or return why it is broken or too long."""
        bite = _FIRST_BITE
        while True:
            self.at_end()
            if len(self._text) > LIGHT_BYTES and (finding := too_many_values(self._text)):
                return finding._replace(message=f"{finding.message}; nothing after it is read")
            try:
                end = _DECODER.raw_decode(self._text, self._at)[1]
            except (json.JSONDecodeError, RecursionError) as error:
                is_incomplete = isinstance(error, json.JSONDecodeError)
                if is_incomplete and len(self._text) - self._at > self._most:
                    message = (
                        f"has more than {self._most:,} bytes, the limit of an item; nothing after it is read"
                    )
                    return Finding("line-too-long", None, message)
                # Twice as much each time, so that a long value is not parsed again for each piece of it.
                if not is_incomplete or not self._read_more(bite):
                    rest = self._text[self._at :].encode("utf-8", "surrogateescape")
                    advice = f"{_OBJECT}; nothing after it is read"
                    _, findings = read_invalid(rest, error, advice)
                    return (
                        findings[-1] if findings else Finding("invalid-json", None, f"is not JSON; {advice}")
                    )
                bite = min(2 * bite, self._most)
                continue
            size = end - self._at
            if end == len(self._text) and self._read_more(1):
                continue  # a number may continue
            self._at += size
            return self._text[self._at - size : self._at]

    def members(self, wanted: Set[str]) -> Item | Finding:
        """Take the next object with only its `wanted` members, one by one; or return why it is broken."""
        broken = Finding("invalid-json", None, f"is not JSON; {_OBJECT}; nothing after it is read")
        fields: dict[str, Any] = {}
        findings: list[Finding] = []
        if not self.take("{"):
            return broken
        while not self.take("}"):
            if fields and not self.take(","):
                return broken
            name = self.value()
            if isinstance(name, Finding):
                return name
            if not name.startswith('"') or not self.take(":"):
                return broken
            key = str(_DECODER.decode(name))
            if key in fields:
                findings.append(Finding("duplicate-key", key, REPEATED))
            fields[key] = None
            if key not in wanted:
                if not self._skip_value():
                    return broken
                continue
            value = self.value()
            if isinstance(value, Finding):
                return value
            fields[key], found = read_value(value.encode("utf-8", "surrogateescape"))
            findings += found
        return fields, findings

    def _skip_value(self) -> bool:
        """Skip the next value without keeping it; return whether it is complete."""
        if self.at_end():
            return False
        if self._text[self._at] not in '"[{':
            return isinstance(self.value(), str)
        depth = 0
        while not self.at_end():
            mark = self._text[self._at]
            self._at += 1
            if mark == '"':
                if not self._skip_string():
                    return False
            elif mark in "[{":
                depth += 1
            elif mark in "]}":
                depth -= 1
            else:
                match = _NO_MARKS.match(self._text, self._at)
                self._at = match.end() if match else self._at
            if depth == 0:
                return True
        return False

    def _skip_string(self) -> bool:
        """Skip the rest of a string; return whether it is complete."""
        while True:
            match = _STRING_MARK.search(self._text, self._at)
            self._at = match.end() if match else len(self._text)
            if match and match[0] == '"':
                return True
            if self._at == len(self._text) and not self._read_more(1):
                return False
            self._at += bool(match)  # what follows a backslash

    def _read_more(self, least: int) -> bool:
        """Read until there are at least `least` more characters; return whether there are any."""
        parts, self._text = [self._text[self._at :]], ""  # a long text is not in memory twice
        size = 0
        while size < least and not self._is_whole:
            piece = next(self._chunks, None)
            if isinstance(piece, TraceProblem):
                self._problems.append(piece)
                self.failure = piece if piece.severity == "error" else self.failure
                continue
            self._is_whole = piece is None
            parts.append(self._decoder.decode(piece or b"", final=self._is_whole))
            size += len(parts[-1])
        self._text, self._at = "".join(parts), 0
        return size > 0
