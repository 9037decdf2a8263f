"""Files that are not traces: what they are, and what reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple


class OtherKind(NamedTuple):
    """A kind of file that is no trace. `use` is what to do with it."""

    name: str
    use: str
    is_step_log: bool = False


_STEP_LOG_USE: Final = "tracesim diff and tracesim replay --expect read it"
_NO_USE: Final = "no command reads it"
_EXPORT: Final = "export what it has as JSONL or CSV"
_UNPACK: Final = "unpack it, and name the traces in it"

_SCHEMAS: Final = {
    "tracesim.step/": OtherKind("a log of steps", _STEP_LOG_USE, is_step_log=True),
    "tracesim.report/": OtherKind("a report of a replay", "tracesim compare reads it"),
    "tracesim.validate/": OtherKind("a report of tracesim validate", _NO_USE),
    "tracesim.inspect/": OtherKind("a report of tracesim inspect", _NO_USE),
    "tracesim.diff/": OtherKind("a report of tracesim diff", _NO_USE),
    "tracesim.compare/": OtherKind("a report of tracesim compare", _NO_USE),
}
"""By the start of the name in the field `schema`."""

_FIELDS: Final = {
    frozenset({"name", "requests", "steps"}): OtherKind("a golden case", _STEP_LOG_USE, is_step_log=True),
    frozenset({"traceEvents"}): OtherKind("a file for ui.perfetto.dev", "open it there"),
    frozenset({"model", "added_tokens"}): OtherKind("a tokenizer", "give it with --tokenizer"),
}
"""By fields that a record has, all of them."""

_STARTS: Final = {
    b"id,prompt_tokens,output_tokens,": OtherKind("the CSV of replay --save-requests", _NO_USE),
    b"[clock]": OtherKind("a clock", "give it with --clock to tracesim replay"),
    b"<!doctype html": OtherKind("a web page", "open it in a browser"),
    b"<html": OtherKind("a web page", "open it in a browser"),
    b"%pdf-": OtherKind("a PDF file", _EXPORT),
    b"sqlite format 3": OtherKind("a SQLite database", _EXPORT),
    b"arrow1": OtherKind("an Arrow file", _EXPORT),
    b"\x04\x22m\x18": OtherKind("a file compressed with LZ4", _UNPACK),
    b"7z\xbc\xaf\x27\x1c": OtherKind("a 7-Zip archive", _UNPACK),
}
"""By how the file begins, in lower case."""

_TAR_MARK: Final = slice(257, 262)  # where a tar archive has "ustar"
_TAR: Final = OtherKind("a tar archive", _UNPACK)
_BINARY: Final = OtherKind("a binary file", _EXPORT)
_LOOKED_AT: Final = 64  # bytes; no text has a null byte so early, but a damaged one may have some at its end


def other_kind(head: bytes, records: Sequence[Mapping[str, object]]) -> OtherKind | None:
    """Return what a file is that begins with `head` and these JSON objects; None if it may be a trace."""
    schemas = [str(record["schema"]) for record in records if "schema" in record]
    for schema, kind in _SCHEMAS.items():
        if any(each.startswith(schema) for each in schemas):
            return kind
    for fields, kind in _FIELDS.items():
        if any(fields <= record.keys() for record in records):
            return kind
    start = head[:_LOOKED_AT].lower()
    for text, kind in _STARTS.items():
        if start.startswith(text):
            return kind
    if head[_TAR_MARK] == b"ustar":
        return _TAR
    return _BINARY if b"\0" in start else None
