"""`tracesim demo` as a user meets it."""

from __future__ import annotations

import shlex

from command_line import run
from paths import SAMPLES
from tracesim_cli.commands.demo import SAMPLE


def test_the_demo_runs_the_command_that_it_prints() -> None:
    result = run("demo")
    command, _, *output = result.stdout.splitlines()

    assert (result.exit_code, result.stderr) == (0, "")
    program, *arguments = shlex.split(command.removeprefix("$ "))
    assert program == "tracesim"
    assert run(*arguments).stdout.splitlines() == output


def test_the_sample_of_the_demo_is_the_tour() -> None:
    assert (SAMPLES / "tour.jsonl").read_text() == SAMPLE.read_text()
