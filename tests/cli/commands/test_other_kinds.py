"""What tracesim writes is named for what it is where a trace or a step log is wanted."""

from __future__ import annotations

from pathlib import Path

import pytest

from command_line import run
from paths import GOLDEN, MILESTONE, SAMPLES

WRITTEN = {
    "steps.jsonl": "is a log of steps, not a trace; tracesim diff and tracesim replay --expect read it",
    "report.json": "is a report of a replay, not a trace; tracesim compare reads it",
    "requests.csv": "is the CSV of replay --save-requests, not a trace; no command reads it",
    "perfetto.json": "is a file for ui.perfetto.dev, not a trace; open it there",
    "page.html": "is a web page, not a trace; open it in a browser",
    "validate.json": "is a report of tracesim validate, not a trace; no command reads it",
    "inspect.json": "is a report of tracesim inspect, not a trace; no command reads it",
    "diff.json": "is a report of tracesim diff, not a trace; no command reads it",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that the commands write, except traces."""
    pytest.importorskip("plotly")
    path = tmp_path_factory.mktemp("written")
    saved = {"steps": "steps.jsonl", "report": "report.json", "requests": "requests.csv", "html": "page.html"}
    saved["perfetto"] = "perfetto.json"
    options = [each for kind, name in saved.items() for each in (f"--save-{kind}", path / name)]
    assert run("replay", MILESTONE, *options).exit_code == 0
    steps = path / "steps.jsonl"
    for command, *arguments in [("validate", MILESTONE), ("inspect", MILESTONE), ("diff", steps, steps)]:
        text = run(str(command), *arguments, "--format", "json").stdout
        (path / f"{command}.json").write_text(text)
    return path


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_given_as_a_trace_is_named(folder: Path, name: str) -> None:
    for command in ("validate", "inspect", "replay"):
        result = run(command, folder / name)

        assert result.exit_code == 1
        assert f"{folder / name}: error: {WRITTEN[name]} [unknown-format]" in result.output


@pytest.mark.parametrize("name", [name for name in WRITTEN if name != "steps.jsonl"])
def test_what_is_given_as_a_step_log_is_named(folder: Path, name: str) -> None:
    result = run("diff", folder / name, folder / "steps.jsonl")

    what, use = WRITTEN[name].split(", not a trace; ")
    assert result.exit_code == 2
    assert result.stderr == f"tracesim: error: {folder / name}: {what}, not a step log; {use}\n"


def test_a_golden_case_is_no_trace() -> None:
    result = run("validate", GOLDEN / "v1.jsonl.gz")

    assert "error: is a golden case, not a trace; tracesim diff and tracesim replay" in result.stdout


@pytest.mark.parametrize(
    ("trace", "name"),
    [
        (MILESTONE, "tracesim"),
        (SAMPLES / "lengths.jsonl", "tracesim"),
        (SAMPLES / "rush_hour.csv", "azure"),
        (SAMPLES / "formats" / "mooncake.jsonl", "mooncake"),
        (SAMPLES / "formats" / "sharegpt.json", "sharegpt"),
    ],
)
def test_a_trace_that_is_given_as_a_step_log_is_named(folder: Path, trace: Path, name: str) -> None:
    use = "tracesim replay writes its steps with --save-steps FILE, and a report with --save-report FILE"
    expected = f"is a trace ({name}), not a step log; {use}"

    for arguments in [("diff", trace, folder / "steps.jsonl"), ("replay", MILESTONE, "--expect", trace)]:
        result = run(*arguments)

        assert result.exit_code == 2
        assert result.stderr == f"tracesim: error: {trace}: {expected}\n"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            b"PAR1\x15\x04\x15\x10PAR1",
            "is a Parquet file, not a step log; tracesim convert writes it as a trace",
        ),
        (
            b"SQLite format 3\0\x10\0",
            "is a SQLite database, not a step log; export what it has as JSONL or CSV",
        ),
        (
            b"\x7fELF\x02\x01\x01\0\0\0",
            "is a binary file, not a step log; export what it has as JSONL or CSV",
        ),
        (
            b'[clock]\nconstant = "20ms"\n',
            "is a clock, not a step log; give it with --clock to tracesim replay",
        ),
        (b'{"added_tokens": [], "model": {}}', "is a tokenizer, not a step log; give it with --tokenizer"),
        (b'# Notes\n{"prompt": "a", "response": "b"}\n', ":1: is not JSON"),
        (b'{"a": 1}\n', ":1: is neither a step record (tracesim.step/1, which --save-steps writes) nor a g"),
        (b'{"schema": "tracesim.step/2"}\n', ":1: has the schema 'tracesim.step/2'; a step log has 'trac"),
    ],
)
def test_a_file_from_elsewhere_is_named(content: bytes, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)

    assert expected in run("diff", path, path).stderr
