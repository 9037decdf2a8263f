"""`tracesim compare` as a user meets it."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import pytest
from rich.cells import cell_len

from command_line import run
from paths import GOLDEN, MILESTONE, SAMPLES

TRACE = SAMPLES / "tight_cache.jsonl"
CASE = GOLDEN / "compare"
REPLAY = ["--trace", str(TRACE), "--tokenizer", "char"]


@pytest.fixture(autouse=True)
def profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder with the profiles before.toml and after.toml the working directory."""
    for name in ("before.toml", "after.toml"):
        shutil.copy(CASE / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def save_report(name: str, *options: str) -> str:
    result = run("replay", TRACE, "--tokenizer", "char", *options, "--format", "json")
    assert result.exit_code == 0, result.stderr
    Path(name).write_text(result.stdout)
    return name


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_profiles_are_replayed_and_shown_side_by_side(width: int) -> None:
    result = run("compare", "before.toml", "after.toml", *REPLAY, COLUMNS=str(width))
    lines = result.stdout.splitlines()

    assert (result.exit_code, result.stderr) == (0, "")
    assert max(map(cell_len, lines)) <= width
    if width == 80:
        assert (CASE / "compare.txt").read_text() == result.stdout


def test_the_document_is_a_public_format() -> None:
    result = run("compare", "before.toml", "after.toml", *REPLAY, "--format", "json")

    assert json.loads((CASE / "compare.json").read_text()) == json.loads(result.stdout)


def test_reports_and_replays_of_the_same_settings_are_compared_alike() -> None:
    """A report, plain or compressed, is what the replay of its profile gives."""
    for name in ("before", "after"):
        save_report(f"{name}.json", "--profile", f"{name}.toml")
    Path("after.json.gz").write_bytes(gzip.compress(Path("after.json").read_bytes()))
    replayed = json.loads(run("compare", "before.toml", "after.toml", *REPLAY, "--format", "json").stdout)
    read = json.loads(run("compare", "before.json", "after.json.gz", "--format", "json").stdout)
    piped = json.loads(
        run("compare", "before.json", "-", "--format", "json", stdin=Path("after.json").read_bytes()).stdout
    )

    assert [each.pop("reports") for each in (replayed, read, piped)] == [
        ["before.toml", "after.toml"],
        ["before.json", "after.json.gz"],
        ["before.json", "<stdin>"],
    ]
    assert [each for each in read["settings"] if each["name"] == "profiles"]
    read["settings"] = [each for each in read["settings"] if each["name"] != "profiles"]
    piped["settings"] = read["settings"]
    assert replayed == read == piped


def test_more_than_two_are_compared_with_the_first() -> None:
    inputs = ["vllm-serve", "before.toml", "after.toml"]
    wide, narrow = (
        run("compare", *inputs, *REPLAY, "--clock", "constant:1ms", COLUMNS=str(width)).stdout
        for width in (120, 60)
    )

    assert wide.count("\nfigures") == 1
    assert narrow.count("\nfigures") == 2
    for text in (wide, narrow):
        assert "requests, A and B\n" in text
        assert "requests, A and C\n" in text
        assert "requests, B and C\n" not in text


def test_equal_reports_have_nothing_to_show() -> None:
    report = save_report("a.json", "--clock", "constant:20ms")
    result = run("compare", report, report)

    assert "settings are equal" in result.stdout
    assert "5 compared by E2E: 0 faster, 0 slower, 5 equal" in result.stdout
    for absent in ("figures", "moved most", "better", "worse"):
        assert absent not in result.stdout


def test_by_the_time_to_the_first_token() -> None:
    options = ["--clock", "linear:base=5ms,prefill=1ms"]
    a, b = save_report("a.json", *options), save_report("b.json", *options, "--engine", "vllm-v0")
    result = run("compare", a, b, "--by", "ttft", "--moved", "1")

    assert "5 compared by TTFT" in result.stdout
    assert "  decode   " not in result.stdout


def test_requests_that_one_report_has_are_counted() -> None:
    a, b = save_report("a.json"), save_report("b.json", "--limit", "3")
    result = run("compare", a, b)

    assert "2 only in A" in result.stdout


def test_reports_of_different_traces_are_noticed() -> None:
    a = save_report("a.json")
    Path("b.json").write_text(run("replay", MILESTONE, "--tokenizer", "char", "--format", "json").stdout)

    assert "with another prompt length: are A and B runs of one trace?" in run("compare", a, "b.json").stdout


def test_nothing_in_a_report_reaches_the_terminal_as_control_codes() -> None:
    document = json.loads(Path(save_report("a.json", "--clock", "constant:20ms")).read_text())
    document["requests"][0]["id"] = "\x1b[31mred"
    Path("a.json").write_text(json.dumps(document))
    document["requests"][0]["e2e"] += 1
    document["config"] |= {"\x1b[2J": "\x1b[1m", "engine": "\u202e"}
    Path("b.json").write_text(json.dumps(document))
    result = run("compare", "a.json", "b.json")

    assert r"\x1b[31mred" in result.stdout
    assert r"\x1b[1m" in result.stdout
    assert not {"\x1b", "\u202e"} & set(result.stdout)


def test_changes_are_coloured_and_named() -> None:
    options = [*REPLAY, "--moved", "1"]
    plain = run("compare", "before.toml", "after.toml", *options).stdout
    coloured = run("compare", "before.toml", "after.toml", *options, NO_COLOR="", FORCE_COLOR="1").stdout

    assert "\x1b[32m" in coloured
    assert "\x1b[31m" in coloured
    assert " better\n" in plain
    assert " worse\n" in plain


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["before.toml"], "REPORT|PROFILE must be given 2 to 26 times, not 1"),
        (
            ["before.toml", "after.toml"],
            "--trace is missing; before.toml is a profile, which is replayed with",
        ),
        (["a.json", "a.json", "--trace", "t.jsonl"], "--trace changes nothing: all are reports, and only"),
        (["a.json", "a.json", "--max-num-seqs", "3"], "--max-num-seqs changes nothing: all are reports"),
        (["a.json", "a.json", "--slo", "ttft=1s"], "--slo changes nothing: all are reports"),
        (["-", "-"], "only one of the reports can be standard input"),
        (["before.toml", "after.toml", "--trace", "-"], "--trace must be files: each profile is replayed"),
        (
            ["before.toml", "vllm-serve", *REPLAY, "--slo", "ttft=1s"],
            "needs a clock, which vllm-serve has not",
        ),
        (["before.toml", "none.toml", *REPLAY], "none.toml, which cannot be read: No such file or directory"),
        (["a.json", "none.json"], "none.json: no such file; check the path"),
        (["a.json", "."], ".: is a directory; name a file"),
        (
            ["a.json", str(TRACE)],
            "is a trace (tracesim), not a report; tracesim replay writes its steps with",
        ),
    ],
)
def test_wrong_usage_says_what_is_accepted(arguments: list[str], message: str) -> None:
    save_report("a.json")
    result = run("compare", *arguments)

    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


def test_compare_and_diff_name_each_other() -> None:
    report = save_report("a.json", "--save-steps", "steps.jsonl")
    compared, differed = run("compare", report, "steps.jsonl"), run("diff", report, "steps.jsonl")

    assert (compared.exit_code, differed.exit_code) == (2, 2)
    assert "steps.jsonl: is a log of steps, not a report; tracesim diff and" in compared.stderr
    assert "a.json: is a report of a replay, not a step log; tracesim compare reads it" in differed.stderr


def test_an_invalid_trace_is_refused() -> None:
    Path("bad.jsonl").write_text("{}\n")
    result = run("compare", "before.toml", "after.toml", "--trace", "bad.jsonl")

    assert (result.exit_code, result.stdout) == (1, "")
