"""The formats of `validate` for CI: each can be read, whatever a trace and its name contain."""

from __future__ import annotations

import json
import os
import re
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, get_args
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from command_line import run
from paths import GOLDEN
from published_schemas import SARIF, errors_by, published_schema
from tracesim import __version__
from tracesim.errors import TraceProblem
from tracesim_cli.views.validation import OutputFormat, format_report
from tracesim_cli.views.validation.report import ValidationReport

validate = partial(run, "validate")
FOLDER = GOLDEN / "validate"
HOSTILE = "a,b:c%\n::error ::\r\x1b[2J\u202e\u2028]](x)&<\"'\udcff.jsonl"


@pytest.fixture
def in_a_folder_of_traces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in a folder with a clean, a faulty, a warned and a hostile trace."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(FOLDER / "faulty.jsonl", tmp_path)
    Path("clean.jsonl").write_text('{"prompt": "Hello", "response": " world!"}\n')
    Path("warned.jsonl").write_text('{"prompt": "Hello", "response": "", "Stop": "x"}\n')
    Path(HOSTILE).write_text('{"prompt": 1, "response": "", "sto\\np": "\\u0000"}\n')


def report_of(*problems: TraceProblem, max_problems: int = 5) -> ValidationReport:
    report = ValidationReport(list(dict.fromkeys(problem.file for problem in problems)), max_problems)
    for problem in problems:
        report.add(problem)
    return report


def output_of(report: ValidationReport, output_format: OutputFormat) -> str:
    return "\n".join(format_report(report, output_format))


def unescaped(text: str) -> str:
    return unquote(text.replace("%25", "%2525")).replace("%25", "%")


@pytest.mark.usefixtures("in_a_folder_of_traces")
@pytest.mark.parametrize("output_format", ["gitlab", "sarif", "junit"])
def test_a_folder_is_reported(output_format: str) -> None:
    files = ("faulty.jsonl", "clean.jsonl", "nowhere.jsonl")

    result = validate(*files, "--format", output_format, "--max-problems", "1")

    expected = (FOLDER / f"report.{output_format}").read_text()
    assert result.stdout.replace(f'"version": "{__version__}"', '"version": "VERSION"') == expected
    assert result.exit_code == 2


@pytest.mark.usefixtures("in_a_folder_of_traces")
@pytest.mark.parametrize("options", [[], ["--strict"], ["--max-problems", "1"], ["--ignore", "wrong-type"]])
def test_sarif_satisfies_its_schema(options: list[str]) -> None:
    result = validate(
        "clean.jsonl",
        "faulty.jsonl",
        HOSTILE,
        "nowhere",
        "../x",
        "-",
        *options,
        "--format",
        "sarif",
        stdin="",
    )

    assert errors_by(published_schema(SARIF), json.loads(result.stdout)) == []


@pytest.mark.usefixtures("in_a_folder_of_traces")
def test_sarif_names_files_by_uris_that_lead_back_to_them() -> None:
    Path("sub").mkdir()
    Path("sub/a b.jsonl").touch()
    outside = Path.cwd().parent / "nowhere.jsonl"

    result = validate(HOSTILE, Path.cwd() / "sub" / "a b.jsonl", "../nowhere.jsonl", "--format", "sarif")

    artifacts = json.loads(result.stdout)["runs"][0]["artifacts"]
    assert [unquote(each["location"]["uri"], errors="surrogateescape") for each in artifacts] == [
        HOSTILE,
        "sub/a b.jsonl",
        outside.as_uri(),
    ]
    assert [each["location"].get("uriBaseId") for each in artifacts] == ["%SRCROOT%", "%SRCROOT%", None]


def test_a_message_of_sarif_has_no_link() -> None:
    report = report_of(TraceProblem("bad-value", "error", "a", 1, None, "is [here](https://x.test)"))

    (result,) = json.loads(output_of(report, "sarif"))["runs"][0]["results"]
    assert result["message"]["text"] == "is [here] (https://x.test)"


@pytest.mark.usefixtures("in_a_folder_of_traces")
def test_each_file_is_a_test_case_of_junit() -> None:
    files = ("clean.jsonl", "warned.jsonl", "faulty.jsonl", HOSTILE, "nowhere.jsonl", "nor_here.jsonl")

    result = validate(*files, "--format", "junit", "--max-problems", "1")

    root = ET.fromstring(result.stdout)
    outcomes = [[child.tag for child in case] for case in root.iter("testcase")]
    assert outcomes == [[], ["system-out"], ["failure"], ["failure"], ["error"], ["error"]]
    assert [root.get(name) for name in ("tests", "failures", "errors")] == ["6", "2", "2"]
    assert [suite.get("name") for suite in root][:3] == ["clean.jsonl", "warned.jsonl", "faulty.jsonl"]


