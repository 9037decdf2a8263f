"""JSON documents that are declared as types: each is described by a JSON Schema made from its type."""

from __future__ import annotations

import inspect
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints, is_typeddict

DIALECT = "https://json-schema.org/draft/2020-12/schema"

JsonSchema = dict[str, Any]

_SCALARS: dict[object, JsonSchema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
    object: {},
    Any: {},
}


class Member(NamedTuple):
    """A member of an object: its type, and whether every object has it."""

    type: Any
    is_required: bool


def document_schema(name: str, kind: type, **overrides: JsonSchema) -> JsonSchema:
    """Return the schema of a document: an object whose `schema` is `name`, with the members of `kind`.

    `kind` is a dataclass or a typed dictionary. A member that has a default in a dataclass may be absent from
    the document, and is never null there; objects inside it have all their members. `overrides` are the
    schemas of members whose types are less exact. Other members are accepted, as later versions may add some.
    """
    definitions: dict[str, JsonSchema] = {}
    members = {member: each for member, each in _members(kind).items() if member != "schema"}
    properties = {
        member: overrides.get(member) or _schema(_without_none(each), definitions)
        for member, each in members.items()
    }
    document: JsonSchema = {
        "$schema": DIALECT,
        "$id": f"urn:{name.replace('/', ':').replace('.', ':')}",
        "title": name,
        "description": _description(kind),
        "type": "object",
        "properties": {"schema": {"const": name}, **properties},
        "required": ["schema", *(member for member, each in members.items() if each.is_required)],
    }
    return {**document, "$defs": dict(sorted(definitions.items()))} if definitions else document


def _schema(kind: Any, definitions: dict[str, JsonSchema]) -> JsonSchema:
    """Return the schema of a type; the objects in it are added to `definitions`."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind in _SCALARS:
        return _SCALARS[kind]
    if origin is Literal:
        return {"enum": [*arguments]}
    if origin in (Union, types.UnionType):
        return _any_of([_schema(each, definitions) for each in arguments])
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _schema(arguments[1], definitions)}
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return {"type": "array", "items": _schema(arguments[0], definitions)}
    if kind.__name__ not in definitions:
        definitions[kind.__name__] = {}
        definitions[kind.__name__] = _object(kind, definitions)
    return {"$ref": f"#/$defs/{kind.__name__}"}


def _object(kind: type, definitions: dict[str, JsonSchema]) -> JsonSchema:
    """Return the schema of the objects of a type; members that only a subclass has may be absent."""
    members = _members(kind)
    derived: list[type] = kind.__subclasses__()
    known = {**members, **{name: each for each_kind in derived for name, each in _members(each_kind).items()}}
    properties = {name: _schema(each.type, definitions) for name, each in known.items()}
    return {
        "description": _description(kind),
        "type": "object",
        "properties": properties,
        "required": [*members],
    }


def _any_of(schemas: Sequence[JsonSchema]) -> JsonSchema:
    if all(schema.keys() == {"type"} for schema in schemas):
        return {"type": [schema["type"] for schema in schemas]}
    return {"anyOf": [*schemas]}


def _members(kind: type) -> dict[str, Member]:
    """Return the members of a type by name. Raises TypeError for a type that has none."""
    hints = get_type_hints(kind)
    if is_typeddict(kind) or hasattr(kind, "_fields"):
        return {name: Member(hint, is_required=True) for name, hint in hints.items()}
    if not is_dataclass(kind):
        raise TypeError(f"{kind!r} is not an object in JSON")
    return {
        each.name: Member(
            hints[each.name], is_required=each.default is MISSING and each.default_factory is MISSING
        )
        for each in fields(kind)
    }


def _without_none(member: Member) -> Any:
    """Return the type of a member of a document; one that may be absent is not null."""
    if member.is_required or get_origin(member.type) not in (Union, types.UnionType):
        return member.type
    kinds = [kind for kind in get_args(member.type) if kind is not type(None)]
    return Union[tuple(kinds)]  # noqa: UP007  # of a number of types that is not known here


def _description(kind: type) -> str:
    """Return the docstring of a type as paragraphs, each in one line."""
    paragraphs = (inspect.getdoc(kind) or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
