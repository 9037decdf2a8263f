"""`tracesim profiles`, and `replay --profile`, as a user meets them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from command_line import run
from paths import MILESTONE
from tracesim import EngineArgs, load_profile
from tracesim.profiles.presets import presets
from tracesim.profiles.profile import built_in_profiles

SMALL = '[engine]\nengine = "vllm-v1"\nnum_gpu_blocks = 9\n[clock]\nconstant = "20ms"\n'


def test_every_built_in_profile_is_listed_with_its_description() -> None:
    """And the presets are counted, with the kinds of GPU."""
    result = run("profiles", COLUMNS="300")
    *lines, _, about = [line.split(maxsplit=1) for line in result.stdout.splitlines()]

    assert result.exit_code == 0
    assert lines == [[name, load_profile(name).description] for name in built_in_profiles()]
    assert about[0] == f"{len(presets()):,}"
    assert "GPUs: a100, b200, b300, b60, gb200, gb300, h100, h200, l40s, rtx-pro-6000." in about[1]


def test_words_find_profiles_and_presets_with_their_errors() -> None:
    """The list says what the errors are not: those of the scale."""
    preset = presets()["h100/llama-3.1-8b"]
    result = run("profiles", "H100", "llama-3.1-8b", COLUMNS="200")
    header, first, *_ = result.stdout.splitlines()

    assert header.split() == ["preset", "num_gpu_blocks", "mean", "error", "worst"]
    assert first.split() == [
        preset.name,
        f"{preset.num_gpu_blocks:,}",
        *(f"{100 * preset.mean_error:.1f}", "%", f"{100 * preset.worst_error:.0f}", "%"),
    ]
    assert "not calibrated" in result.stdout
    assert run("profiles", "serve").stdout.split()[0] == "vllm-serve"


def test_a_preset_is_shown_as_a_profile_that_can_be_saved_and_changed(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(run("profiles", "h100/llama-3.1-8b").stdout)

    assert load_profile(path).settings == load_profile("h100/llama-3.1-8b").settings
    assert load_profile(path).fitted_on == load_profile("h100/llama-3.1-8b").fitted_on


def test_a_profile_is_shown_as_its_file_has_it(tmp_path: Path) -> None:
    """So what is shown can be the start of one's own; control codes of a file are escaped."""
    path = tmp_path / "nasty.toml"
    path.write_text('[source]\ndescription = "\\u001b[31m" # \u202e\n')

    assert run("profiles", "vllm-serve").stdout == load_profile("vllm-serve").text
    assert run("profiles", path).stdout == '[source]\ndescription = "\\u001b[31m" # \\u202e\n'


def test_what_is_no_profile_is_wrong_usage(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text("[engine]\nmax_num_seqs = 0\n")
    results = [run("profiles", "vllm-srv"), run("profiles", path)]

    assert [result.exit_code for result in results] == [2, 2]
    assert "is 'vllm-srv'; must be a TOML file or a built-in profile, such as" in results[0].stderr
    assert "bad.toml: [engine] max_num_seqs is 0; must be an integer >= 1\n" in results[1].stderr


def test_a_replay_takes_profiles_and_its_report_has_their_settings_and_hashes(tmp_path: Path) -> None:
    """The settings of the report make the same replay without the profiles."""
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    options: list[str | Path] = [
        "--profile",
        "vllm-serve",
        "--profile",
        path,
        "--max-num-seqs",
        "5",
        "--format",
        "json",
    ]
    result = run("replay", MILESTONE, *options)
    config = json.loads(result.stdout)["config"]

    assert config.pop("profiles") == [
        {"name": "vllm-serve", "sha256": load_profile("vllm-serve").sha256},
        {"name": str(path), "sha256": hashlib.sha256(SMALL.encode()).hexdigest()},
    ]
    assert config == EngineArgs(**config).resolved()
    assert {
        "async_scheduling": True,
        "max_num_seqs": 5,
        "num_gpu_blocks": 9,
        "clock": "constant:20ms",
    }.items() <= config.items()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--profile", "vllm-serv"], "error: --profile is 'vllm-serv'; must be a TOML file or a built-in"),
        (["--profile", "x.toml"], "error: --profile is x.toml, which cannot be read: No such file"),
        (
            ["--profile", "vllm-serve", "--engine", "vllm-v0"],
            "error: --profile: vllm-serve: [engine] enable_prefix_caching is not a setting of engine",
        ),
        (
            ["--max-num-seqs", "9" * 30],
            "error: --max-num-seqs is 999999999999999999999999999999; must be at most",
        ),
    ],
)
def test_an_error_in_a_profile_names_the_option(options: list[str], message: str) -> None:
    result = run("replay", MILESTONE, *options)

    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


