r"""Untrusted text made safe and unambiguous for a terminal."""

from __future__ import annotations

from unicodedata import category

_MARKS = frozenset(["Mn", "Mc", "Me"])
_MOST_MARKS = 4
_FIRST_MARK = "\u0300"
_SHORT_ESCAPES = {"\n": r"\n", "\t": r"\t", "\r": r"\r", "\\": r"\\"}


def visible(text: str) -> str:
    r"""`text` with everything escaped that does not simply show: no two texts look the same.

    Newline, tab and carriage return become \n, \t and \r, a backslash is doubled, and what is not printable
    (control characters, direction overrides, zero-width characters, surrogates) becomes \xNN, \uNNNN or
    \UNNNNNNNN. So does a combining mark without a base or after four on one base: it could paint over rows.
    """
    if text.isprintable() and "\\" not in text and not _may_have_marks(text):
        return text
    shown: list[str] = []
    marks = _MOST_MARKS  # at the start there is no base
    for character in text:
        is_mark = character >= _FIRST_MARK and category(character) in _MARKS
        if (is_mark and marks >= _MOST_MARKS) or not character.isprintable() or character == "\\":
            shown.append(_escaped(character))
            marks = _MOST_MARKS  # an escape is no base either
        else:
            shown.append(character)
            marks = marks + 1 if is_mark else 0
    return "".join(shown)


def visible_message(message: str) -> str:
    """A message, whose quotations are escaped already: like `visible`, but backslashes stay as they are."""
    return "\\".join(visible(part) for part in message.split("\\"))


def _may_have_marks(text: str) -> bool:
    return not text.isascii() and max(text) >= _FIRST_MARK and not _MARKS.isdisjoint(map(category, text))


def _escaped(character: str) -> str:
    code = ord(character)
    if character in _SHORT_ESCAPES:
        return _SHORT_ESCAPES[character]
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
