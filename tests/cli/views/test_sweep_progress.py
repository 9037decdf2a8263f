"""The progress of a sweep: a bar on a terminal, and what is printed about the file of results."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from sweep_cases import some_points
from tracesim.sweep.replay_point import Outcome, Replay
from tracesim.sweep.results_file import Result
from tracesim.sweep.run import Progress
from tracesim_cli.views.sweep_progress import SweepProgress

RESULT = Result(Replay(some_points(rate=[1])[0]), Outcome({}), "0")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def a_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make standard error a terminal; in a test itself, as pytest captures each phase anew."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    for name in ("NO_COLOR", "CI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    return stream


def test_a_terminal_shows_how_much_is_done_and_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = a_terminal(monkeypatch)
    with SweepProgress("points", None, quiet=False) as progress:
        progress.on_result(RESULT, Progress(3, 12, 0, 3))

    assert "points" in terminal.getvalue()
    assert "3/12" in terminal.getvalue()
    assert "left" in terminal.getvalue()


def test_a_quiet_sweep_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = a_terminal(monkeypatch)
    with SweepProgress("points", Path("results.jsonl"), quiet=True) as progress:
        progress.on_result(RESULT, Progress(3, 12, 0, 3))

    assert terminal.getvalue() == ""


def test_other_streams_get_what_was_in_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    with SweepProgress("points", Path("results.jsonl"), quiet=False) as progress:
        progress.on_result(RESULT, Progress(3, 3, 1, 2))

    assert capsys.readouterr().err == "tracesim: 1 of 3 results were in results.jsonl already\n"