def test_a_profile_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    result = run("replay", MILESTONE, "--profile", path, "--save-steps", path, "--force")

    assert result.exit_code == 2
    assert "is an input of this replay; name another file" in result.stderr
    assert path.read_text() == SMALL


@pytest.mark.parametrize(("output", "page"), [("summary", False), ("json", True)])
def test_a_run_names_its_engine_its_profiles_and_its_settings(
    tmp_path: Path, output: str, page: bool
) -> None:
    """In the summary at a glance, and in the page above its figures."""
    if page:
        pytest.importorskip("plotly")
    file = tmp_path / "run.html"
    saved: list[str | Path] = ["--save-html", file] if page else []
    result = run("replay", MILESTONE, "--profile", "vllm-serve", "--format", output, *saved)
    shown = file.read_text() if page else result.stdout
    lines = ["vllm-v1: as in vLLM 0.32", "vllm-serve", "--enable-prefix-caching --async-scheduling"]
    places = [shown.index(f"<dd>{line}</dd>" if page else f"  {line}\n") for line in lines]

    assert places == sorted(places)
    assert places[-1] < shown.index('<div class="cards">' if page else "requests ")


RANGE = """
[engine]
engine = "vllm-v1"
max_num_batched_tokens = 2000
[clock]
base = "1ms"
[source]
fitted_on = { decode_requests = 2, prefill_tokens = 100, context_tokens = 5000 }
"""


def test_a_run_outside_the_range_of_its_clock_warns_with_figures(tmp_path: Path) -> None:
    """3 requests decode at once, and a prompt is computed whole; none is longer than the range."""
    profile, trace = tmp_path / "fitted.toml", tmp_path / "trace.jsonl"
    profile.write_text(RANGE)
    trace.write_text('{"input_length": 500, "output_length": 9}\n' * 3)
    result = run("replay", trace, "--profile", profile, "--format", "summary")

    assert result.exit_code == 0
    assert (
        f"warning: this run is outside the range of the clock of {profile}: 3 decode requests in one step, "
        "fitted up to 2; 500 prompt tokens in one step, fitted up to 100. Its durations there are "
        "extrapolated\n"
    ) in result.stderr


@pytest.mark.parametrize("options", [["--clock", "constant:1ms"], ["--quiet"], ["--max-num-seqs", "2"]])
def test_there_is_no_warning_for_another_clock_or_within_the_range(
    tmp_path: Path, options: list[str]
) -> None:
    profile, trace = tmp_path / "fitted.toml", tmp_path / "trace.jsonl"
    profile.write_text(RANGE)
    trace.write_text('{"input_length": 50, "output_length": 9}\n' * 3)
    result = run("replay", trace, "--profile", profile, *options, "--format", "summary")

    assert "warning" not in result.stderr


@pytest.mark.parametrize(("options", "is_shown"), [([], True), (["--clock", "constant:1ms"], False)])
def test_a_summary_says_that_the_scale_of_a_preset_is_not_calibrated(
    options: list[str], is_shown: bool
) -> None:
    result = run("replay", MILESTONE, "--profile", "h100/llama-3.1-8b", *options, "--format", "summary")

    assert is_shown == (
        "clock scale          not calibrated: typically 10 to 40 % too fast\n" in result.stdout
    )
