"""The result of `tracesim diff` as a JSON document, `DIFF_SCHEMA`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

from tracesim.analysis.step_diff import Comparison, StepDiff
from tracesim_cli.terminal.json_output import json_document

DIFF_SCHEMA = "tracesim.diff/1"


class ComparedLog(TypedDict):
    """A step log; `case` is the name of a golden case, or null."""

    file: str
    case: str | None


class FirstDifference(TypedDict):
    """The first step that differs and the fields in which it does; a log without such a step has null."""

    step: int
    fields: Sequence[str]
    a: Mapping[str, object] | None
    b: Mapping[str, object] | None


class DiffDocument(TypedDict):
    """The result of `tracesim diff`.

    `steps` counts the steps of either log, `differing` those that differ or that only one log has, and
    `fields` in how many steps each compared field differs. `not_compared` are the other fields.
    """

    schema: str
    equal: bool
    a: ComparedLog
    b: ComparedLog
    steps: int
    differing: int
    only_in_a: int
    only_in_b: int
    fields: Mapping[str, int]
    not_compared: Sequence[str]
    first: FirstDifference | None


def format_json(comparison: Comparison, found: StepDiff) -> bytes:
    """Return the result of a comparison as a JSON document, `DIFF_SCHEMA`, with a newline at its end."""
    first = found.first
    document: DiffDocument = {
        "schema": DIFF_SCHEMA,
        "equal": not found.differing,
        "a": {"file": comparison.left.name, "case": comparison.left.case},
        "b": {"file": comparison.right.name, "case": comparison.right.case},
        "steps": found.steps,
        "differing": found.differing,
        "only_in_a": found.only_left,
        "only_in_b": found.only_right,
        "fields": {name: found.by_field[name] for name in comparison.fields},
        "not_compared": comparison.not_compared,
        "first": None,
    }
    if first:
        document["first"] = {
            "step": first.number,
            "fields": first.fields,
            "a": first.left.fields if first.left else None,
            "b": first.right.fields if first.right else None,
        }
    return json_document(document)
