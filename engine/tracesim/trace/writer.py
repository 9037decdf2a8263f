"""Records written as the project's own JSONL."""

from __future__ import annotations

import orjson

from tracesim.trace.record import TraceRecord
from tracesim.trace.schema import CHECKS


def record_to_json(record: TraceRecord) -> bytes:
    """Return a record as one line of JSON with every field that it has; an `arrival_step` of 0 is omitted.

    Reading the line gives an equal record, except for its file and line.
    """
    fields = {name: getattr(record, name) for name in CHECKS}
    fields["arrival_step"] = record.arrival_step or None
    given = {name: value for name, value in fields.items() if value is not None}
    return orjson.dumps(given, option=orjson.OPT_APPEND_NEWLINE)
