"""Every example of the documentation is run, and prints what its page shows."""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import subprocess
import sys
from itertools import zip_longest
from pathlib import Path

import pytest

from doc_pages import Block, Example, blocks, examples, pages
from paths import ROOT

ENVIRON = {**os.environ, "COLUMNS": "80", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
EXAMPLES = [example for page in pages() for example in examples(page)]
WITH_PYTHON = [page for page in pages() if any(block.language == "python" for block in blocks(page))]


def assert_prints(expected: str, actual: str) -> None:
    checker = doctest.OutputChecker()

    assert checker.check_output(expected, actual, doctest.ELLIPSIS), (
        f"expected:\n{expected}\nactual:\n{actual}"
    )


@pytest.mark.parametrize("example", EXAMPLES, ids=[example.place for example in EXAMPLES])
def test_a_command_prints_what_its_page_shows(example: Example, tmp_path: Path) -> None:
    if "tracesim calibrate" in example.command:
        pytest.importorskip("scipy")
    for each in ROOT.iterdir():
        (tmp_path / each.name).symlink_to(each)
    done = subprocess.run(
        example.command,
        shell=True,
        cwd=tmp_path,
        env=ENVIRON,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )

    assert_prints(example.output, done.stdout + done.stderr)


@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_prints_what_its_page_shows(
    page: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The blocks of a page share their names; a block of text right after one is its output."""
    for each in ROOT.iterdir():
        (tmp_path / each.name).symlink_to(each)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    of_page = list(blocks(page))
    for block, following in zip_longest(of_page, of_page[1:], fillvalue=Block("", 0, "")):
        if block.language == "python":
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(block.text, f"{page}:{block.line}", "exec"), names)

            assert_prints(following.text if following.language == "text" else "", printed.getvalue())


def test_the_trace_in_the_tutorial_is_the_sample() -> None:
    shown = next(block.text for block in blocks(ROOT / "docs" / "tutorial.md") if block.language == "json")

    assert shown == (ROOT / "sample_traces" / "milestone.jsonl").read_text(encoding="utf-8")
