"""`tracesim diff` and `replay --expect` as a user meets them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from command_line import run
from paths import GOLDEN, MILESTONE
from steps import a_step, write_lines
from tracesim.analysis.step_diff import Comparison, diff_steps
from tracesim.analysis.step_log import STEP_FIELDS, LoggedStep, StepLog
from tracesim_cli.terminal.lines import plain_text
from tracesim_cli.views.diff_cells import clip_differing
from tracesim_cli.views.diff_view import format_diff

REPLAY = ["replay", str(MILESTONE), "--tokenizer", "char"]


ALWAYS_LOGGED = [name for name in STEP_FIELDS if name not in ("cached", "discarded")]


@pytest.fixture
def logs(tmp_path: Path) -> tuple[Path, Path]:
    """Return the paths of two logs that do not exist yet."""
    return tmp_path / "a.jsonl", tmp_path / "b.jsonl"


def saved(folder: Path, *options: str, name: str = "steps.jsonl") -> Path:
    """Save the steps of the milestone's replay."""
    path = folder / name
    assert run(*REPLAY, *options, "--format", "summary", "--save-steps", path).exit_code == 0
    return path


def test_equal_logs(tmp_path: Path) -> None:
    log = saved(tmp_path)
    result = run("diff", log, log)

    assert (result.exit_code, result.stdout) == (0, "equal: 12 steps\n")


def test_the_first_difference_is_shown_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    saved(tmp_path, "--engine", "vllm-v0", "--block-size", "4", "--num-gpu-blocks", "7", name="seven.jsonl")
    saved(tmp_path, "--engine", "vllm-v0", "--block-size", "4", "--num-gpu-blocks", "8", name="eight.jsonl")
    result = run("diff", "seven.jsonl", "eight.jsonl", "--ignore", "free_blocks")

    assert result.exit_code == 1
    assert (GOLDEN / "diff.txt").read_text() == result.stdout


def test_what_differs_as_json(logs: tuple[Path, Path]) -> None:
    a, b = logs
    write_lines(a, a_step(0), a_step(1), a_step(2))
    write_lines(b, a_step(0), a_step(1, running=2))
    result = run("diff", a, b, "--format", "json")
    report = json.loads(result.stdout)
    first = report.pop("first")

    assert result.exit_code == 1
    assert report == {
        "schema": "tracesim.diff/1",
        "equal": False,
        "a": {"file": str(a), "case": None},
        "b": {"file": str(b), "case": None},
        "steps": 3,
        "differing": 2,
        "only_in_a": 1,
        "only_in_b": 0,
        "fields": dict.fromkeys([name for name in STEP_FIELDS if name not in ("cached", "discarded")], 0)
        | {"running": 1},
        "not_compared": [],
    }
    assert (
        first["step"],
        first["fields"],
        first["a"]["running"],
        first["b"]["running"],
    ) == (1, ["running"], 1, 2)


def test_one_entry_of_a_large_batch_is_shown(logs: tuple[Path, Path]) -> None:
    batch = [{"id": f"r{number}", "computed": number, "tokens": 1} for number in range(256)]
    other = [{**entry, "computed": 7777} if entry["id"] == "r200" else entry for entry in batch]
    result = run(
        "diff", write_lines(logs[0], a_step(decode=batch)), write_lines(logs[1], a_step(decode=other))
    )

    assert "! r200@200" in result.stdout
    assert "r200@7777" in result.stdout


def test_a_field_that_differs_everywhere_is_cut(logs: tuple[Path, Path]) -> None:
    sides = [[{"id": f"{name}{n}", "computed": n, "tokens": 1} for n in range(200)] for name in "ab"]
    result = run(
        "diff", *(write_lines(log, a_step(decode=side)) for log, side in zip(logs, sides, strict=True))
    )

    assert "... and 392 more that differ" in result.stdout
    assert len(result.stdout.splitlines()) < 30


