"""The items of a JSON array, or JSON values one after another, without holding the whole of a file."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any

from tracesim.errors import TraceProblem
from tracesim.trace.input_file import InputFile
from tracesim.trace.json_object import read_invalid, read_object
from tracesim.trace.problems import Finding, problem

Item = tuple[dict[str, Any] | None, list[Finding]]

_BLANK = re.compile(r"[ \t\r\n]*")
_FIRST_BITE = 1 << 16
_OBJECT = "it must be a JSON object, or an array of them"
_MOST_LINES = 16
"""The limit of a value in longest lines: a document may have all its requests in one value."""


def json_items(file: InputFile) -> Iterator[Item | TraceProblem]:
    """Yield each object of a JSON array, or of JSON values one after another, and what is wrong with it.

    Nothing is read after a broken item, because where the next one would begin is unknown.
    """
    text = _Text(file)
    number = 1
    for item in _items(text):
        yield from text.problems()
        if not isinstance(item, Finding):
            number += 1
            yield item
        elif text.failure is None:
            yield problem(item.code, file.name, number, None, item.message)
    yield from text.problems()


def _items(text: _Text) -> Iterator[Item | Finding]:
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
        if isinstance(found, Finding):
            yield found
            return
        yield read_object(found.encode("utf-8", "surrogateescape"))
    if not text.at_end():
        yield Finding("invalid-json", None, "is after the end of the array, and is not read")


class _Text:
    """The text of a file that was read and not taken yet; bytes that are not UTF-8 become surrogates."""

    def __init__(self, file: InputFile) -> None:
        self.failure: TraceProblem | None = None
        self._chunks = file.chunks()
        self._most = file.max_line_bytes * _MOST_LINES
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
            try:
                self.at_end()
                _, end = json.JSONDecoder().raw_decode(self._text, self._at)
            except (json.JSONDecodeError, RecursionError) as error:
                if isinstance(error, json.JSONDecodeError) and len(self._text) - self._at > self._most:
                    message = (
                        f"has more than {self._most:,} bytes, the limit of an item; nothing after it is read"
                    )
                    return Finding("line-too-long", None, message)
                # Twice as much each time, so that a long value is not parsed again for each piece of it.
                if isinstance(error, RecursionError) or not self._read_more(bite):
                    rest = self._text[self._at :].encode("utf-8", "surrogateescape")
                    advice = f"{_OBJECT}; nothing after it is read"
                    _, findings = read_invalid(rest, error, advice)
                    return (
                        findings[-1] if findings else Finding("invalid-json", None, f"is not JSON; {advice}")
                    )
                bite *= 2
                continue
            size = end - self._at
            if end == len(self._text) and self._read_more(1):
                continue  # a number may continue
            self._at += size
            return self._text[self._at - size : self._at]

    def _read_more(self, least: int) -> bool:
        """Read until there are at least `least` more characters; return whether there are any."""
        parts = [self._text[self._at :]]
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
