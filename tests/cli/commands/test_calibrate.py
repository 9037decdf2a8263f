"""`tracesim calibrate` as a user meets it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from command_line import run
from measured_runs import SETTINGS, a_server, written
from tracesim import load_profile

pytest.importorskip("scipy")

OPTIONS = [
    "--num-gpu-blocks",
    str(SETTINGS["num_gpu_blocks"]),
    "--max-num-seqs",
    str(SETTINGS["max_num_seqs"]),
]
SHAPE = ["--shape", "linear:base=16ms,prefill=100us,decode=60us,context=180ns"]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("measured") / "bench.json", a_server().bench())


def test_a_profile_is_written_that_a_replay_takes(bench: Path, tmp_path: Path) -> None:
    """What is printed is in the profile: the clock, what was fitted, and the errors."""
    profile = tmp_path / "server.toml"
    result = run("calibrate", bench, *OPTIONS, *SHAPE, "-o", profile)
    loaded = load_profile(profile)
    trace = written(tmp_path / "trace.jsonl", a_server().trace())
    replayed = run("replay", trace, "--profile", profile, "--format", "summary")

    assert (result.exit_code, result.stderr) == (0, "")
    assert f"clock         {loaded.settings['clock']}" in result.stdout.splitlines()
    assert re.search(r"^E2E +[+-]0\.\d% +[+-]\d\.\d% +[+-]\d\.\d% +0\.\d%$", result.stdout, re.MULTILINE)
    assert loaded.source["fitted_requests"] == loaded.source["scored_requests"] == 60
    assert loaded.source["measured"] == [str(bench)]
    assert sorted(loaded.source["errors"]["ttft"]) == ["count", "each", "mean", "p50", "p99"]
    assert loaded.settings["num_gpu_blocks"] == SETTINGS["num_gpu_blocks"]
    assert replayed.exit_code == 0
    assert "TTFT" in replayed.stdout


def test_an_existing_profile_needs_force(bench: Path, tmp_path: Path) -> None:
    profile = written(tmp_path / "server.toml", "mine")
    refused = run("calibrate", bench, *OPTIONS, *SHAPE, "-o", profile)
    forced = run("calibrate", bench, *OPTIONS, *SHAPE, "-o", profile, "--force")

    assert (refused.exit_code, forced.exit_code) == (2, 0)
    assert "exists already" in refused.stderr
    assert profile.read_text() != "mine"


def test_the_page_shows_measured_against_predicted(bench: Path, tmp_path: Path) -> None:
    pytest.importorskip("plotly")
    page = tmp_path / "page.html"
    result = run("calibrate", bench, *OPTIONS, *SHAPE, "-o", tmp_path / "p.toml", "--save-html", page)

    assert result.exit_code == 0
    assert "Measured against predicted" in page.read_text()
    assert '"mode":"markers"' in page.read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--clock", "constant:5ms"], "--clock is not a setting here: --shape keeps a clock's proportions"),
        (["--arrivals", "asap"], "--arrivals is not a setting here: arrivals are measured"),
        (["--shape", "steps"], "--shape is 'steps'; must be a TOML file or a built-in profile"),
        (["--shape", "vllm-serve"], "--shape has no clock; must be a profile with a clock, or a clock"),
        (["--part", "1"], "--part is 1; must be over 0 and under 1"),
        (["--num-gpu-blocks", "20"], "cannot be replayed: prompt and output need"),
    ],
)
def test_wrong_options(bench: Path, tmp_path: Path, options: list[str], message: str) -> None:
    result = run("calibrate", bench, *options, "-o", tmp_path / "server.toml")

    assert result.exit_code == 2
    assert message in result.stderr
    assert not (tmp_path / "server.toml").exists()


def test_a_file_of_another_kind_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "trace.jsonl", '{"prompt": "Hi", "response": "there"}\n')
    result = run("calibrate", path, "-o", tmp_path / "server.toml")

    assert result.exit_code == 2
    assert f"error: {path}: is a trace (tracesim), without times that were measured" in result.stderr


def test_without_scipy_the_command_that_installs_it_is_named(
    bench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "scipy.optimize", None)
    result = run("calibrate", bench, "-o", tmp_path / "server.toml")

    assert result.exit_code == 2
    assert (
        "calibrate needs the package scipy; install it with: pip install 'tracesim[calibrate]'"
        in result.stderr
    )
