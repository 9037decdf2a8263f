"""The help of the commands: complete, within the width, and true about the table of steps."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from typing import Any

import pytest
from typer.main import get_command

from command_line import run
from steps import a_step_record
from tracesim.engine.step_records import CachedTokens, EmittedToken, ScheduledTokens
from tracesim_cli.main import COMMANDS, app
from tracesim_cli.terminal.lines import plain_text
from tracesim_cli.views.help_view import HelpPage, Panel, format_help, help_page
from tracesim_cli.views.step_table import LEGEND, StepTable


def page_of(name: str) -> HelpPage:
    group: Any = get_command(app)
    command = group.get_command(None, name)
    return help_page(command, command.make_context(name, [], resilient_parsing=True))


@pytest.mark.parametrize("boxed", [True, False])
@pytest.mark.parametrize("width", [60, 80, 120, 200])
@pytest.mark.parametrize("name", COMMANDS)
def test_no_line_is_wider_than_the_terminal(name: str, width: int, boxed: bool) -> None:
    lines = [plain_text(line) for line in format_help(page_of(name), width, boxed=boxed)]

    assert [line for line in lines if len(line) > width] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_every_option_an_example_and_the_exit_codes(name: str) -> None:
    result = run(name, "--help")
    group: Any = get_command(app)
    options = [each.opts[0] for each in group.get_command(None, name).params if each.opts[0].startswith("--")]

    assert result.exit_code == 0
    assert [each for each in options if each not in result.stdout.replace("--[no-]", "--")] == []
    assert f"\nExample:\n  tracesim {name}" in result.stdout
    assert "\nExit codes:\n  0  " in result.stdout


def test_the_options_of_replay_are_in_panels() -> None:
    titles = re.findall(r"^(\S.*):$", run("replay", "--help").stdout, re.MULTILINE)

    panels = ["Arguments", "Input", "Response", "Engine", "Replicas", "Time", "Output", "Comparison"]
    assert titles[:8] == panels


def test_the_summary_of_a_command_is_never_cut() -> None:
    shown = " ".join(run("--help").stdout.split())
    group: Any = get_command(app)

    for name in COMMANDS:
        summary = group.get_command(None, name).help.split("\n\n")[0]
        assert f"{name} {' '.join(summary.split())}" in shown


def test_a_description_is_beside_a_short_term_and_below_a_long_one() -> None:
    rows = [("--size N", "Number of blocks. [default: 16]"), ("--a-very-long-option-name FILE", "Write it.")]
    page = HelpPage("tool [OPTIONS]", "Do it.", [[Panel("Options", rows)]])

    assert [plain_text(line) for line in format_help(page, 40, boxed=True)] == [
        "Usage: tool [OPTIONS]",
        "",
        "Do it.",
        "",
        "╭─ Options ────────────────────────────╮",
        "│ --size N  Number of blocks.          │",
        "│           [default: 16]              │",
        "│ --a-very-long-option-name FILE       │",
        "│           Write it.                  │",
        "╰──────────────────────────────────────╯",
    ]


def test_the_legend_has_the_signs_of_the_table() -> None:
    signs = [line.split("  ")[0] for line in LEGEND.splitlines()[1:]]
    prefill = [ScheduledTokens("r1", computed, 8) for computed in (0, 16)]
    rows = [
        a_step_record(prefill=prefill, emitted=[EmittedToken("r1", 64, "a")]),
        a_step_record(prefill=prefill[1:], cached=[CachedTokens("r1", 16)]),
        a_step_record(decode=[ScheduledTokens("r1", 9, 1)], discarded=["r1"]),
    ]
    shown = "  ".join(plain_text(StepTable(200).row_fragments(row)) for row in rows)
    narrow = plain_text(StepTable(40).row_fragments(a_step_record(prefill=prefill[:1] * 9)))

    assert [sign for sign in signs if sign not in shown] == ["+1"]
    assert narrow.endswith("r1:8 +3")


def test_help_on_a_terminal_is_boxed_and_in_colour() -> None:
    """It is as wide as the terminal is."""
    controller, terminal = pty.openpty()
    plain = {"CI", "NO_COLOR"}
    environ = {name: value for name, value in os.environ.items() if name not in plain}
    environ |= {"TERM": "xterm", "COLUMNS": "70"}
    command = [sys.executable, "-m", "tracesim", "diff", "--help"]
    with subprocess.Popen(command, stdout=terminal, env=environ) as process:
        os.close(terminal)
        output = b""
        try:
            while piece := os.read(controller, 65536):
                output += piece
        except OSError:  # Linux: the other side is closed
            pass
    os.close(controller)
    shown = output.decode()

    assert process.returncode == 0
    assert "\x1b[1;36m--ignore" in shown
    assert max(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) for line in shown.splitlines()) == 70
