"""Rows as CSV that is safe to open in a spreadsheet."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

_FORMULA_STARTS: Final = (*"=+-@", *"\uff1d\uff0b\uff0d\uff20", "\t", "\r", "\n")  # also in full width
_CONTROLS: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_NEEDS_QUOTES: Final = re.compile('[",\r\n]')


def to_csv(rows: Iterable[Sequence[object]]) -> bytes:
    """Return the rows as CSV in UTF-8; None is an empty cell.

    A text that a spreadsheet would run as a formula, as it begins with =, +, -, @ (also in full width), a tab
    or a line break, has an apostrophe before it. Other control characters are written as escapes.
    """
    return "".join([f"{','.join(map(_cell, row))}\n" for row in rows]).encode()


def _cell(value: object) -> str:
    """Return a value as a cell of CSV; `csv` of Python does not quote a carriage return alone."""
    if value is None:
        return ""
    if isinstance(value, int | float):
        return str(value)
    text = _CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", str(value))
    if text.startswith(_FORMULA_STARTS):
        text = f"'{text}"
    quoted = text.replace('"', '""')
    return f'"{quoted}"' if _NEEDS_QUOTES.search(text) else text
