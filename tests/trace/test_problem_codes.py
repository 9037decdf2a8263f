"""Every code that the reader uses is declared in `problems`, and its section in the reference is true."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from doc_pages import blocks
from paths import ROOT
from trace_files import read
from tracesim.trace.problems import ERRORS, WARNINGS

PAGE = ROOT / "docs" / "reference" / "problems.md"
CODES = {**ERRORS, **WARNINGS}
MAKERS = {"Finding", "problem", "_new_problem", "TraceProblem"}


def used_codes() -> set[str]:
    """The codes in the source of the reader and of commands: of findings, problems, faults, and `code`."""
    found: set[str] = set()
    folders = [ROOT / "engine" / "tracesim" / "trace", ROOT / "cli" / "tracesim_cli" / "commands"]
    for path in [path for folder in folders for path in folder.rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            found.update(_codes_of(node))
    return found


def _codes_of(node: ast.AST) -> Iterator[str]:
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in MAKERS
        and node.args
    ):
        yield from _strings(node.args[0])
    elif isinstance(node, ast.Assign) and [ast.unparse(each) for each in node.targets] == ["code"]:
        yield from _strings(node.value)
    elif isinstance(node, ast.Tuple) and len(node.elts) == 2:  # a fault: a code and a message
        yield from (text for text in _strings(node.elts[0]) if text in CODES)
    elif isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple) and len(node.value.elts) == 2:
        yield from _strings(node.value.elts[0])


def _strings(node: ast.expr) -> Iterator[str]:
    """The strings that an expression may be: a constant, either side of a condition, a tuple's first item."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from _strings(node.body)
        yield from _strings(node.orelse)
    elif isinstance(node, ast.Tuple):
        yield from _strings(node.elts[0])


def section(code: str) -> str:
    return PAGE.read_text(encoding="utf-8").partition(f"\n### {code}\n")[2].partition("\n##")[0].lstrip("\n")


def test_every_code_is_declared() -> None:
    """A new code needs a line in ERRORS or WARNINGS of `engine/tracesim/trace/problems.py`."""
    assert sorted(used_codes() - CODES.keys()) == []


def test_every_declared_code_is_used() -> None:
    assert sorted(CODES.keys() - used_codes()) == []


def test_a_code_is_an_error_or_a_warning() -> None:
    assert ERRORS.keys() & WARNINGS.keys() == set()


def test_every_code_has_a_section_and_a_link_to_it() -> None:
    """A new code needs a section `### CODE` in docs/reference/problems.md, and a link in the table above."""
    page = PAGE.read_text(encoding="utf-8")

    assert sorted(re.findall(r"^### (.*)$", page, re.MULTILINE)) == sorted(CODES)
    assert sorted(re.findall(r"\[([\w-]+)\]\(#\1\)", page)) == sorted(CODES)


@pytest.mark.parametrize("code", sorted(CODES))
def test_the_section_of_a_code_has_its_severity_and_an_example(code: str, tmp_path: Path) -> None:
    """An example is a trace, or a command that the tests of the documentation run."""
    text = section(code)
    severity = "Error. " if code in ERRORS else "Warning. "
    page = tmp_path / "section.md"
    page.write_text(text + "\n", encoding="utf-8")
    traces = [block for block in blocks(page) if block.language in ("json", "csv")]

    assert text.startswith(severity)
    if traces:
        trace = tmp_path / "trace"
        trace.write_text(traces[0].text, encoding="utf-8")
        assert {problem.code for problem in read(trace)[1]} == {code}
    else:
        assert f" [{code}]\n" in text
