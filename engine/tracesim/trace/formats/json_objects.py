"""JSON objects from a file: one per line, or the items of one document."""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import Any, NamedTuple

from tracesim.errors import TraceProblem
from tracesim.trace.formats.json_items import json_items
from tracesim.trace.formats.parquet import is_parquet, parquet_rows
from tracesim.trace.input_file import InputFile
from tracesim.trace.json_object import read_object
from tracesim.trace.problems import Finding


class JSONObject(NamedTuple):
    """The fields of one object, None if there is none, and what is wrong with it.

    `line` counts from 1: the line of the file or, in a document, the item.
    """

    line: int
    fields: dict[str, Any] | None
    findings: list[Finding]


def is_document(head: bytes) -> bool:
    """Whether a file that begins with `head` is not JSONL, but an array, objects over lines, or Parquet."""
    if is_parquet(head):
        return True
    head = head.lstrip()
    first, newline, rest = head.partition(b"\n")
    if head.startswith(b"["):
        is_of_objects = head[1:].lstrip()[:1] in (b"{", b"") or b"{" in first
        return is_of_objects or first.strip() == b"[" or head[1:].strip() == b"]"
    is_incomplete = first.startswith(b"{") and not first.rstrip().endswith(b"}")
    return bool(newline) and is_incomplete and not rest.lstrip().startswith(b"{")


def json_objects(file: InputFile) -> Iterator[JSONObject | TraceProblem]:
    """Yield each object of a file, whether it is JSONL, an array, objects over several lines, or Parquet."""
    if is_document(file.head):
        yield from document_objects(file)
        return
    for line in file.lines():
        if isinstance(line, TraceProblem):
            yield line
            continue
        fields, findings = read_object(line)
        if fields is not None or findings:
            yield JSONObject(file.line_number, fields, findings)


def document_objects(file: InputFile, wanted: Set[str] = frozenset()) -> Iterator[JSONObject | TraceProblem]:
    """Yield each item of an array, each of objects one after another, or each row; `line` is its number.

    An object may be over the limit of an item if only its `wanted` members are needed.
    """
    if is_parquet(file.head):
        for row in parquet_rows(file):
            yield row if isinstance(row, TraceProblem) else JSONObject(file.line_number, row, [])
        return
    number = 0
    for item in json_items(file, wanted):
        if isinstance(item, TraceProblem):
            yield item
        else:
            number += 1
            yield JSONObject(number, *item)
