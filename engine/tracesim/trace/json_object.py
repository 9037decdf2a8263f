"""A JSON object from bytes, and what exactly is wrong where there is none.

orjson reads every good line. Only a line that it refuses, or that may have the same key twice, is read again
with the standard library's `json`, which is slower and can say more.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import orjson

from tracesim.limits import MAX_VALUE_MEMORY
from tracesim.trace.problems import Finding, describe, is_non_finite, is_over_float, not_utf8

_SURROGATE = re.compile("[\ud800-\udfff]")
_BAD_BYTE = re.compile("[\udc80-\udcff]")  # what errors="surrogateescape" makes of a byte that is not UTF-8
BLANKS = b" \t\r\n"
"""What may stand around a JSON value."""
_OBJECT = "each line must be one JSON object"
_EXAMPLE = _OBJECT + ', such as {"prompt": "Hi", "response": " there"}'
REPEATED = "is there more than once in this object; keep one"
"""What is wrong with a key that an object has twice."""
_LONGEST_INTEGER = 20
_LONG = 256
_TEXTS = frozenset([str, int, bool, type(None)])  # floats may be written longer than they were
_LEAST_ADDED = len('"":0,')
_ANY_KEY = re.compile(rb'"[ \t\r\n]*:')

LIGHT_BYTES = 1024 * 1024
"""JSON of so many bytes takes little memory, whatever its values are."""
_VALUE_BYTES = {'"': 30, "{": 232, "[": 64, ",": 20}
"""What a value takes in memory, by the marks that it is written with, beside the text itself."""


def read_value(text: bytes) -> tuple[Any, list[Finding]]:
    """Return the value that a JSON text has, None if there is none, and what makes it invalid."""
    try:
        return orjson.loads(text), []
    except orjson.JSONDecodeError as error:
        return read_invalid(text.strip(BLANKS), error, _OBJECT)


def read_object(line: bytes) -> tuple[dict[str, Any] | None, list[Finding]]:
    """Return the object that `line` is, and what makes it invalid; None and nothing for a blank line.

    NaN and infinities are left to whoever reads the field that has them: most fields are not read.
    """
    if len(line) > LIGHT_BYTES and (finding := too_many_values(line.decode("latin-1"))):
        return None, [finding]
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        line = line.strip(BLANKS)
        if not line:
            return None, []
        value, findings = read_invalid(line, error, _OBJECT)
        may_repeat = not findings
    else:
        findings = []
        may_repeat = isinstance(value, dict) and (
            may_repeat_keys(line, value) or _may_repeat_inner_keys(line, value)
        )
    if not isinstance(value, dict):
        return None, findings or [not_an_object(value, _OBJECT)]
    return value, repeated_keys(line, inside=True) if may_repeat else findings


def not_an_object(value: Any, accepted: str = _EXAMPLE) -> Finding:
    """Return the finding that a line is JSON, but not an object."""
    return Finding("not-an-object", None, f"is {describe(value)}; {accepted}")


def too_many_values(text: str) -> Finding | None:
    """Return the finding that the values of a JSON text would take too much memory, by an estimate."""
    if sum(size * text.count(mark) for mark, size in _VALUE_BYTES.items()) <= MAX_VALUE_MEMORY:
        return None
    message = (
        f"has too many values: about {MAX_VALUE_MEMORY:,} bytes of memory are the limit; "
        "divide it over several records"
    )
    return Finding("line-too-long", None, message)


@lru_cache(maxsize=1024)
def key_pattern(keys: tuple[str, ...]) -> re.Pattern[bytes]:
    """Return a pattern of the keys of an object with their colons, which text may contain as well."""
    return re.compile(b'"(?:%s)"[ \\t]*:' % b"|".join([re.escape(orjson.dumps(key)[1:-1]) for key in keys]))


def may_repeat_keys(line: bytes, value: dict[str, Any]) -> bool:
    """Whether the text of the object `value` seems to have a key twice; `repeated_keys` makes sure.

    A key that is there again makes the text longer than the object: by its quotation marks, a colon, a value
    and a comma. So a text that is hardly longer than the object needs no search.
    """
    if not value:
        return False
    if len(line) > _LONG and _TEXTS.issuperset(map(type, value.values())):
        added = len(line) - len(orjson.dumps(value))
        if added < _LEAST_ADDED + min(map(len, value)):
            return False
    return len(key_pattern(tuple(value)).findall(line)) > len(value)


def _may_repeat_inner_keys(line: bytes, value: dict[str, Any]) -> bool:
    """Whether an object inside `value` seems to have a key twice."""
    if line.count(b"{") < 2:
        return False
    return len(_ANY_KEY.findall(line)) > len(_ANY_KEY.findall(orjson.dumps(value)))


def repeated_keys(line: bytes, *, inside: bool = False) -> list[Finding]:
    """Return a finding for each key that an object, or also one inside it, has more than once."""
    repeated: list[str] = []

    def note_repeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        counts = Counter([key for key, _ in pairs])
        if not inside:  # the outermost object is the last to be complete, so its keys are those that stay
            repeated.clear()
        repeated.extend([key for key, count in counts.items() if count > 1])
        return dict(pairs)

    try:
        json.loads(line, object_pairs_hook=note_repeated, parse_int=parse_integer)
    except RecursionError:
        return []
    return [Finding("duplicate-key", key, REPEATED) for key in dict.fromkeys(repeated)]


def read_invalid(line: bytes, refusal: Exception, advice: str = _EXAMPLE) -> tuple[Any, list[Finding]]:
    """Return the value of a line that orjson refused, None if there is none, and what makes it invalid.

    `refusal` is orjson's error, reported where nothing else is found; `advice` says what is accepted.
    NaN and infinities are not reported here: the check of a field does, and most fields are not read.
    """
    bad_byte = _first_bad_byte(line)
    findings = []
    try:
        value = json.loads(line.decode("utf-8", "surrogateescape"), parse_int=parse_integer)
    except RecursionError:
        value = None
        findings.append(Finding("invalid-json", None, f"is nested too deeply; {advice}"))
    except json.JSONDecodeError as error:
        value = None
        reason = error.msg[:1].lower() + error.msg[1:].removesuffix(" at")
        if error.doc[error.pos :].strip() == ",":
            reason = "a comma after the object"
        findings.append(
            Finding("invalid-json", None, f"is not JSON: {reason} at column {error.colno}; {advice}")
        )
    if isinstance(value, dict):
        findings += _character_findings(value, bad_byte)
        if not findings and not any(is_non_finite(each) or is_over_float(each) for each in _scalars(value)):
            findings.append(Finding("invalid-json", None, f"is not JSON: {refusal}; {advice}"))
    if bad_byte and not any(finding.code == "invalid-utf8" for finding in findings):
        findings.insert(0, Finding("invalid-utf8", None, bad_byte))
    return value, findings


def _first_bad_byte(line: bytes) -> str | None:
    """Return a message about the first byte that is not UTF-8, if there is one."""
    try:
        line.decode()
    except UnicodeDecodeError as error:
        return not_utf8(line, error)
    return None


def _character_findings(fields: dict[str, Any], bad_byte: str | None) -> Iterator[Finding]:
    """Yield what is wrong with the characters of a field: not UTF-8, or half of a surrogate pair."""
    for name, value in fields.items():
        texts = [scalar for scalar in _scalars([name, value]) if isinstance(scalar, str)]
        field = None if _SURROGATE.search(name) else name
        if bad_byte and any(map(_BAD_BYTE.search, texts)):
            yield Finding("invalid-utf8", field, bad_byte)
            texts = [_BAD_BYTE.sub("", text) for text in texts]
        if any(map(_SURROGATE.search, texts)):
            message = "has half of a surrogate pair (\\ud800 to \\udfff alone); write whole characters"
            yield Finding("lone-surrogate", field, message)


def _scalars(value: Any) -> Iterator[Any]:
    """Yield every key and every value inside `value` that is not a container."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.keys()
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
        else:
            yield value


def parse_integer(digits: str) -> int | float:
    """Return an integer, or a float where it is too long, as orjson does; `int` refuses very long ones.

    An integer that is too great even for a float is the greatest float, which `describe` names.
    It is the `parse_int` of every use of `json`.
    """
    if len(digits) <= _LONGEST_INTEGER:
        return int(digits)
    return max(-sys.float_info.max, min(float(digits), sys.float_info.max))
