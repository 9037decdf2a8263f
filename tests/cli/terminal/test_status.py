"""The line of progress: on a terminal, and only while reading takes long."""

from __future__ import annotations

import io
from itertools import count

import pytest

from tracesim_cli.terminal.status import status_line, with_status


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def terminal_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "CI", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


def drawn(seconds_each: float, stream: io.StringIO) -> list[str]:
    """Return the lines that were drawn while four records were read."""
    times = count()
    records = with_status("abcd", "reading x\x1b.jsonl", stream, clock=lambda: next(times) * seconds_each)

    assert list(records) == list("abcd")
    return stream.getvalue().split("\r\x1b[2K")[1:]


def test_slow_reading_has_a_line_that_is_removed_at_the_end() -> None:
    assert drawn(0.4, Terminal()) == [
        "reading x\\x1b.jsonl ... 2 records",
        "reading x\\x1b.jsonl ... 3 records",
        "reading x\\x1b.jsonl ... 4 records",
        "",
    ]


def test_quick_reading_has_no_line() -> None:
    assert drawn(0.01, Terminal()) == []


@pytest.mark.parametrize("name", ["NO_COLOR", "CI"])
def test_only_a_terminal_that_may_be_redrawn_has_a_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert drawn(0.4, io.StringIO()) == []
    monkeypatch.setenv(name, "1")
    assert drawn(0.4, Terminal()) == []


def test_drawing_has_a_line_at_once_that_is_removed_at_the_end() -> None:
    stream = Terminal()
    with status_line("drawing x\x1b", stream):
        assert stream.getvalue() == "\r\x1b[2Kdrawing x\\x1b ..."

    assert stream.getvalue().endswith("...\r\x1b[2K")


def test_drawing_has_no_line_where_it_is_not_wanted_or_there_is_no_terminal() -> None:
    terminal, file = Terminal(), io.StringIO()
    with status_line("drawing", terminal, is_shown=False), status_line("drawing", file):
        pass

    assert (terminal.getvalue(), file.getvalue()) == ("", "")
