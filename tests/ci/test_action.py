"""The GitHub action: its steps, taken from action.yml and run as GitHub runs them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from paths import GOLDEN, MILESTONE, ROOT
from published_schemas import GITHUB_ACTION, errors_by, published_schema

GOOD = '{"prompt": "Hello", "response": " world!"}\n'
BAD = '{"prompt": "Hello"}\n'


@pytest.fixture(autouse=True)
def in_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in a folder with good and bad traces, one of them with a blank in its name and in a deep folder."""
    monkeypatch.chdir(tmp_path)
    deep = Path("traces/deep/deeper")
    deep.mkdir(parents=True)
    (deep / "a good one.jsonl").write_text(GOOD)
    Path("traces/good.jsonl").write_text(GOOD)
    Path("bad.jsonl").write_text(BAD)


def action() -> Any:
    return pytest.importorskip("yaml").safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))


def run_step(name: str, **inputs: str) -> subprocess.CompletedProcess[str]:
    """Run the script of a step with the default of each input that is not given."""
    found = action()
    values = {
        key.replace("-", "_"): each.get("default", "") for key, each in found["inputs"].items()
    } | inputs
    step = next(step for step in found["runs"]["steps"] if step["name"] == name)

    def evaluate(text: str) -> str:
        return re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda match: values[match[1].replace("-", "_")], text)

    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
        env={
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            **{key: evaluate(text) for key, text in step["env"].items()},
        },
        capture_output=True,
        text=True,
        check=False,
    )


def validate(**inputs: str) -> tuple[int, list[str]]:
    done = run_step("Validate the traces", **inputs)

    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()


def test_the_action_satisfies_the_schema_of_actions() -> None:
    assert errors_by(published_schema(GITHUB_ACTION), action()) == []


def test_no_input_is_part_of_a_script() -> None:
    """It would be run as code: a pull request could name a file so."""
    assert [step["name"] for step in action()["runs"]["steps"] if "${{" in step.get("run", "")] == []


def test_patterns_match_folders_at_any_depth() -> None:
    assert validate(files="traces/**/*.jsonl") == (0, [])
    assert validate(files="traces/**/*.jsonl\nbad.jsonl\n") == (
        1,
        [
            "::error file=bad.jsonl,line=1,title=missing-field in trace::"
            "response: is missing; give it as text, or give response_token_ids"
        ],
    )


def test_a_pattern_without_a_file_fails() -> None:
    code, lines = validate(files="traces/*.jsonl\nnowhere/*.jsonl")

    assert (code, lines) == (
        2,
        ["::error file=nowhere/*.jsonl,title=missing-file in trace::no such file; check the path"],
    )


def test_options_are_separated_by_blanks_and_line_breaks() -> None:
    Path("twice.jsonl").write_text(GOOD * 2)

    assert validate(files="twice.jsonl", validate_args="--strict")[0] == 1
    assert validate(files="twice.jsonl", validate_args="--strict\n  --ignore duplicate-prompt\n")[0] == 0


def test_text_of_an_input_is_not_run() -> None:
    code, lines = validate(files="$(touch pwned).jsonl\n`touch pwned`", validate_args="--strict")

    assert (code, len(lines)) == (2, 2)
    assert not Path("pwned").exists()


def test_a_replay_is_compared_with_the_expected_steps() -> None:
    def replay(arguments: str) -> tuple[int, str]:
        done = run_step(
            "Replay the traces and compare the steps",
            files=str(MILESTONE),
            expect=str(GOLDEN / "milestone.steps.jsonl"),
            replay_args=arguments,
        )
        return done.returncode, done.stdout

    equal = replay("--tokenizer char --engine vllm-v0 --num-gpu-blocks 4")
    different = replay("--tokenizer char --engine simple")

    assert (equal[0], "as expected: 11 steps equal" in equal[1]) == (0, True)
    assert (different[0], "stopped at the first step that differs" in different[1]) == (1, True)
