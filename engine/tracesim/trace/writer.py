"""Records back to the project's own JSONL."""

from __future__ import annotations

import orjson

from tracesim.trace.record import TraceRecord
from tracesim.trace.schema import CHECKS


def record_to_json(record: TraceRecord) -> bytes:
    """A line with every field that the record has, `arrival_step` where it is not 0.

    What reads it gets the same record, but for its file and line.
    """
    fields = {name: getattr(record, name) for name in CHECKS}
    fields["arrival_step"] = record.arrival_step or None
    given = {name: value for name, value in fields.items() if value is not None}
    return orjson.dumps(given, option=orjson.OPT_APPEND_NEWLINE)
