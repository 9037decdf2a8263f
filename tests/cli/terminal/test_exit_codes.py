"""Errors become messages and exit codes, and name an option only where a setting is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from command_line import run
from paths import MILESTONE
from tracesim import ConfigError
from tracesim_cli.terminal.exit_codes import name_option


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
