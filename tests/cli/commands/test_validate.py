"""`tracesim validate`: the report in its three formats, and the exit code."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import pytest

from command_line import run
from paths import GOLDEN
from tracesim_cli.terminal.safe_text import visible

validate = partial(run, "validate")


@pytest.fixture(autouse=True)
def in_a_folder_of_traces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in a folder with one clean and one faulty trace; paths in the report are then relative."""
    monkeypatch.chdir(tmp_path)
    shutil.copy((GOLDEN / "validate") / "faulty.jsonl", tmp_path)
    Path("clean.jsonl").write_text('{"prompt": "Hello", "response": " world!"}\n')


@pytest.mark.parametrize(
    ("golden", "options"),
    [
        ("report.txt", ["--format", "text"]),
        ("report.json", ["--format", "json"]),
        ("report.github", ["--format", "github"]),
        ("strict.txt", ["--strict"]),
        ("capped.txt", ["--max-problems", "1"]),
    ],
)
def test_a_faulty_trace_is_reported(golden: str, options: list[str]) -> None:
    result = validate("faulty.jsonl", "clean.jsonl", "--as-one-trace", *options)

    assert result.stdout == ((GOLDEN / "validate") / golden).read_text()
    assert result.exit_code == 1


def test_a_clean_trace_ends_with_0() -> None:
    result = validate("clean.jsonl")

    assert result.stdout == "clean.jsonl: 1 record, no problems\n"
    assert result.exit_code == 0


@pytest.mark.parametrize(("options", "code"), [([], 0), (["--strict"], 1)])
def test_warnings_fail_only_when_strict(options: list[str], code: int) -> None:
    result = validate("-", *options, stdin=b'{"prompt": "Hello", "response": "", "Stop": "x"}')

    assert result.exit_code == code


def test_counts_include_problems_that_are_not_shown() -> None:
    result = validate("faulty.jsonl", "--format", "json", "--max-problems", "1")

    report = json.loads(result.stdout)
    assert sorted(report["codes"]) == sorted({problem["code"] for problem in report["problems"]})
    assert report["shown"] + report["omitted"] == report["errors"] + report["warnings"]
    assert report["omitted"] > 0


def test_repeated_problems_are_grouped_by_code() -> None:
    result = validate("-", stdin=b'{"prompt": "Hello", "response": ""}\n' * 870 + b"{\n")

    assert result.stdout.count(": warning: ") == 5
    assert "<stdin>:871: error" in result.stdout
    assert "... and 864 more [duplicate-prompt] (--max-problems 0 shows them)" in result.stdout


def test_each_file_is_a_trace_of_its_own() -> None:
    Path("again.jsonl").write_text('{"id": "x", "prompt": "Hello", "response": "a"}\n')
    Path("third.jsonl").write_text('{"id": "x", "prompt": "Hello", "response": "b"}\n')
    files = ["again.jsonl", "clean.jsonl", "third.jsonl"]

    assert "total: 3 records, no problems" in validate(*files).stdout
    together = validate(*files, "--as-one-trace")
    assert (together.exit_code, "[duplicate-id]" in together.stdout) == (1, True)


def test_the_detected_format_of_another_tool_is_named() -> None:
    rows = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46,0,1\n"

    assert "<stdin> (azure): 0 valid records, 1 error\n" in validate("-", stdin=rows).stdout
    report = json.loads(validate("-", "--format", "json", stdin=rows).stdout)
    assert report["files"][0]["format"] == "azure"


def test_a_missing_file_is_wrong_usage() -> None:
    result = validate("clean.jsonl", "nowhere.jsonl")

    assert result.exit_code == 2
    assert "nowhere.jsonl: error: no such file; check the path [missing-file]" in result.stdout


def test_ignored_codes_are_not_counted() -> None:
    ignored = [
        option for code in ("wrong-type", "bad-value", "invalid-json") for option in ("--ignore", code)
    ]

    result = validate("faulty.jsonl", "--strict", "--ignore", "likely-typo", *ignored)

    assert "[likely-typo]" not in result.stdout
    assert result.stdout.endswith("faulty.jsonl: 2 valid records, 2 errors\n")


def test_quiet_sets_only_the_exit_code() -> None:
    results = [validate(name, "-q") for name in ("clean.jsonl", "faulty.jsonl")]

    assert [(result.stdout, result.exit_code) for result in results] == [("", 0), ("", 1)]


def test_zero_shows_all_problems() -> None:
    result = validate("-", "--max-problems", "0", stdin=b"{\n" * 200)

    assert result.stdout.count("[invalid-json]") == 200


def test_a_clean_trace_has_no_annotations() -> None:
    result = validate("clean.jsonl", "--format", "github")

    assert (result.stdout, result.exit_code) == ("", 0)


def test_nothing_from_a_trace_or_a_name_reaches_the_terminal_raw() -> None:
    name = "evil\x1b[2J\n\u202e.jsonl"
    Path(name).write_text('{"\\u001b]0;Prompt\\u0007": 1, "\\u202eprompt": "", "response": "\x7f"}')

    result = validate(name)

    assert all(line.isprintable() for line in result.stdout.splitlines())
    assert visible(name) in result.stdout


def test_annotations_escape_what_github_would_take_for_its_own() -> None:
    name = "a,b:c%\n::error ::.jsonl"
    Path(name).write_text('{"prompt": "x", "response": "", "sto\\np": 1}\n')

    result = validate(name, "--format", "github")

    assert result.stdout.splitlines() == [
        "::warning file=a%2Cb%3Ac%25%0A%3A%3Aerror %3A%3A.jsonl,line=1,title=likely-typo in trace::"
        "sto\\np: is not a field of a trace and is ignored; was stop meant?"
    ]


def test_problems_are_in_colour_if_it_is_forced() -> None:
    assert "\x1b[31m" in validate("nowhere.jsonl", NO_COLOR="", FORCE_COLOR="1").stdout
    assert "\x1b" not in validate("nowhere.jsonl", NO_COLOR="1", FORCE_COLOR="1").stdout
    assert "\x1b" not in validate("nowhere.jsonl", NO_COLOR="", FORCE_COLOR="").stdout


def test_wrong_usage_ends_with_2() -> None:
    assert validate().exit_code == 2
    assert validate("clean.jsonl", "--max-problems", "-1").exit_code == 2
