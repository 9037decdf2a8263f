from __future__ import annotations

import io
from itertools import count

import pytest

from tracesim_cli.terminal.status import with_status


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def a_willing_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "CI", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


def drawn(seconds_each: float, stream: io.StringIO) -> list[str]:
    """What was drawn while four records were read, one line at a time."""
    times = count()
    records = with_status("abcd", "reading x\x1b.jsonl", stream, clock=lambda: next(times) * seconds_each)

    assert list(records) == list("abcd")
    return stream.getvalue().split("\r\x1b[2K")[1:]


def test_a_slow_reading_is_told_and_leaves_nothing_behind() -> None:
    assert drawn(0.4, Terminal()) == [
        "reading x\\x1b.jsonl ... 2 records",
        "reading x\\x1b.jsonl ... 3 records",
        "reading x\\x1b.jsonl ... 4 records",
        "",
    ]


def test_a_quick_reading_is_not_worth_a_word() -> None:
    assert drawn(0.01, Terminal()) == []


@pytest.mark.parametrize("name", ["NO_COLOR", "CI"])
def test_only_a_willing_terminal_is_told(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert drawn(0.4, io.StringIO()) == []
    monkeypatch.setenv(name, "1")
    assert drawn(0.4, Terminal()) == []
