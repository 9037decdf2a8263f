r"""Untrusted text, escaped so that it is safe and unambiguous on a terminal."""

from __future__ import annotations

from unicodedata import category

_MARKS = frozenset(["Mn", "Mc", "Me"])
_MAX_MARKS = 4
_FIRST_MARK = "\u0300"
_SHORT_ESCAPES = {"\n": r"\n", "\t": r"\t", "\r": r"\r", "\\": r"\\"}


def visible(text: str) -> str:
    r"""Return `text` with everything escaped that is not plainly visible, so that no two texts look equal.

    Newline, tab and carriage return become \n, \t and \r, and a backslash is doubled. Characters that are not
    printable (control characters, direction overrides, zero-width characters, surrogates) become \xNN, \uNNNN
    or \UNNNNNNNN, and so does a combining mark that has no base or is the fifth on one: it could draw over
    other rows.
    """
    has_marks = not text.isascii() and max(text) >= _FIRST_MARK and not _MARKS.isdisjoint(map(category, text))
    if text.isprintable() and "\\" not in text and not has_marks:
        return text
    shown: list[str] = []
    marks = _MAX_MARKS  # at the start there is no base
    for character in text:
        is_mark = character >= _FIRST_MARK and category(character) in _MARKS
        if (is_mark and marks >= _MAX_MARKS) or not character.isprintable() or character == "\\":
            shown.append(_escaped(character))
            marks = _MAX_MARKS  # an escape is not a base either
        else:
            shown.append(character)
            marks = marks + 1 if is_mark else 0
    return "".join(shown)


def visible_message(message: str) -> str:
    """Return a message, whose quotations are escaped already, as `visible` does but with its backslashes."""
    return "\\".join(visible(part) for part in message.split("\\"))


def _escaped(character: str) -> str:
    code = ord(character)
    if character in _SHORT_ESCAPES:
        return _SHORT_ESCAPES[character]
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
