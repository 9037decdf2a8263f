"""The pages of the documentation are complete, and their links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import tracesim
from doc_pages import GENERATED, anchors, examples, links, pages
from paths import ROOT
from tracesim_cli.main import app


def commands() -> dict[str, Any]:
    group: Any = get_command(app)
    return {name: group.get_command(None, name) for name in group.list_commands(None)}


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve(page: Path) -> None:
    broken = []
    for path, anchor in links(page):
        target = (page.parent / path).resolve() if path else page
        if target in GENERATED:
            continue
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(f"{path}#{anchor}")

    assert broken == []


def test_every_page_is_in_the_navigation() -> None:
    listed = set(re.findall(r'= "([\w/-]+\.md)"', (ROOT / "zensical.toml").read_text(encoding="utf-8")))
    written = {
        str(path.relative_to(ROOT / "docs")) for path in [*pages()[2:], *GENERATED] if path.suffix == ".md"
    }

    assert listed == written


def test_the_front_pages_are_short() -> None:
    for name in ("README.md", "README.zh.md"):
        assert len((ROOT / name).read_text(encoding="utf-8").splitlines()) <= 150


def test_the_chinese_front_page_has_the_examples_and_links_of_the_english_one() -> None:
    english, chinese = ROOT / "README.md", ROOT / "README.zh.md"

    assert [each[1:] for each in examples(chinese)] == [each[1:] for each in examples(english)]
    assert {*links(chinese)} ^ {*links(english)} == {("README.md", ""), ("README.zh.md", "")}


def test_every_command_has_help_and_an_example() -> None:
    shown = [example.command for page in pages() for example in examples(page)]
    for name, command in commands().items():
        assert command.help
        assert any(f"tracesim {name} " in each for each in shown), name


def test_every_option_has_help() -> None:
    """A note in brackets is an engine that knows the setting, or a default."""
    for command in commands().values():
        for option in command.params:
            assert option.help, option.name
            for note in re.findall(r"\[(.*?)\]", option.help):
                assert re.fullmatch(r"(\w[^;]* only; )?default: \S.*", note), option.name


def test_the_api_page_has_every_public_name() -> None:
    page = (ROOT / "docs" / "reference" / "api.md").read_text(encoding="utf-8")

    assert sorted(re.findall(r"^::: tracesim\.(\w+)$", page, re.MULTILINE)) == tracesim.__all__


def test_the_exit_codes_are_in_the_help() -> None:
    assert "Exit codes:\n0    the replay is complete\n1    " in commands()["replay"].epilog


def test_the_command_line_page_has_every_option(tmp_path: Path) -> None:
    page = tmp_path / "command-line.md"
    subprocess.run([sys.executable, ROOT / "tools" / "make_cli_reference.py", page], check=True)
    text = page.read_text(encoding="utf-8")

    for name, command in commands().items():
        section = text.partition(f"## tracesim {name}\n")[2].partition("\n## ")[0]
        missing = [option.opts[0] for option in command.params if f"{option.opts[0]}" not in section]
        assert [option for option in missing if option.startswith("-") and option != "--help"] == []
