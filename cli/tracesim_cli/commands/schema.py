"""`tracesim schema`: the JSON Schemas of what tracesim reads and writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Literal, NamedTuple

import typer

from tracesim.documents import JsonSchema, document_schema
from tracesim_cli.terminal.exit_codes import with_exit_codes

EPILOG = """\
Example:
tracesim schema trace > trace.schema.json

Exit codes:
0  done
2  wrong usage"""

SchemaName = Literal["trace", "step", "report", "compare", "diff", "inspect", "validate", "kv-blocks"]


class _Described(NamedTuple):
    """What a schema is of, in words, and what makes it."""

    summary: str
    make: Callable[[], JsonSchema]


def _trace() -> JsonSchema:
    from tracesim.trace.json_schema import record_schema

    return record_schema("tracesim.trace/1")


def _step() -> JsonSchema:
    from tracesim.engine.step_json import STEP_SCHEMA
    from tracesim.engine.step_records import StepRecord

    return document_schema(STEP_SCHEMA, StepRecord)


def _report() -> JsonSchema:
    from tracesim.analysis.report import REPORT_SCHEMA, RunReport
    from tracesim.config import settings_schema

    profile = {"type": "object", "properties": {"name": {"type": "string"}, "sha256": {"type": "string"}}}
    config = settings_schema()
    config["properties"]["profiles"] = {"type": "array", "items": profile}
    return document_schema(REPORT_SCHEMA, RunReport, config=config)


def _compare() -> JsonSchema:
    from tracesim_cli.views.compare_document import COMPARE_SCHEMA, CompareDocument

    return document_schema(COMPARE_SCHEMA, CompareDocument)


def _diff() -> JsonSchema:
    from tracesim_cli.views.diff_document import DIFF_SCHEMA, DiffDocument

    return document_schema(DIFF_SCHEMA, DiffDocument)


def _inspect() -> JsonSchema:
    from tracesim_cli.views.inspect_document import INSPECT_SCHEMA, InspectDocument

    return document_schema(INSPECT_SCHEMA, InspectDocument)


def _validate() -> JsonSchema:
    from tracesim_cli.views.validation.as_json import VALIDATE_SCHEMA, ValidationDocument

    return document_schema(VALIDATE_SCHEMA, ValidationDocument)


def _kv_blocks() -> JsonSchema:
    from tracesim_cli.views.sizing_document import KV_BLOCKS_SCHEMA, KvBlocksDocument

    return document_schema(KV_BLOCKS_SCHEMA, KvBlocksDocument)


SCHEMAS: dict[SchemaName, _Described] = {
    "trace": _Described("a line of a trace", _trace),
    "step": _Described("a line of a step log: replay --format jsonl, --save-steps", _step),
    "report": _Described("the report of a replay: replay --format json, --save-report", _report),
    "compare": _Described("the result of compare --format json", _compare),
    "diff": _Described("the result of diff --format json", _diff),
    "inspect": _Described("the figures of inspect --format json", _inspect),
    "validate": _Described("the report of validate --format json", _validate),
    "kv-blocks": _Described("the calculation of kv-blocks --format json", _kv_blocks),
}


@with_exit_codes
def schema(
    name: Annotated[
        SchemaName | None,
        typer.Argument(metavar="[NAME]", help="Schema to print; all are listed without it."),
    ] = None,
) -> None:
    """Print a JSON Schema (2020-12) of what tracesim reads or writes, or list the schemas."""
    if name is not None:
        typer.echo(json.dumps(SCHEMAS[name].make(), indent=2))
        return
    for each, described in SCHEMAS.items():
        typer.echo(f"{each:10}{described.summary}")
