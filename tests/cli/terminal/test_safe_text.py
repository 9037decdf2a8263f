"""`visible`: no text of a trace can move the cursor, and no two texts look equal."""

from __future__ import annotations

import re
from unicodedata import category

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tracesim_cli.terminal.safe_text import visible

ESCAPE = re.compile(r"\\(?:([\\nrt])|x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8}))")
any_text = st.text(st.characters(codec=None) | st.sampled_from("\\nxuU0\u0301\u0489\u200d\ud800\n"))


def unescaped(shown: str) -> str:
    short = {"\\": "\\", "n": "\n", "r": "\r", "t": "\t"}
    return ESCAPE.sub(lambda m: short[m[1]] if m[1] else chr(int(m[2] or m[3] or m[4], 16)), shown)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain text", "plain text"),
        ("你好, naïve 👩", "你好, naïve 👩"),
        ("a\nb\tc\rd", r"a\nb\tc\rd"),
        (r"C:\new", r"C:\\new"),
        ("\x1b[31mred\x07\x7f\x9b", r"\x1b[31mred\x07\x7f\x9b"),
        ("\u202eevil\u2066\u200b\u2028", r"\u202eevil\u2066\u200b\u2028"),
        ("\ud800\ue000\U000e0001", r"\ud800\ue000\U000e0001"),
        ("e\u0301 न\u093f", "e\u0301 न\u093f"),
        ("\u0301e", r"\u0301e"),
        ("\n\u0301", r"\n\u0301"),
        ("z" + "\u0301" * 6, "z" + "\u0301" * 4 + r"\u0301\u0301"),
    ],
)
def test_characters_that_are_not_plainly_visible_are_escaped(text: str, expected: str) -> None:
    assert expected == visible(text)


@given(any_text)
def test_the_result_is_always_printable(text: str) -> None:
    assert visible(text).isprintable()


@given(any_text)
@example("\\n\n")
def test_no_two_texts_look_equal(text: str) -> None:
    assert text == unescaped(visible(text))


@given(st.text("a\u0301\u0489\u093e\n\\", max_size=30))
def test_marks_never_pile_up(text: str) -> None:
    kinds = "".join("m" if category(character).startswith("M") else "b" for character in visible(text))

    assert not kinds.startswith("m")
    assert "mmmmm" not in kinds
