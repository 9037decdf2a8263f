"""The fields of a trace record: a check for each, and the rules between them.

The names of a record's fields are checked once for each combination of them that a trace uses (a `Shape`);
a record then costs one check for each value. A check returns None, or a fault: a code and a message.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

from tracesim.limits import (
    MAX_HASH_ID,
    MAX_INTEGER,
    MAX_SECONDS,
    MAX_STEP,
    MAX_TOKEN_ID,
    MAX_TOKENS,
    MIN_INTEGER,
    written,
)
from tracesim.requests.request import DEFAULT_HASH_BLOCK_SIZE
from tracesim.trace.problems import Finding, describe, is_non_finite, is_over_float

Fields = dict[str, Any]
Fault = tuple[str, str]
Check = Callable[[Any], Fault | None]
Rule = Callable[[Fields], Finding | None]


class FieldType(NamedTuple):
    """The values that a field takes: the check of one, and a JSON Schema that accepts the same.

    A JSON Schema cannot tell 18 from 18.0, nor a character from half of a surrogate pair.
    """

    check: Check
    json_schema: Mapping[str, Any]


_INTEGER_TYPE = frozenset([int])
_STRING_TYPE = frozenset([str])
_FIRST_UNIX_TIME = 10**9  # in 2001


def _wrong_number(value: Any, accepted: str) -> Fault:
    """Return the fault of a value that should be a number."""
    code = "bad-value" if type(value) in (int, bool) or is_non_finite(value) else "wrong-type"
    if type(value) is float and math.isfinite(value) and abs(value) >= 2**63:
        found = describe(value) if is_over_float(value) else f"{value!r}, over 64 bits"
        return "bad-value", f"is {found}; must be {accepted}"
    return code, f"is {describe(value)}; must be {accepted}"


def _check_text(value: Any) -> Fault | None:
    if type(value) is str:
        return None
    code = "bad-value" if is_non_finite(value) else "wrong-type"
    return code, f"is {describe(value)}; must be a string"


def _check_prompt(value: Any) -> Fault | None:
    if type(value) is str and value:
        return None
    if value == "":
        return "empty-prompt", "is empty; must have at least one character"
    return _check_text(value)


def _check_id(value: Any) -> Fault | None:
    if value == "":
        return "bad-value", "is empty; must be a string with at least one character, or be absent"
    return _check_text(value)


def whole_number(value: Any) -> int | None:
    """Return the integer that a float such as 18.0 is; None for anything else."""
    is_whole = type(value) is float and value.is_integer() and abs(value) < 2**53
    return int(value) if is_whole else None


def seconds_of_finer_unit(value: Any) -> float | None:
    """Return Unix time in milli-, micro- or nanoseconds in seconds; None for anything else.

    Which unit it is shows by its size: no number of seconds may be as great.
    """
    if type(value) not in (int, float) or value <= MAX_SECONDS:
        return None
    times = [value / 1000**power for power in (1, 2, 3)]
    return next((time for time in times if _FIRST_UNIX_TIME <= time <= MAX_SECONDS), None)


_NAME = FieldType(_check_id, {"type": "string", "minLength": 1})


def _integer(least: int, most: int) -> FieldType:
    """Return the type of an integer from `least` to `most`."""
    accepted = "an integer" if least == MIN_INTEGER else f"an integer >= {least}"

    def check(value: Any) -> Fault | None:
        if type(value) is not int:
            return _wrong_number(value, accepted)
        if value > most:
            return "bad-value", f"is {describe(value)}; must be at most {written(most)}"
        if value < least:
            return "bad-value", f"is {describe(value)}; must be an integer >= {written(least)}"
        return None

    return FieldType(check, {"type": "integer", "minimum": least, "maximum": most})


def check_seconds(value: Any) -> Fault | None:
    """Return what is wrong with a number of seconds, if anything."""
    if type(value) in (int, float) and 0 <= value <= MAX_SECONDS:
        return None
    if type(value) in (int, float) and MAX_SECONDS < value < math.inf:
        return "bad-value", f"is {describe(value)}; must be at most {written(MAX_SECONDS)} seconds"
    code = "bad-value" if type(value) in (int, float, bool) else "wrong-type"
    return code, f"is {describe(value)}; must be a number of seconds >= 0"


_SECONDS = FieldType(check_seconds, {"type": "number", "minimum": 0, "maximum": MAX_SECONDS})


def _integers(type_code: str, most: int) -> FieldType:
    """Return the type of a list of integers from 0 to `most`, which is what an array of `type_code` has."""

    def check(value: Any) -> Fault | None:
        if type(value) is not list:
            return _wrong_number(value, "a list of integers >= 0")
        if _INTEGER_TYPE.issuperset(map(type, value)):
            try:
                array(type_code, value)  # faster than to compare each item
            except OverflowError:
                pass
            else:
                return None
        faults = ((at, item_type.check(item)) for at, item in enumerate(value, 1))
        return next((fault[0], f"item {at} {fault[1]}") for at, fault in faults if fault)

    item_type = _integer(0, most)
    return FieldType(check, {"type": "array", "items": item_type.json_schema})


_TOKEN_IDS = _integers("I", MAX_TOKEN_ID)


def _check_prompt_ids(value: Any) -> Fault | None:
    if value == []:
        return "empty-prompt", "is empty; must have at least one token id"
    return _TOKEN_IDS.check(value)


def _strings(empty: Fault) -> FieldType:
    """Return the type of a string or a list of strings, none of them empty; `empty` is the fault of one."""

    def check(value: Any) -> Fault | None:
        items = value if type(value) is list else [value]
        if _STRING_TYPE.issuperset(map(type, items)) and "" not in items:
            return None
        at, item = next((at, item) for at, item in enumerate(items, 1) if item == "" or type(item) is not str)
        place = f"item {at} " if items is value else ""
        if item == "":
            return empty[0], f"{place}is empty; {empty[1]}"
        code = "bad-value" if is_non_finite(item) else "wrong-type"
        accepted = "a string" if place else "a string or a list of strings"
        return code, f"{place}is {describe(item)}; must be {accepted}"

    return FieldType(check, {"type": ["string", "array"], "minLength": 1, "items": _NAME.json_schema})


_HASH_IDS = _integers("Q", MAX_HASH_ID)

FIELDS: dict[str, FieldType] = {
    "id": _NAME,
    "prompt": FieldType(_check_prompt, {"type": "string", "minLength": 1}),
    "response": FieldType(_check_text, {"type": "string"}),
    "prompt_token_ids": FieldType(_check_prompt_ids, {**_TOKEN_IDS.json_schema, "minItems": 1}),
    "response_token_ids": _TOKEN_IDS,
    "input_length": _integer(1, MAX_TOKENS),
    "output_length": _integer(0, MAX_TOKENS),
    "hash_ids": FieldType(_HASH_IDS.check, {**_HASH_IDS.json_schema, "minItems": 1}),
    "hash_block_size": _integer(1, MAX_TOKENS),
    "max_tokens": _integer(1, MAX_TOKENS),
    "min_tokens": _integer(0, MAX_TOKENS),
    "stop": _strings(("empty-stop", "a stop string must have at least one character")),
    "priority": _integer(MIN_INTEGER, MAX_INTEGER),
    "arrival_step": _integer(0, MAX_STEP),
    "arrival_time": _SECONDS,
    "session_id": _NAME,
    "after": _strings(("bad-value", "an id must have at least one character")),
    "delay": _SECONDS,
}
"""The known fields, in the order of `TraceRecord`."""

CHECKS: dict[str, Check] = {name: kind.check for name, kind in FIELDS.items()}

LENGTHS = ("input_length", "output_length")
LIMITS = ("max_tokens", "min_tokens")
_LISTS = ("prompt_token_ids", "response_token_ids", "hash_ids", "stop", "after")
_TIMES = ("arrival_time", "delay")
SIDES = (("prompt", "prompt_token_ids"), ("response", "response_token_ids"))

NEEDS = {
    "hash_ids": ({"input_length"}, "needs input_length and output_length beside it"),
    "hash_block_size": ({"hash_ids"}, "needs hash_ids beside it"),
    "delay": ({"session_id", "after"}, "needs session_id or after beside it, from which it counts"),
}
"""Fields that mean nothing without one of others."""


def _name_findings(names: tuple[str, ...]) -> Iterator[Finding]:
    """Yield what the names alone show: a part is missing, or two ways of giving it are mixed."""
    prompts, responses = ([name for name in side if name in names] for side in SIDES)
    excluded = {"input_length": [*prompts, *responses], "output_length": responses}
    mixed = [name for name in LENGTHS if name in names and excluded[name]]
    if mixed:
        other = excluded[mixed[0]][0]
        message = f"cannot stand together with {other}; give lengths, or text and token ids, not both"
        yield Finding("mixed-fields", mixed[0], message)
    elif "input_length" in names or (not prompts and "output_length" in names):
        for name in {*LENGTHS} - {*names}:
            other = "input_length" if name == "output_length" else "output_length"
            yield Finding("missing-field", name, f"is missing; {other} needs it beside it")
    else:
        if not prompts:
            yield Finding("missing-field", "prompt", "is missing; give it as text, or give prompt_token_ids")
        if not responses and "output_length" not in names:
            message = "is missing; give it as text, or give response_token_ids"
            yield Finding("missing-field", "response", message)
    if "arrival_time" in names and "arrival_step" in names:
        yield Finding("mixed-fields", "arrival_time", "cannot stand together with arrival_step; give one")
    for name, (needed, message) in NEEDS.items():
        if name in names and needed.isdisjoint(names):
            yield Finding("mixed-fields", name, message)


def _check_hash_count(fields: Fields) -> Finding | None:
    found, length = len(fields["hash_ids"]), fields["input_length"]
    size = fields.get("hash_block_size", DEFAULT_HASH_BLOCK_SIZE)
    needed = -(-length // size)
    if found == needed:
        return None
    message = f"has {found} ids; must have {needed} for input_length {length}, one for every {size} tokens"
    fitting = [1 << power for power in range(15) if -(-length // (1 << power)) == found]
    if fitting:
        message += f"; if an id stands for {' or '.join(map(str, fitting))}, give hash_block_size"
    return Finding("hash-count", "hash_ids", message)


def _check_limits(fields: Fields) -> Finding | None:
    low, high = fields["min_tokens"], fields["max_tokens"]
    if low <= high:
        return None
    return Finding("bad-value", "min_tokens", f"is {low}; must be at most max_tokens, {high}")


def _check_stop_has_text(fields: Fields) -> Finding | None:
    if not fields["stop"]:
        return None
    message = "cannot be searched for: the response has no text; give response as text, or remove stop"
    return Finding("bad-value", "stop", message)


def _rules(names: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Rule]]:
    """Yield the rules between values that apply to these names, each with the fields that it reads."""
    if "hash_ids" in names and "input_length" in names:
        size = ("hash_block_size",) if "hash_block_size" in names else ()
        yield ("hash_ids", "input_length", *size), _check_hash_count
    if "min_tokens" in names and "max_tokens" in names:
        yield ("min_tokens", "max_tokens"), _check_limits
    if "stop" in names and "response" not in names and {"output_length", "response_token_ids"} & {*names}:
        yield ("stop",), _check_stop_has_text


class Shape:
    """What is known of every record with these field names, in this order.

    `findings` are wrong whatever the values are. `unknown` are the names that are not fields of a record, and
    `likely_typos` those of them that resemble one, each with its name. `prompt` is the field that identifies
    the prompt, if there is one. The values of
    `lists` become tuples, those of `seconds` floats.
    """

    __slots__ = (
        "_checks",
        "_order",
        "_rules",
        "findings",
        "likely_typos",
        "lists",
        "names",
        "prompt",
        "seconds",
        "unknown",
    )

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self.findings = tuple(_name_findings(names))
        self.unknown = tuple(name for name in names if name not in CHECKS)
        self.likely_typos = tuple(
            (name, known) for name in self.unknown if (known := similar_field(name)) and known not in names
        )
        self.prompt = next((name for name in SIDES[0] if name in names), None)
        self.lists = tuple(name for name in names if name in _LISTS)
        self.seconds = tuple(name for name in names if name in _TIMES)
        self._checks = tuple((name, CHECKS[name]) for name in names if name in CHECKS)
        self._rules = tuple(_rules(names))
        # The values that `in_order` picks from: None, 0, id, file and line, then those of the record.
        places = {name: at for at, name in enumerate(names, 5)}
        places = {"arrival_step": 1, **places, "id": 2}
        self._order = itemgetter(*(places.get(name, 0) for name in CHECKS), 3, 4)

    def accepts(self, fields: Fields) -> bool:
        """Whether a record of this shape is valid."""
        for name, check in self._checks:
            if check(fields[name]) is not None:
                return False
        for _, rule in self._rules:
            if rule(fields) is not None:
                return False
        return not self.findings

    def faults(self, fields: Fields) -> Iterator[Finding]:
        """Yield everything that is wrong with a record of this shape."""
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
        """Return the values of `TraceRecord`'s fields, in their order."""
        values: tuple[Any, ...] = self._order((None, 0, record_id, file, line, *fields.values()))
        return values


@lru_cache(maxsize=4096)
def similar_field(name: str) -> str | None:
    """Return the known field that `name` misspells: other case or dashes, or about one letter off."""
    from difflib import get_close_matches

    known = {field.replace("_", ""): field for field in CHECKS}
    plain = name.lower().replace("_", "").replace("-", "") if len(name) < 40 else ""
    candidates = [field for field in known if abs(len(field) - len(plain)) <= 1]
    close = get_close_matches(plain, candidates, n=1, cutoff=0.82)
    return known[close[0]] if close else None