@pytest.mark.usefixtures("in_a_folder_of_traces")
def test_strict_makes_errors_of_warnings_in_every_format() -> None:
    levels = {
        "github": r"^::(\w+) file",
        "gitlab": r'"severity": "(\w+)"',
        "sarif": r'"ruleId"[^}]*"level": "(\w+)"',
    }
    found = {
        (name, strict): set(
            re.findall(pattern, validate("warned.jsonl", *strict, "--format", name).stdout, re.MULTILINE)
        )
        for name, pattern in levels.items()
        for strict in [(), ("--strict",)]
    }

    assert found == {
        ("github", ()): {"warning"},
        ("github", ("--strict",)): {"error"},
        ("gitlab", ()): {"minor"},
        ("gitlab", ("--strict",)): {"major"},
        ("sarif", ()): {"warning"},
        ("sarif", ("--strict",)): {"error"},
    }
    assert "<failure" in validate("warned.jsonl", "--strict", "--format", "junit").stdout


@pytest.mark.parametrize("output_format", sorted({*get_args(OutputFormat)} - {"json"}))
def test_problems_that_are_not_shown_are_counted(output_format: OutputFormat) -> None:
    problems = [TraceProblem("bad-value", "error", f"{at % 2}", at, "id", f"is {at}") for at in range(1, 21)]

    output = output_of(report_of(*problems, max_problems=3), output_format)

    assert len(re.findall(r"\bid: is \d+", output)) == 3
    assert sum(map(int, re.findall(r"\b(\d+) more", output))) == 17


def test_fingerprints_stay_when_lines_move() -> None:
    def fingerprints(first_line: int) -> list[str]:
        same = f"is the same as in line {first_line}"
        problems = [
            TraceProblem("duplicate-prompt", "warning", "a.jsonl", first_line + 1, "prompt", same),
            TraceProblem("duplicate-prompt", "warning", "a.jsonl", first_line + 2, "prompt", same),
            TraceProblem("bad-value", "error", "a.jsonl", first_line + 3, "id", "is 0"),
            TraceProblem("bad-value", "error", "b.jsonl", first_line + 3, "id", "is 0"),
            TraceProblem("bad-value", "error", "b.jsonl", first_line + 3, "stop", "is 0"),
        ]
        return [issue["fingerprint"] for issue in json.loads(output_of(report_of(*problems), "gitlab"))]

    assert fingerprints(1) == fingerprints(7)
    assert len(set(fingerprints(1))) == 5


anything = st.text(st.characters(), min_size=1)
one_problem = st.builds(
    TraceProblem,
    code=st.just("bad-value"),
    severity=st.sampled_from(["error", "warning"]),
    file=st.binary(min_size=1).filter(lambda name: b"\0" not in name).map(os.fsdecode),
    line=st.none() | st.integers(1, 9),
    field=st.none() | anything,
    message=anything,
)


@given(one_problem)
def test_a_problem_is_one_command_of_github(problem: TraceProblem) -> None:
    command = r"::(error|warning) file=([^:,]*)(?:,line=\d)?,title=bad-value in trace::(.*)"

    output = output_of(report_of(problem), "github")

    match = re.fullmatch(command, output)
    assert match
    assert match[1] == problem.severity
    assert re.sub(r"%(25|0A|0D|3A|2C)", "", output).count("%") == 0
    assert all(character.isprintable() for character in output)


def strings(value: Any) -> Iterator[str]:
    """Every string in a JSON document."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for each in value if isinstance(value, list) else value.items():
            yield from strings([*each] if isinstance(each, tuple) else each)


@given(st.lists(one_problem, max_size=4))
def test_documents_are_ascii_and_can_be_read(problems: list[TraceProblem]) -> None:
    report = report_of(*problems)
    outputs = {name: output_of(report, name) for name in ("gitlab", "sarif", "junit")}

    assert all(output.isascii() for output in outputs.values())
    for text in strings([json.loads(outputs["gitlab"]), json.loads(outputs["sarif"])]):
        assert text.encode()
    assert len(ET.fromstring(outputs["junit"])) == len(report.files)
