"""`tracesim replay` as a user meets it."""

from __future__ import annotations

import gzip
import json
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from command_line import run
from paths import GOLDEN, MILESTONE, SAMPLES
from tracesim.config import all_settings

replay = partial(run, "replay")
replay_milestone = partial(run, "replay", MILESTONE, "--tokenizer", "char")


def report_of(*arguments: str | Path) -> Any:
    result = replay(*arguments, "--format", "json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def outcomes(report: Any) -> list[tuple[str, str, str, str | None]]:
    return [(r["id"], r["text"], r["finish_reason"], r["stop_reason"]) for r in report["requests"]]


def test_the_milestone_replays_as_recorded() -> None:
    assert outcomes(report_of(MILESTONE, "--tokenizer", "char")) == [
        ("r1", " world!", "stop", None),
        ("r2", " th", "length", None),
        ("r3", " hello ", "stop", "STOP"),
    ]


def test_a_sample_that_arrives_by_steps_can_be_replayed_under_a_clock() -> None:
    result = replay(SAMPLES / "chat.jsonl", "--clock", "constant:20ms", "--format", "summary")

    assert result.exit_code == 0
    assert "arrival_step of 2 records is ignored, as there is a --clock" in result.stderr


def test_a_quiet_replay_prints_what_was_asked_for_and_no_notes() -> None:
    arguments: list[str | Path] = [SAMPLES / "formats" / "azure.csv"]
    arguments += ["--limit", "50", "--seed", "3", "--format", "jsonl"]
    usual, quiet = replay(*arguments), replay(*arguments, "-q")

    assert len(usual.stderr.splitlines()) == 3
    assert (quiet.exit_code, quiet.stderr, quiet.stdout) == (0, "", usual.stdout)


def test_a_quiet_replay_that_is_stopped_prints_only_why() -> None:
    usual = replay_milestone("--max-steps", "4", "--format", "json")
    quiet = replay_milestone("--max-steps", "4", "--format", "json", "--quiet")

    assert "requests " in usual.stderr
    assert quiet.stderr == usual.stderr.splitlines(keepends=True)[-1]


def test_options_override_the_fields_of_the_trace() -> None:
    report = report_of(MILESTONE, "--tokenizer", "char", "--max-tokens", "2", "--stop", "t", "--stop", "w")

    assert outcomes(report) == [
        ("r1", " ", "stop", "w"),
        ("r2", " ", "stop", "t"),
        ("r3", " h", "length", None),
    ]


def test_every_setting_of_the_library_is_an_option() -> None:
    """What an option gives is in the report, and so is what it took to run the replay."""
    given = {
        "tokenizer": "char",
        "max_tokens": 5,
        "min_tokens": 1,
        "stop": ["x", "y"],
        "include_stop_str_in_output": True,
        "eos_step": True,
        "engine": "vllm-v1",
        "max_num_seqs": 3,
        "stop_delay": 2,
        "max_num_batched_tokens": 64,
        "max_model_len": 900,
        "block_size": 8,
        "num_gpu_blocks": 500,
        "watermark": 0.25,
        "enable_prefix_caching": True,
        "enable_chunked_prefill": False,
        "async_scheduling": True,
        "scheduling_policy": "priority",
        "long_prefill_token_threshold": 9,
        "scheduler_reserve_full_isl": False,
        "clock": "constant:20ms",
        "arrivals": "poisson:2",
        "speedup": 1.5,
        "sessions": "ignore",
        "replicas": 2,
        "router": "prefix:2",
        "seed": 7,
    }
    options = []
    for name, value in given.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            options.append(f"--{option}" if value else f"--no-{option}")
        else:
            options += [f"--{option}={each}" for each in (value if isinstance(value, list) else [value])]
    report = report_of(MILESTONE, *options)

    assert sorted(all_settings()) == sorted(given)
    assert report["config"] == given


@pytest.mark.parametrize("trace", sorted(SAMPLES.glob("*.jsonl")), ids=lambda path: path.stem)
def test_every_sample_gives_the_report_beside_it(trace: Path) -> None:
    assert json.loads(trace.with_suffix(".expected.json").read_bytes()) == report_of(trace)


def test_step_records_are_a_public_format() -> None:
    result = replay(
        MILESTONE, "--tokenizer", "char", "--engine", "vllm-v0", "--num-gpu-blocks", "4", "--format", "jsonl"
    )

    assert (GOLDEN / "milestone.steps.jsonl").read_text() == result.stdout


def test_the_report_is_a_public_format() -> None:
    result = replay_milestone("--format", "json")

    assert (GOLDEN / "milestone.report.json").read_text() == result.stdout


def test_files_are_saved_beside_the_table(tmp_path: Path) -> None:
    steps, report = tmp_path / "steps.jsonl", tmp_path / "report.json"
    result = replay_milestone("--save-steps", steps, "--save-report", report)

    assert replay_milestone("--format", "jsonl").stdout_bytes == steps.read_bytes()
    assert replay_milestone("--format", "json").stdout_bytes == report.read_bytes()
    assert "r3 stop" in result.stdout


@pytest.mark.parametrize("output_format", ["table", "summary", "json", "jsonl"])
def test_charts_are_saved_beside_any_output(output_format: str, tmp_path: Path) -> None:
    page, perfetto = tmp_path / "run.html", tmp_path / "run.json"
    result = replay_milestone("--format", output_format, "--save-html", page, "--save-perfetto", perfetto)

    assert result.exit_code == 0
    assert b"tracesim replay, engine simple" in page.read_bytes()
    assert json.loads(perfetto.read_bytes())["traceEvents"]
    if output_format in ("json", "jsonl"):
        assert replay_milestone("--format", output_format).stdout_bytes == result.stdout_bytes


def test_a_page_without_plotly_says_what_to_install_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    result = replay(MILESTONE, "--save-html", tmp_path / "run.html")

    assert (result.exit_code, result.stdout, list(tmp_path.iterdir())) == (2, "", [])
    assert "pip install plotly" in result.stderr


@pytest.mark.parametrize("option", ["--save-steps", "--save-html", "--save-perfetto"])
def test_a_trace_is_never_overwritten(option: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    trace.write_bytes(MILESTONE.read_bytes())
    result = replay(trace, option, trace)

    assert (2, MILESTONE.read_bytes()) == (result.exit_code, trace.read_bytes())


def test_a_file_that_exists_is_overwritten_with_force_alone(tmp_path: Path) -> None:
    steps, report = tmp_path / "steps.jsonl", tmp_path / "report.json"
    report.write_text("mine")
    refused = replay_milestone("--save-steps", steps, "--save-report", report)

    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr == (
        f"tracesim: error: --save-report is {report}, which exists already; name another file, or overwrite "
        "it with --force\n"
    )
    assert (steps.exists(), report.read_text()) == (False, "mine")

    assert replay_milestone("--save-steps", steps, "--save-report", report, "--force").exit_code == 0
    assert json.loads(report.read_text())["schema"] == "tracesim.report/1"


@pytest.mark.parametrize("term", ["xterm", "dumb", ""])
def test_colour_can_be_forced_without_a_terminal(term: str) -> None:
    table = replay_milestone(NO_COLOR="", FORCE_COLOR="1", TERM=term).stdout

    assert table.startswith("\x1b[1m  step  ")
    assert replay_milestone().stdout.startswith("  step  ")


def test_the_summary_counts_what_happened() -> None:
    result = replay_milestone("--format", "summary")

    assert "3: 1 length, 2 stop" in result.stdout
    assert "15 prompt, 21 output" in result.stdout


def test_an_invalid_trace_is_refused_before_the_first_step() -> None:
    lines = ['{"prompt": "a", "response": "b"}', "nonsense", '{"prompt": ""}']
    result = replay("-", "--tokenizer", "char", stdin="\n".join(lines) + "\n")

    assert (result.exit_code, result.stdout) == (1, "")
    assert "<stdin>:2" in result.stderr
    assert "<stdin>:3" in result.stderr


def test_invalid_records_can_be_skipped() -> None:
    lines = ['{"prompt": "a", "response": "b"}', "nonsense", '{"prompt": ""}']
    result = replay(
        "-", "--tokenizer", "char", "--skip-invalid", "--format", "jsonl", stdin="\n".join(lines) + "\n"
    )

    assert result.exit_code == 0
    assert "skipped 2 invalid of 3 records" in result.stderr
    assert len(result.stdout.splitlines()) == 2


@pytest.mark.parametrize("skip_invalid", [True, False])
def test_a_record_that_cannot_run_is_reported_before_problems_of_a_later_batch(
    skip_invalid: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tracesim.trace.batches._MAX_RECORDS", 2)
    fits, too_long = '{"prompt": "a", "response": "b"}', '{"prompt": "aaaaaaaaa", "response": "b"}'
    lines = [fits, too_long, "nonsense", fits, too_long, fits, "nonsense"]
    options = ["--tokenizer", "char", "--engine", "vllm-v1", "--max-model-len", "8"]
    options += ["--skip-invalid"] * skip_invalid
    result = replay("-", *options, stdin="\n".join(lines) + "\n")

    reported = re.findall(r"<stdin>:([0-9]+)", result.stderr)
    assert (result.exit_code, reported) == (
        (0, ["2", "3", "5", "7"]) if skip_invalid else (1, ["2", "3", "7"])
    )


def test_skipping_does_not_cover_a_missing_file() -> None:
    result = replay(MILESTONE, "no/such/trace.jsonl", "--tokenizer", "char", "--skip-invalid")

    assert (result.exit_code, result.stdout) == (2, "")


def test_a_trace_without_a_valid_record_is_refused() -> None:
    assert replay("-", "--skip-invalid", stdin="nonsense\n").exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "helps"),
    [(["-"], True), (["-", "--skip-invalid"], False), (["no/such/file"], False), ([str(SAMPLES)], False)],
)
def test_skipping_is_advised_where_it_helps(arguments: list[str], helps: bool) -> None:
    result = replay(*arguments, stdin="nonsense\n")

    assert ("skip invalid records with --skip-invalid" in result.stderr) == helps
    assert "nothing was replayed" in result.stderr


def test_a_file_that_ends_early_is_not_an_invalid_record(tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl.gz"
    record = b'{"prompt": "a", "response": "b"}\n'
    trace.write_bytes(gzip.compress(record) + gzip.compress(record)[:-9])
    result = replay(trace, "--tokenizer", "char", "--skip-invalid")

    assert result.exit_code == 0
    assert "the compressed data ends early" in result.stderr
    assert "skipped" not in result.stderr


def test_limit_takes_the_first_records() -> None:
    assert [r["id"] for r in report_of(MILESTONE, "--tokenizer", "char", "--limit", "2")["requests"]] == [
        "r1",
        "r2",
    ]


def test_the_recorded_text_is_shown_where_the_tokenizer_does_not_spell_it(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    words = {word: number for number, word in enumerate(["[UNK]", "hello", "stop", "the", "ok"])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.normalizer = tokenizers.normalizers.Lowercase()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    records = [
        {"id": "a", "prompt": "Hello", "response": "The STOP here", "stop": "STOP"},
        {"id": "b", "prompt": "Hello", "response": "ok 👍 done"},
        {"id": "c", "prompt": "Hello", "response": "Ok", "response_token_ids": [4]},
    ]
    trace = "\n".join(map(json.dumps, records)) + "\n"

    result = replay("-", "--tokenizer", tmp_path / "tokenizer.json", "--format", "json", stdin=trace)

    assert outcomes(json.loads(result.stdout)) == [
        ("a", "The ", "stop", "STOP"),
        ("b", "ok 👍 done", "stop", None),
        ("c", "Ok", "stop", None),
    ]
    assert result.stderr == (
        "tracesim: 3 records are not spelled back by this tokenizer: the recorded text is shown, and stop "
        "strings are found in it\n"
    )


def test_stop_strings_without_text_are_an_input_error_that_says_where() -> None:
    result = replay(SAMPLES / "lengths.jsonl", "--stop", "x")

    assert result.exit_code == 1
    assert "lengths.jsonl:1" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--engine", "warp"], "error: --engine is 'warp'; must be one of simple, vllm-v0, vllm-v1"),
        (["--max-tokens", "0"], "error: --max-tokens is 0; must be an integer >= 1"),
        (
            ["--max-tokens", "2", "--min-tokens", "3"],
            "error: --min-tokens is 3; must be at most max_tokens, 2",
        ),
        (["--stop", ""], "error: --stop has an empty string"),
        (["--watermark", "7"], "error: --watermark is 7.0; must be a number >= 0 and < 1"),
        (
            ["--scheduling-policy", "priority"],
            "error: --scheduling-policy is not a setting of engine 'simple'",
        ),
        (["--delay", "inf"], "--delay is 'inf'; must be a duration, such as 20ms"),
        (["--delay", "61m"], "--delay is '61m'; must be a duration, such as 20ms"),
        (["--delay", "3601"], "--delay is '3601'; must be at most 3600 seconds"),
        (["--save-steps", "-"], "must be a file; --format chooses what standard output gets"),
        (
            ["--save-steps", "q", "--save-report", "q"],
            "error: --save-steps and --save-report both name q; name different files",
        ),
        (["--save-html", "."], "is a folder or empty; must be a file"),
        (["--save-html", "q", "--save-perfetto", "./q"], "error: --save-html and --save-perfetto both name"),
        (["--save-perfetto", "no/such/folder/run.json"], "no/such/folder/run.json"),
        (["--tokenizer", ""], "error: --tokenizer is ''; must be a string, not empty"),
        (["--clock", "constant:5m"], "error: --clock: constant is '5m'; must be a duration, such as 20ms"),
        (["--speedup", "0"], "error: --speedup is 0.0; must be a number > 0"),
        ([""], "is empty; must be a name"),
        (["--tokenizer", "embeded"], "did you mean 'embedded'?"),
        (["--tokenizer", "no/such.tiktoken"], "cannot read no/such.tiktoken"),
        (["--save-steps", "no/such/folder/steps.jsonl"], "no/such/folder/steps.jsonl"),
    ],
)
def test_wrong_usage_says_what_is_accepted_and_ends_with_2(arguments: list[str], message: str) -> None:
    result = replay(MILESTONE, *arguments)

    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


def test_max_steps_has_its_own_exit_code_and_shows_the_summary_so_far(tmp_path: Path) -> None:
    files: list[str | Path] = ["--save-steps", tmp_path / "steps.jsonl", "--save-html", tmp_path / "run.html"]
    result = replay_milestone("--max-steps", "4", *files)

    assert result.exit_code == 3
    assert "2 of 3 requests are unfinished after 4 steps" in result.stderr
    assert "2 unfinished" in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_nothing_in_a_trace_reaches_the_terminal_as_control_codes() -> None:
    nasty = "[bold]markup[/bold] \x1b[31mred\x1b[0m\rforged\n\u202eevil \x9b2J\x00"
    record = {"id": nasty, "prompt": nasty, "response": nasty, "stop": "evil"}
    for output in ("table", "summary"):
        result = replay("-", "--tokenizer", "char", "--format", output, stdin=json.dumps(record) + "\n")

        assert all(line.isprintable() for line in result.stdout.split("\n"))
    assert "[bold]" in result.stdout


def a_process(*arguments: str | Path) -> subprocess.Popen[bytes]:
    """Start a replay of the milestone and wait for its first two lines, the titles and step 0."""
    command = [sys.executable, "-m", "tracesim", "replay", str(MILESTONE), "--tokenizer", "char"]
    process = subprocess.Popen(
        [*command, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.readline()
    return process


def test_a_closed_pipe_is_quiet() -> None:
    with a_process("--delay", "0.02") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()

        assert (process.stderr.read(), process.wait()) == (b"", 0)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_replay_leaves_no_file_behind(number: int, code: int, tmp_path: Path) -> None:
    process = a_process("--delay", "3600", "--save-steps", tmp_path / "steps.jsonl")
    process.send_signal(number)
    rest, errors = process.communicate()

    assert code == process.returncode
    assert list(tmp_path.iterdir()) == []
    assert (b"3 unfinished" in rest) == (number == signal.SIGINT)
    assert b"Traceback" not in errors


def test_an_unwritable_standard_output_is_an_error() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-m", "tracesim", "replay", str(MILESTONE), "--tokenizer", "char"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)

    assert done.returncode == 2
    assert b"No space left on device" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_limit_takes_the_first_arrivals_of_several_files(tmp_path: Path) -> None:
    header = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
    late, early = tmp_path / "late.csv", tmp_path / "early.csv"
    late.write_text(f"{header}2023-11-16 18:17:05.0,10,2\n2023-11-16 18:17:06.0,11,2\n")
    early.write_text(f"{header}2023-11-16 18:17:03.0,20,2\n")

    report = report_of(late, early, "--limit", "2", "--clock", "constant:10ms")

    assert [(each["prompt_tokens"], each["arrival_time"]) for each in report["requests"]] == [
        (20, 0),
        (10, 2),
    ]


def test_replicas_are_in_the_report_and_the_summary() -> None:
    options = ("--engine", "vllm-v1", "--enable-prefix-caching", "--replicas", "2", "--router", "round-robin")
    report = report_of(SAMPLES / "sessions.jsonl", *options)
    summary = replay(SAMPLES / "sessions.jsonl", *options, "--format", "summary").stdout

    assert {each["replica"] for each in report["requests"]} == {0, 1}
    assert [each["requests"] for each in report["summary"]["replicas"]] == [4, 3]
    assert (report["config"]["replicas"], report["config"]["router"]) == (2, "round-robin")
    assert re.search(r"replica 1 +3 requests", summary)


def test_one_replica_is_the_engine_alone() -> None:
    alone = replay(SAMPLES / "sessions.jsonl", "--format", "jsonl").stdout_bytes

    assert alone == replay(SAMPLES / "sessions.jsonl", "--format", "jsonl", "--replicas", "1").stdout_bytes


@pytest.mark.parametrize("option", ["--save-html", "--save-perfetto", "--explain", "--expect"])
def test_what_shows_one_engine_is_refused_for_several(option: str, tmp_path: Path) -> None:
    result = replay(SAMPLES / "sessions.jsonl", "--replicas", "2", option, tmp_path / "file")

    assert result.exit_code == 2
    assert f"{option} is for one engine; give no --replicas with it" in result.stderr


@pytest.mark.parametrize("rows", ["all", "events"])
def test_rows_of_several_replicas_begin_with_the_replica(rows: str) -> None:
    """Steps of different replicas are never one row, whatever their numbers are."""
    options = ("--engine", "vllm-v1", "--replicas", "2", "--router", "session", "--rows", rows)
    lines = replay(SAMPLES / "sessions.jsonl", *options).stdout.split("\n\n")[0].splitlines()

    assert lines[0].split()[:2] == ["replica", "step"]
    assert {line.split()[0] for line in lines[1:]} == {"0", "1"}
    of_one = [line for line in lines[1:] if line.split()[0] == "1"]
    assert all("repair-" in line or "digest" in line for line in of_one if "stop" in line)