def test_long_texts_are_cut_before_they_differ() -> None:
    left, right = clip_differing("request-" * 20 + "one", "request-" * 20 + "two", 24)

    assert (left.endswith("one"), right.endswith("two")) == (True, True)
    assert clip_differing("a", "b", 24) == ("a", "b")


def test_a_step_that_only_one_log_has(logs: tuple[Path, Path]) -> None:
    a, b = write_lines(logs[0], a_step(0), a_step(4)), write_lines(logs[1], a_step(0))

    assert "- step 4 is only in " in run("diff", a, b).stdout
    assert "+ step 4 is only in " in run("diff", b, a).stdout


def test_nothing_in_a_log_reaches_the_terminal_unescaped(logs: tuple[Path, Path]) -> None:
    evil = "\x1b[2J\r\n\u202e[red]"
    sides = [
        a_step(
            emitted=[{"id": evil, "token_id": 1, "text": evil + end}],
            preempted=[evil + end],
            finished=[{"id": end, "finish_reason": evil, "stop_reason": evil}],
        )
        for end in "xy"
    ]
    result = run("diff", write_lines(logs[0], sides[0], a_step(1)), write_lines(logs[1], sides[1]))

    assert result.exit_code == 1
    assert not {"\x1b", "\r", "\u202e"} & set(result.output)
    assert r"\x1b[2J" in result.output


names = st.text(max_size=30)
entries = st.lists(
    st.fixed_dictionaries({"id": names, "computed": st.integers(0), "tokens": st.integers(0)}), max_size=4
)
steps = st.builds(
    lambda number, decode, texts, free: LoggedStep(
        number,
        {
            "prefill": decode[:1],
            "decode": decode[1:],
            "emitted": [{"id": text, "token_id": None, "text": text} for text in texts],
            "finished": [{"id": text, "finish_reason": "stop", "stop_reason": text} for text in texts],
            "preempted": texts,
            "running": number,
            "waiting": number,
            "free_blocks": free,
        },
    ),
    st.integers(0, 10**7),
    entries,
    st.lists(names, max_size=3),
    st.none() | st.integers(0),
)


@given(st.lists(steps, max_size=4), st.lists(steps, max_size=4), names, st.integers(42, 200))
def test_no_line_is_wider_than_the_terminal(
    left: list[LoggedStep], right: list[LoggedStep], name: str, width: int
) -> None:
    fields = {name: STEP_FIELDS[name] for name in ALWAYS_LOGGED}
    sides = [
        StepLog(
            name, fields, iter(sorted({step.number: step for step in side}.values(), key=lambda s: s.number))
        )
        for side in (left, right)
    ]
    comparison = Comparison(sides[0], sides[1])
    diff = diff_steps(comparison.pairs())
    if diff.first is not None:
        widths = [cell_len(plain_text(line)) for line in format_diff(comparison, diff, width=width)]

        assert max(widths) <= width


def test_a_log_may_come_from_standard_input(tmp_path: Path) -> None:
    log = saved(tmp_path)

    assert run("diff", "-", log, stdin=log.read_bytes()).exit_code == 0
    assert run("diff", "-", "-").exit_code == 2


def test_wrong_usage_names_the_option(tmp_path: Path) -> None:
    log = saved(tmp_path)
    for arguments, expected in [
        (("--ignore", "emited"), "--ignore is 'emited', which no step has; must be one of prefill,"),
        (("--case", "plain"), "--case needs a golden file, which has cases; neither A nor B is one"),
    ]:
        result = run("diff", log, log, *arguments)
        assert result.exit_code == 2
        assert expected in result.stderr


def test_golden_cases_can_be_compared() -> None:
    golden = GOLDEN / "v0.jsonl.gz"

    assert "has 160 cases" in run("diff", golden, golden).stderr
    assert run("diff", golden, golden, "--case", "plain-1-0").stdout.startswith("equal: ")


