"""What a trace record may say: a check for each field, and for the fields of a record together.

The names of a record are judged once for each combination of them that a trace uses (a `Shape`); then a
record costs one check a value. A check returns None, or a fault: a code and a message.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from operator import itemgetter
from typing import Any

from tracesim.trace.problems import Finding, described, is_non_finite

Fields = dict[str, Any]
Fault = tuple[str, str]
Check = Callable[[Any], Fault | None]
Rule = Callable[[Fields], Finding | None]

_INT_ALONE = frozenset([int])

HASH_BLOCK = 512
"""Prompt tokens that one of `hash_ids` stands for."""


def _mismatch(value: Any, accepted: str, place: str = "") -> Fault:
    code = "bad-value" if type(value) in (int, bool) or is_non_finite(value) else "wrong-type"
    if type(value) is float and math.isfinite(value) and abs(value) >= 2**63:
        return "bad-value", f"{place}is {value!r}, over 64 bits; must be {accepted}"
    return code, f"{place}is {described(value)}; must be {accepted}"


def _text(value: Any) -> Fault | None:
    if type(value) is str:
        return None
    code = "bad-value" if is_non_finite(value) else "wrong-type"
    return code, f"is {described(value)}; must be a string"


def _prompt(value: Any) -> Fault | None:
    if type(value) is str and value:
        return None
    if value == "":
        return "empty-prompt", "is empty; must have at least one character"
    return _text(value)


def _id(value: Any) -> Fault | None:
    if value == "":
        return "bad-value", "is empty; must be a string with at least one character, or be left out"
    return _text(value)


def _integer(minimum: float) -> Check:
    accepted = "an integer" if minimum == -math.inf else f"an integer >= {minimum}"

    def check(value: Any) -> Fault | None:
        if type(value) is int and value >= minimum:
            return None
        return _mismatch(value, accepted)

    return check


def _seconds(value: Any) -> Fault | None:
    if type(value) in (int, float) and 0 <= value < math.inf:
        return None
    code = "bad-value" if type(value) in (int, float, bool) else "wrong-type"
    return code, f"is {described(value)}; must be a number of seconds >= 0"


def _integers(value: Any) -> Fault | None:
    if type(value) is not list:
        return _mismatch(value, "a list of integers >= 0")
    if not value or (_INT_ALONE.issuperset(map(type, value)) and min(value) >= 0):
        return None
    at, item = next((at, item) for at, item in enumerate(value, 1) if type(item) is not int or item < 0)
    return _mismatch(item, "an integer >= 0", f"item {at} ")


def _prompt_ids(value: Any) -> Fault | None:
    if value == []:
        return "empty-prompt", "is empty; must have at least one token id"
    return _integers(value)


def _stop(value: Any) -> Fault | None:
    items = value if type(value) is list else [value]
    for at, item in enumerate(items, 1):
        place = f"item {at} " if items is value else ""
        if item == "":
            return "empty-stop", f"{place}is empty; a stop string must have at least one character"
        if type(item) is not str:
            accepted = "a string" if place else "a string or a list of strings"
            return _text(item)[0], f"{place}is {described(item)}; must be {accepted}"  # type: ignore[index]
    return None


CHECKS: dict[str, Check] = {
    "id": _id,
    "prompt": _prompt,
    "response": _text,
    "prompt_token_ids": _prompt_ids,
    "response_token_ids": _integers,
    "input_length": _integer(1),
    "output_length": _integer(0),
    "hash_ids": _integers,
    "max_tokens": _integer(1),
    "min_tokens": _integer(0),
    "stop": _stop,
    "priority": _integer(-math.inf),
    "arrival_step": _integer(0),
    "arrival_time": _seconds,
}
"""The known fields, in the order of `TraceRecord`."""

_LENGTHS = ("input_length", "output_length")
_SEQUENCES = ("prompt_token_ids", "response_token_ids", "hash_ids", "stop")
_SIDES = (("prompt", "prompt_token_ids"), ("response", "response_token_ids"))


def _name_findings(names: tuple[str, ...]) -> Iterator[Finding]:
    """What the names alone tell: a part is missing, or two ways of giving it are mixed."""
    lengths = [name for name in _LENGTHS if name in names]
    contents = [name for side in _SIDES for name in side if name in names]
    if lengths and contents:
        say = f"cannot stand together with {contents[0]}; give lengths, or text and token ids, not both"
        yield Finding("mixed-fields", lengths[0], say)
    elif lengths:
        for name in _LENGTHS:
            if name not in names:
                yield Finding("missing-field", name, f"is missing; {lengths[0]} needs it beside it")
    else:
        for text, ids in _SIDES:
            if text not in names and ids not in names:
                yield Finding("missing-field", text, f"is missing; give it as text, or give {ids}")
    if "hash_ids" in names and not lengths:
        yield Finding("mixed-fields", "hash_ids", "needs input_length and output_length beside it")
    if "arrival_time" in names and "arrival_step" in names:
        yield Finding("mixed-fields", "arrival_time", "cannot stand together with arrival_step; give one")


def _hash_count(fields: Fields) -> Finding | None:
    found, length = len(fields["hash_ids"]), fields["input_length"]
    needed = -(-length // HASH_BLOCK)
    if found == needed:
        return None
    say = f"counts {found}; must count {needed} for input_length {length}, an id for each {HASH_BLOCK} tokens"
    return Finding("hash-count", "hash_ids", say)


def _limits(fields: Fields) -> Finding | None:
    low, high = fields["min_tokens"], fields["max_tokens"]
    if low <= high:
        return None
    return Finding("bad-value", "min_tokens", f"is {low}; must be at most max_tokens, {high}")


def _stop_without_text(fields: Fields) -> Finding | None:
    if not fields["stop"]:
        return None
    say = "cannot be looked for: the response has no text; give response as text, or leave stop out"
    return Finding("bad-value", "stop", say)


def _rules(names: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Rule]]:
    """The rules between values that apply to these names, each with the fields that it reads."""
    if "hash_ids" in names and "input_length" in names:
        yield ("hash_ids", "input_length"), _hash_count
    if "min_tokens" in names and "max_tokens" in names:
        yield ("min_tokens", "max_tokens"), _limits
    if "stop" in names and "response" not in names and {"output_length", "response_token_ids"} & {*names}:
        yield ("stop",), _stop_without_text


class Shape:
    """What is known of every record with these field names, in this order.

    `findings` are wrong whatever the values are; `likely_typos` are unknown names, each with what it may
    stand for; `prompt` is the field to know a prompt by, if there is one; `sequences` become tuples, and the
    arrival time a float where `is_timed`.
    """

    __slots__ = ("_checks", "_order", "_rules", "findings", "is_timed", "likely_typos", "prompt", "sequences")

    def __init__(self, names: tuple[str, ...]) -> None:
        self.findings = tuple(_name_findings(names))
        self.likely_typos = tuple(_likely_typos(names))
        self.prompt = next((name for name in _SIDES[0] if name in names), None)
        self.sequences = tuple(name for name in names if name in _SEQUENCES)
        self.is_timed = "arrival_time" in names
        self._checks = tuple((name, CHECKS[name]) for name in names if name in CHECKS)
        self._rules = tuple(_rules(names))
        self._order = _record_order(names)

    def accepts(self, fields: Fields) -> bool:
        """Whether a record of this shape is without fault."""
        for name, check in self._checks:
            if check(fields[name]) is not None:
                return False
        for _, rule in self._rules:
            if rule(fields) is not None:
                return False
        return not self.findings

    def faults(self, fields: Fields) -> Iterator[Finding]:
        """Everything that is wrong with a record of this shape."""
        yield from self.findings
        faulty = set()
        for name, check in self._checks:
            if fault := check(fields[name]):
                faulty.add(name)
                yield Finding(fault[0], name, fault[1])
        for reads, rule in self._rules:
            if faulty.isdisjoint(reads) and (finding := rule(fields)):
                yield finding

    def in_order(self, record_id: str, file: str, line: int, fields: Fields) -> tuple[Any, ...]:
        """The values of `TraceRecord`'s fields."""
        return self._order((None, 0, record_id, file, line, *fields.values()))


def _record_order(names: tuple[str, ...]) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    absent, no_arrival, record_id, file, line, first = range(6)
    places = {name: at for at, name in enumerate(names, first)}
    places = {"arrival_step": no_arrival, **places, "id": record_id}
    return itemgetter(*(places.get(name, absent) for name in CHECKS), file, line)


def _likely_typos(names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for name in names:
        if name not in CHECKS and (meant := _nearest(name)) and meant not in names:
            yield name, meant


@lru_cache(maxsize=4096)
def _nearest(name: str) -> str | None:
    """The known field that `name` is a slip of: another case or dash, or about one letter off."""
    from difflib import get_close_matches

    known = {field.replace("_", ""): field for field in CHECKS}
    plain = name.lower().replace("_", "").replace("-", "") if len(name) < 40 else ""
    alike = [field for field in known if abs(len(field) - len(plain)) <= 1]
    close = get_close_matches(plain, alike, n=1, cutoff=0.82)
    return known[close[0]] if close else None
