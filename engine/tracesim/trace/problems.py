"""What can be wrong with a trace: the table of codes, and how a message quotes what was found.

A code is stable: scripts may filter by it. Messages are for people and may change.
"""

from __future__ import annotations

import json
import math
import sys
from typing import Any, NamedTuple

from tracesim.errors import TraceProblem

ERRORS = {
    "missing-file": "the file does not exist",
    "is-a-directory": "the path is a directory",
    "unreadable-file": "the file cannot be opened or read",
    "empty-file": "the file has no record",
    "truncated-file": "compressed data ends early or is damaged; the lines before it are still read",
    "expands-too-much": "compressed data becomes far larger than it is; the lines before the limit are read",
    "line-too-long": "a line has more bytes or values than the limit; it is skipped",
    "too-many-errors": "nothing but errors for a long time; the rest of the file is not read",
    "invalid-utf8": "bytes are not UTF-8",
    "invalid-json": "a line is not JSON",
    "not-an-object": "a line is JSON, but not an object",
    "lone-surrogate": "a string has half of a surrogate pair, which is not a character",
    "duplicate-key": "an object has the same key twice",
    "missing-field": "a required field is absent",
    "mixed-fields": "fields exclude each other: lengths and text, hash_ids without lengths, two arrivals",
    "wrong-type": "a value has another type than its field",
    "bad-value": "a value has the right type and is not accepted: out of range, NaN, true for 1",
    "empty-prompt": "a prompt has no characters or no tokens",
    "empty-stop": "a stop string has no characters",
    "duplicate-id": "an earlier record has the same id",
    "not-text": "a message has an image or another part that is not text",
    "hash-count": "the number of hash_ids does not fit input_length",
    "unknown-after": "`after` has an id that no record has",
    "after-cycle": "requests wait for each other in a circle",
    "invalid-csv": "a line is not CSV, or has another number of columns than the header",
    "unknown-format": "the file is of no format that can be read",
    "unsupported-request": "a request of a batch is for an endpoint that generates no text",
    "unmatched": "only one file of a batch is given, or a response has no request",
    "cannot-run": "the engine of a replay could never run the request",
}
NO_RECORDS = frozenset({"missing-file", "is-a-directory", "unreadable-file"})
"""Problems of a whole file, of which no record can be read."""
ENDS_OF_FILES = frozenset({"truncated-file", "expands-too-much", "too-many-errors"})
"""Problems after which no more of a file is read; the line is the one at which its reading ends."""

WARNINGS = {
    "likely-typo": "the name of an unknown field is almost that of a known one",
    "other-format": "a field that is ignored belongs to another format",
    "decimal-length": "a number of tokens is written as a decimal, such as 18.0",
    "time-unit": "a time seems to be in another unit than the format's",
    "duplicate-prompt": "an earlier record has the same prompt",
    "bom": "the file starts with a byte order mark",
    "no-final-newline": "the last line does not end with a newline",
    "failed-request": "the request failed when it was recorded; it is skipped",
    "no-response": "a request of a batch has no response; it is skipped",
    "no-prompt": "an answer has nothing before it; it is skipped",
    "hidden-tokens": "tokens were processed or generated whose text is not recorded",
    "other-request": "a logged call generated no text, or never reached a model; it is skipped",
    "no-request": "a conversation has no answer to replay",
    "no-arrival-time": "a delay is ignored: the record has no session from which it counts",
    "other-choices": "a response has several choices; the first is replayed",
}

DOCUMENTATION = "https://tracesim.example/docs"
"""Where the documentation is published; to be set before a release."""

_SHOWN_CHARACTERS = 40


class Finding(NamedTuple):
    """A problem whose place in the trace is not known yet; `field` is None when it is the whole line."""

    code: str
    field: str | None
    message: str


def problem(code: str, file: str, line: int | None, field: str | None, message: str) -> TraceProblem:
    """Return a `TraceProblem` with the severity that the tables above give to `code`."""
    severity = "warning" if code in WARNINGS else "error"
    return TraceProblem(code, severity, file, line, field, message)  # type: ignore[arg-type]


def help_page(code: str) -> str:
    """Return the address of the documentation of a code."""
    return f"{DOCUMENTATION}/reference/problems.html#{code}"


def quote(text: str) -> str:
    """Return `text` as an ASCII JSON string of at most 40 characters, cut with `...`."""
    shown = ""
    for at, character in enumerate(text):
        escaped = json.dumps(character)[1:-1]
        is_last = at == len(text) - 1
        limit = _SHOWN_CHARACTERS - (2 if is_last else 5)  # the quotation marks, and `...` for what follows
        if len(shown) + len(escaped) > limit:
            return f'"{shown}..."'
        shown += escaped
    return f'"{shown}"'


def not_utf8(line: bytes, error: UnicodeDecodeError) -> str:
    """Return the message about the first byte of a line that is not UTF-8."""
    found = f"0x{line[error.start]:02x} at byte {error.start + 1} of the line"
    return f"is not UTF-8: {found} is the first that is not; save the file as UTF-8"


def describe(value: Any) -> str:
    """Return how a message names a value: scalars as JSON writes them, containers by their kind."""
    if isinstance(value, str):
        return f"the string {quote(value)}"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "an object"
    if is_over_float(value):
        return "a number of over 308 digits"
    return json.dumps(value)[:_SHOWN_CHARACTERS]


def absent_or_wrong(field: str, value: Any, accepted: str) -> Finding:
    """Return the finding that a required field is absent, where `value` is None, or is not `accepted`."""
    if value is None:
        return Finding("missing-field", field, f"is missing; must be {accepted}")
    return Finding("wrong-type", field, f"is {describe(value)}; must be {accepted}")


def is_non_finite(value: Any) -> bool:
    """Whether `value` is NaN or an infinity, which JSON does not have."""
    return type(value) is float and not math.isfinite(value)


def is_over_float(value: Any) -> bool:
    """Whether `value` is what `parse_integer` makes of an integer that is too great for a float."""
    return type(value) is float and abs(value) == sys.float_info.max
