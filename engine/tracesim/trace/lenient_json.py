"""Why a line is not the JSON that a trace takes: the slow second look at what orjson refused."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import orjson

from tracesim.trace.problems import Finding, described, is_non_finite

_SURROGATE = re.compile("[\ud800-\udfff]")
_BAD_BYTE = re.compile("[\udc80-\udcff]")  # what errors="surrogateescape" makes of a byte that is not UTF-8
_BLANKS = b" \t\r\n"
_OBJECT = "each line must be one JSON object"
_ADVICE = _OBJECT + ', such as {"prompt": "Hi", "response": " there"}'


def read_object(line: bytes, known: frozenset[str]) -> tuple[dict[str, Any] | None, list[Finding]]:
    """The object that `line` is, and what makes it invalid; None and nothing for a line that is blank.

    NaN and infinities in `known` fields are left to the checks of those fields.
    """
    try:
        value = orjson.loads(line)
        findings: list[Finding] = []
    except orjson.JSONDecodeError as error:
        line = line.strip(_BLANKS)
        if not line:
            return None, []
        value, findings = look_again(line, error, known, _OBJECT)
    if isinstance(value, dict):
        return value, findings
    return None, findings or [not_an_object(value)]


def not_an_object(value: Any, accepted: str = _OBJECT) -> Finding:
    """The finding that JSON is there, and no object."""
    return Finding("not-an-object", None, f"is {described(value)}; {accepted}")


def look_again(
    line: bytes, refusal: Exception, known: frozenset[str], advice: str = _ADVICE
) -> tuple[Any, list[Finding]]:
    """The value of `line` read leniently, None if there is none, and what makes it invalid.

    `refusal` is orjson's, and is told where nothing else is found; `advice` says what is accepted.
    NaN and infinities in `known` fields are left to the checks of those fields.
    """
    bad_byte = _first_bad_byte(line)
    findings = []
    try:
        value = json.loads(line.decode("utf-8", "surrogateescape"), parse_int=_integer)
    except RecursionError:
        value = None
        findings.append(Finding("invalid-json", None, f"is nested too deeply; {advice}"))
    except json.JSONDecodeError as error:
        value = None
        reason = error.msg[:1].lower() + error.msg[1:].removesuffix(" at")
        findings.append(
            Finding("invalid-json", None, f"is not JSON: {reason} at column {error.colno}; {advice}")
        )
    if isinstance(value, dict):
        findings += _field_findings(value, known, bad_byte)
        if not findings and not any(map(is_non_finite, _atoms(value))):
            findings.append(Finding("invalid-json", None, f"is not JSON: {refusal}; {advice}"))
    if bad_byte and not any(finding.code == "invalid-utf8" for finding in findings):
        findings.insert(0, Finding("invalid-utf8", None, bad_byte))
    return value, findings


def _first_bad_byte(line: bytes) -> str | None:
    try:
        line.decode()
    except UnicodeDecodeError as error:
        found = f"0x{line[error.start]:02x} at byte {error.start + 1} of the line"
        return f"is not UTF-8: {found} is the first that is not; save the file as UTF-8"
    return None


def _field_findings(fields: dict[str, Any], known: frozenset[str], bad_byte: str | None) -> Iterator[Finding]:
    for name, value in fields.items():
        broken = {kind for atom in _atoms([name, value]) for kind in _broken(atom, bad_byte)}
        field = None if _SURROGATE.search(name) else name
        if bad_byte and "bytes" in broken:
            yield Finding("invalid-utf8", field, bad_byte)
        if "surrogate" in broken:
            say = "has half of a surrogate pair (\\ud800 to \\udfff alone); write whole characters"
            yield Finding("lone-surrogate", field, say)
        if "number" in broken and name not in known:
            say = "is or holds NaN, Infinity or too large a number; JSON has none of them, write null"
            yield Finding("invalid-json", field, say)


def _broken(atom: Any, bad_byte: str | None) -> Iterator[str]:
    if is_non_finite(atom):
        yield "number"
    elif isinstance(atom, str) and _SURROGATE.search(atom):
        if bad_byte and _BAD_BYTE.search(atom):
            yield "bytes"
            atom = _BAD_BYTE.sub("", atom)
        if _SURROGATE.search(atom):
            yield "surrogate"


def _atoms(value: Any) -> Iterator[Any]:
    """Every key and every value in `value` that is no container."""
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


def _integer(digits: str) -> int | float:
    return (
        int(digits) if len(digits) <= 20 else float(digits)
    )  # as orjson has it; int() refuses very long ones