def test_a_run_as_expected_ends_with_a_line_about_it(tmp_path: Path) -> None:
    log = saved(tmp_path)
    result = run(*REPLAY, "--format", "summary", "--expect", log)

    assert (0, f"as expected: 12 steps equal to {log}") == (result.exit_code, result.stdout.splitlines()[-1])
    assert run(*REPLAY, "--format", "jsonl", "--expect", log).stdout == log.read_text()


def test_a_run_stops_at_the_first_unexpected_step(tmp_path: Path) -> None:
    log = saved(tmp_path)
    kept = tmp_path / "kept.jsonl"
    result = run(*REPLAY, "--max-num-seqs", "2", "--format", "jsonl", "--expect", log, "--save-steps", kept)

    assert result.exit_code == 1
    assert [json.loads(line)["step"] for line in result.stdout.splitlines()] == [0]
    assert "! running" in result.stderr
    assert "after 0 equal steps" in result.stderr
    assert not kept.exists()


@pytest.mark.parametrize(
    ("kept", "expected"), [(slice(0, 9), "only in this run"), (slice(0, None, 11), "step 1 ")]
)
def test_a_run_with_more_steps_than_expected(tmp_path: Path, kept: slice, expected: str) -> None:
    log = saved(tmp_path)
    log.write_text("".join(log.read_text().splitlines(keepends=True)[kept]))
    result = run(*REPLAY, "--format", "summary", "--expect", log)

    assert result.exit_code == 1
    assert expected in result.stdout


def test_a_run_with_fewer_steps_than_expected(tmp_path: Path) -> None:
    log = saved(tmp_path)
    log.write_text(log.read_text() + json.dumps(a_step(12, free_blocks=None)) + "\n")
    result = run(*REPLAY, "--format", "json", "--expect", log)

    assert (result.exit_code, result.stdout) == (1, "")
    assert "- step 12 is only in " in result.stderr


def test_a_field_of_the_expectation_can_be_ignored(tmp_path: Path) -> None:
    log = saved(tmp_path)
    log.write_text(log.read_text().replace('"text":"w"', '"text":"W"'))

    assert run(*REPLAY, "--expect", log).exit_code == 1
    result = run(*REPLAY, "--expect", log, "--ignore", "emitted.text")
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "not compared: emitted.text")


@pytest.mark.parametrize("options", [["--ignore", "running"], ["--case", "plain"]])
def test_options_of_a_comparison_need_an_expectation(options: list[str]) -> None:
    result = run(*REPLAY, *options)

    assert result.exit_code == 2
    assert "needs --expect" in result.stderr


def test_the_expectation_is_never_overwritten(tmp_path: Path) -> None:
    log = saved(tmp_path)
    before = log.read_bytes()

    assert run(*REPLAY, "--expect", log, "--save-steps", log).exit_code == 2
    assert before == log.read_bytes()


def test_a_golden_case_can_be_expected(tmp_path: Path) -> None:
    with gzip.open(GOLDEN / "v0.jsonl.gz") as lines:
        case = next(case for case in map(json.loads, lines) if case["engine"] == "vllm-v0")
    trace = write_lines(
        tmp_path / "trace.jsonl",
        *(
            {
                "id": request["id"],
                "prompt_token_ids": request["prompt_ids"],
                "response_token_ids": request["response_ids"],
                "max_tokens": request["max_tokens"],
                "arrival_step": request["arrival_step"],
            }
            for request in case["requests"]
        ),
    )
    names = {"num_blocks": "num-gpu-blocks", "policy": "scheduling-policy"}
    options = [
        f"--{names.get(name, name).replace('_', '-')}={value}"
        for name, value in case["config"].items()
        if name != "first_token"
    ]
    expect = ["--expect", GOLDEN / "v0.jsonl.gz", "--case", case["name"]]
    result = run("replay", trace, "--engine", "vllm-v0", *options, "--format", "summary", *expect)

    assert (result.exit_code, result.stderr) == (0, "")
    assert "as expected: " in result.stdout
