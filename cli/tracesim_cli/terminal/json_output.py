"""JSON on standard output: it can always be written, and on a terminal it is ASCII."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any

import orjson

_NOT_PLAIN = re.compile("[\x7f-\U0010ffff]")


def json_document(document: Any) -> bytes:
    """Return a document of dictionaries, lists and plain values as indented JSON, with a newline at its end.

    Bytes of a file name that are not UTF-8 are written as `\\udcff`, with the backslash.
    """
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    try:
        return orjson.dumps(document, option=options)
    except orjson.JSONEncodeError:  # half surrogates are the only thing in a document that it cannot write
        return orjson.dumps(_without_surrogates(document), option=options)


def ascii_document(document: Any) -> str:
    """Return a document as indented JSON in ASCII, without a newline at its end."""
    return to_ascii(json_document(document)).decode().rstrip("\n")


def stdout_for_json() -> Callable[[bytes], object]:
    """Return the function that writes JSON to standard output.

    On a terminal everything but ASCII becomes `\\uNNNN`, which is the same JSON: control characters,
    direction overrides and invisible characters of a trace do nothing there.
    """
    write = sys.stdout.buffer.write
    return (lambda text: write(to_ascii(text))) if sys.stdout.isatty() else write


def to_ascii(text: bytes) -> bytes:
    """Return JSON with every character that is not plain ASCII escaped."""
    return _NOT_PLAIN.sub(_escaped, text.decode()).encode()


def _escaped(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_surrogates(item) for item in value]
    return value
