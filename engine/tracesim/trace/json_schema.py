"""The JSON Schema of a line of a trace, made from the fields and rules that the reader checks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tracesim.documents import DIALECT, JsonSchema
from tracesim.trace.schema import FIELDS, LENGTHS, NEEDS, SIDES

_DESCRIPTION = (
    "A line of a trace: one recorded request. A field that is null counts as absent, and other fields are "
    "ignored. What depends on several values or lines (the number of hash_ids, unique ids, min_tokens over "
    "max_tokens) only `tracesim validate` checks."
)


def record_schema(name: str) -> JsonSchema:
    """Return the schema of a line of a trace."""
    return {
        "$schema": DIALECT,
        "$id": f"urn:{name.replace('/', ':').replace('.', ':')}",
        "title": name,
        "description": _DESCRIPTION,
        "type": "object",
        "properties": {field: _or_null(dict(kind.json_schema)) for field, kind in FIELDS.items()},
        "allOf": [*_rules()],
    }


def _rules() -> Iterator[JsonSchema]:
    """Yield what the fields of a record need, and what they exclude."""
    input_length, output_length = LENGTHS
    prompts, responses = SIDES
    yield {
        "if": _given(input_length),
        "then": {"allOf": [_given(output_length), {"not": _any_given(prompts)}]},
        "else": _any_given(prompts),
    }
    yield {
        "if": _given(output_length),
        "then": {"not": _any_given(responses)},
        "else": _any_given(responses),
    }
    yield {"not": {"allOf": [_given("arrival_time"), _given("arrival_step")]}}
    for field, (needed, _) in NEEDS.items():
        yield {"if": _given(field), "then": _any_given(sorted(needed))}
    has_stop = {"properties": {"stop": {"minItems": 1}}}
    yield {"if": {"allOf": [_given("stop"), has_stop]}, "then": _given("response")}


def _given(field: str) -> JsonSchema:
    """Return a schema of records that have a field."""
    return {"required": [field], "properties": {field: {"not": {"type": "null"}}}}


def _any_given(fields: Iterable[str]) -> JsonSchema:
    return {"anyOf": [*map(_given, fields)]}


def _or_null(schema: JsonSchema) -> JsonSchema:
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return {**schema, "type": [*kinds, "null"]}
