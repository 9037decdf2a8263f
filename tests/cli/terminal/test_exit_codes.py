"""Errors become messages and exit codes, and name an option only where a setting is wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from command_line import run
from paths import MILESTONE
from tracesim import ConfigError
from tracesim_cli.main import main
from tracesim_cli.terminal.exit_codes import ExitCode, name_option, print_message


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ConfigError("is 0; must be an integer >= 1", setting="block_size"), "--block-size is 0; must be"),
        (ConfigError("is '5'; must be a number", setting="clock.base"), "--clock: base is '5'; must be"),
        (
            ConfigError("is '5'; must be", setting="clock: a.toml.base"),
            "--clock: a.toml.base is '5'; must be",
        ),
        (ConfigError("is not set", setting="sim_trace_path"), "sim_trace_path is not set"),
        (ConfigError("conv.jsonl is there already"), "conv.jsonl is there already"),
        (ConfigError("clock is wrong"), "clock is wrong"),
    ],
)
def test_an_error_names_the_option_of_its_setting(error: ConfigError, message: str) -> None:
    """The words of the message do not matter, and a setting that is not an option keeps its name."""
    assert name_option(error, {"block_size", "clock"}).startswith(message)


def test_a_file_that_exists_is_not_taken_for_an_option(tmp_path: Path) -> None:
    target = tmp_path / "conv.jsonl"
    target.touch()
    result = run("convert", MILESTONE, target)

    assert result.exit_code == 2
    assert result.stderr.startswith(f"tracesim: error: OUT is {target}, ")


class PanicException(BaseException):
    """As a library in Rust raises it."""


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (
            KeyError("x"),
            ExitCode.BUG,
            "error: this is a defect of tracesim, not of your input: KeyError",
        ),
        (RecursionError("deep\n\x1b[31m"), ExitCode.BUG, "RecursionError: deep \\x1b[31m"),
        (PanicException("p" * 999), ExitCode.BUG, "PanicException: ppp"),
        (MemoryError(), ExitCode.OUT_OF_MEMORY, "error: the memory is used up; replay fewer records"),
    ],
)
@pytest.mark.parametrize("with_traceback", [False, True])
def test_any_exception_ends_in_a_sentence(
    error: BaseException,
    code: ExitCode,
    message: str,
    with_traceback: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("tracesim_cli.commands.replay_loading.make_engine", fail)
    monkeypatch.setattr("tracesim_cli.main.end_on_signals", lambda: None)
    monkeypatch.setattr(sys, "argv", ["tracesim", "replay", str(MILESTONE)])
    monkeypatch.setenv("TRACESIM_TRACEBACK", "1" if with_traceback else "")
    with pytest.raises(SystemExit) as end:
        main()
    shown = capsys.readouterr().err

    assert end.value.code == code
    assert message in shown
    assert ("Traceback" in shown) == with_traceback
    assert with_traceback or len(shown.splitlines()) <= 2


def test_a_line_break_in_a_name_begins_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_message("error: a\nb: no such file", "a\r\x1b[2K\u202e\\n")

    assert (
        capsys.readouterr().err == "tracesim: error: a\\nb: no such file\ntracesim: a\\r\\x1b[2K\\u202e\\n\n"
    )
