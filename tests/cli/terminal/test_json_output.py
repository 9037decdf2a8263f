"""JSON that is always written, and that does nothing on a terminal."""

from __future__ import annotations

import io
import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracesim_cli.terminal.json_output import json_document, stdout_for_json, to_ascii


class Stream(io.TextIOWrapper):
    """Standard output that is a terminal or not."""

    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__(io.BytesIO())
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


@given(st.text())
def test_ascii_is_the_same_json(text: str) -> None:
    written = to_ascii(json_document({text: [text]}))

    assert json.loads(written) == {text: [text]}
    assert written.isascii()
    assert b"\x7f" not in written


def test_bytes_of_a_name_that_are_not_unicode_are_spelled_out() -> None:
    assert json.loads(json_document({"file": "a\udcff", "\ud800": ("\udfff", 1)})) == {
        "file": "a\\udcff",
        "\\ud800": ["\\udfff", 1],
    }


@pytest.mark.parametrize(
    ("is_terminal", "expected"),
    [(True, '"\\u009b\\u202e\\u007f\\u6f22\\ud83d\\ude00"\n'), (False, '"\x9b\u202e\x7f\u6f22\U0001f600"\n')],
)
def test_a_terminal_gets_ascii(is_terminal: bool, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Stream(is_terminal=is_terminal)
    monkeypatch.setattr(sys, "stdout", stream)
    stdout_for_json()(json_document("\x9b\u202e\x7f\u6f22\U0001f600"))

    assert stream.buffer.getvalue().decode() == expected  # type: ignore[attr-defined]
