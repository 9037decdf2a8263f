"""The outputs of a replay."""

from __future__ import annotations

import io
import sys

import pytest

from factories import a_record, an_engine
from tracesim import EngineArgs
from tracesim_cli.commands.replay_sinks import RunFigures, SummarySink
from tracesim_cli.views.run_view import RunSettings


@pytest.mark.parametrize("is_terminal", [False, True])
def test_the_summary_has_the_speed_only_on_a_terminal(
    is_terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal runs write equal text to a pipe or a file."""
    engine = an_engine([a_record("a")])
    engine.run()
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: is_terminal)
    monkeypatch.setattr(sys, "stdout", stream)
    SummarySink("summary").finish(RunFigures(engine, RunSettings(EngineArgs(), [], ["t.jsonl"]), None))

    assert is_terminal == ("steps/s" in stream.getvalue())
