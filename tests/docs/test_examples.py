"""Every example in README.md is run, and prints what the README says."""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from paths import ROOT
from tracesim_cli.main import app

README = (ROOT / "README.md").read_text(encoding="utf-8")
ENVIRON = {**os.environ, "COLUMNS": "80", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def examples() -> list[tuple[str, str]]:
    """Each command in a console block, and what is to come out of it."""
    text = "".join(blocks("console"))
    return [
        (command, output)
        for command, output in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE)
    ]


def assert_prints(expected: str, actual: str) -> None:
    checker = doctest.OutputChecker()
    assert checker.check_output(expected, actual, doctest.ELLIPSIS), (
        f"expected:\n{expected}\nactual:\n{actual}"
    )


@pytest.mark.parametrize(("command", "output"), examples(), ids=[command for command, _ in examples()])
def test_a_command_prints_what_the_readme_says(command: str, output: str, tmp_path: Path) -> None:
    for each in ROOT.iterdir():
        (tmp_path / each.name).symlink_to(each)
    done = subprocess.run(
        command,
        shell=True,
        cwd=tmp_path,
        env=ENVIRON,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )

    assert_prints(output, done.stdout + done.stderr)


def test_the_library_example_prints_what_the_readme_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec("\n".join(blocks("python")), {})

    assert "".join(blocks("text")) == printed.getvalue()


def test_the_trace_in_the_readme_is_the_sample() -> None:
    assert blocks("json")[0] == (ROOT / "sample_traces" / "milestone.jsonl").read_text(encoding="utf-8")


def commands() -> dict[str, Any]:
    group: Any = get_command(app)
    return {name: group.get_command(None, name) for name in group.list_commands(None)}


def test_every_command_has_help_and_is_in_the_readme() -> None:
    for name, command in commands().items():
        assert command.help
        assert f"## tracesim {name}\n" in README


def test_every_option_has_help() -> None:
    """A note in brackets says something: an engine that knows the setting, a default."""
    for command in commands().values():
        for option in command.params:
            assert option.help, option.name
            for note in re.findall(r"\[(.*?)\]", option.help):
                assert re.fullmatch(r"(\w[^;]* only; )?default: \S.*", note), option.name


def test_the_exit_codes_are_in_the_help() -> None:
    command = commands()["replay"]

    assert "Exit codes: 0 done" in command.epilog
