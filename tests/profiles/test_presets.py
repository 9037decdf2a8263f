"""Presets: their file, their names, and the profiles that are made of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from paths import ROOT
from tracesim import engine_args_from_profiles, load_profile
from tracesim.errors import ConfigError
from tracesim.profiles.presets import find_presets, presets, similar_presets
from tracesim.profiles.profile import built_in_profiles, profile_names
from tracesim.timing.clock import parse_clock

NAMES = list(presets())
FILE = ROOT / "engine/tracesim/profiles/built_in/presets.toml"


def test_every_preset_is_a_profile_with_a_clock_and_blocks() -> None:
    """The limits of a batch are those of the profile of vLLM's defaults on the GPU."""
    for name in NAMES:
        preset, profile = presets()[name], load_profile(name)
        limits = load_profile(preset.profile).settings
        clock = parse_clock(profile.settings["clock"])

        assert profile.settings == {
            **limits,
            "num_gpu_blocks": preset.num_gpu_blocks,
            "clock": profile.settings["clock"],
        }
        assert clock is not None
        assert clock.base > 0
        assert preset.num_gpu_blocks * 16 >= 16_384
        assert 0 < preset.mean_error <= preset.worst_error
        assert preset.mean_error <= 0.2


def test_the_numbers_of_a_row_become_costs_with_their_units() -> None:
    row = next(line for line in FILE.read_text().splitlines() if line.startswith('"qwen3-30b-a3b" = '))
    _, base, first_32, *_ = (text.strip() for text in row.partition("= [")[2].split(","))
    profile = load_profile("a100/qwen3-30b-a3b")

    assert f"base={base}us,first_32={first_32}ns,first_256=" in profile.settings["clock"]


def test_a_preset_says_where_it_comes_from_and_how_far_it_can_be_trusted() -> None:
    profile = load_profile("H100/Llama-3.1-8B")
    fitted_on = profile.fitted_on

    assert profile.name == "h100/llama-3.1-8b"
    assert profile.description.startswith("meta-llama/Meta-Llama-3.1-8B on one NVIDIA H100 SXM (80 GiB). ")
    assert "the scale is not calibrated: typically 10 to 40 % too fast" in profile.description
    assert "aiconfigurator-core 0.12.0 (Apache-2.0, NVIDIA) for vLLM 0.24.0" in profile.source["origin"]
    assert fitted_on is not None
    assert (fitted_on.decode_requests, fitted_on.prefill_tokens, fitted_on.context_tokens) == (
        1024,
        8192,
        65_536,
    )


def test_a_later_profile_overrides_single_settings_of_a_preset(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[clock]\nbase = "7ms"\n')
    args = engine_args_from_profiles(["h100/llama-3.1-8b", path], max_num_seqs=64)

    assert (args.clock, args.max_num_seqs, args.max_num_batched_tokens) == ("linear:base=7ms", 64, 8192)
    assert args.num_gpu_blocks == presets()["h100/llama-3.1-8b"].num_gpu_blocks


def test_presets_are_read_only_for_a_name_that_may_be_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """So that nobody else waits for their file."""
    path = tmp_path / "mine.toml"
    path.write_text("")
    monkeypatch.setattr("tracesim.profiles.profile.presets", lambda: pytest.fail("presets are read"))

    assert [load_profile(each).name for each in ("vllm-serve", path)] == ["vllm-serve", str(path)]


def test_words_find_presets_by_name_model_and_gpu() -> None:
    found = [preset.name for preset in find_presets(["Meta-Llama-3.1-8B", "h100 SXM"])]

    assert found == ["h100/llama-3.1-8b", "h100/llama-3.1-8b-tp2", "h100/llama-3.1-8b-tp4"]
    assert not find_presets(["h100", "nothing"])


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("llama-3.1-8b", "a100/llama-3.1-8b"),
        ("h100/llama-3.1-8b-instruct", "h100/llama-3.1-8b"),
        ("H100/lama-3.1-8b", "h100/llama-3.1-8b"),
        ("h100/llama-3.1-70b", "h100/llama-3.1-70b-tp2"),
        ("vllm-srv", None),
    ],
)
def test_an_unknown_name_suggests_presets_with_the_same_parts(name: str, first: str | None) -> None:
    with pytest.raises(ConfigError, match=f"^profile is '{name}'; must be a TOML file or a built-in profile"):
        load_profile(name)

    assert first == next(iter(similar_presets(name)), None)


def test_the_profiles_of_vllms_defaults_are_not_presets() -> None:
    assert [*built_in_profiles(), *NAMES] == profile_names()
    assert "presets" not in built_in_profiles()


def test_the_page_of_errors_has_every_preset() -> None:
    """The page and the file are written together: each pair of errors is in the row of its model."""
    page = (ROOT / "docs/reference/presets.md").read_text(encoding="utf-8")
    header = re.search(r"^\| model \|(.*)\|$", page, re.MULTILINE)
    assert header is not None
    gpus = [each.strip() for each in header[1].split("|")]
    shown: dict[str, str] = {}
    for row in re.findall(r"^\| `(\S+)` \|(.*)\|$", page, re.MULTILINE):
        cells = dict(zip(gpus, (cell.strip() for cell in row[1].split("|")), strict=False))
        shown |= {f"{gpu}/{row[0]}": cell for gpu, cell in cells.items() if " / " in cell}

    assert shown.keys() == presets().keys()
    for name, cell in shown.items():
        mean, worst = (float(each) for each in cell.split(" / "))
        assert mean == pytest.approx(100 * presets()[name].mean_error, abs=0.051)
        assert worst == pytest.approx(100 * presets()[name].worst_error, abs=0.51)


def test_the_file_names_the_source_and_its_license_and_stays_small() -> None:
    head = FILE.read_text(encoding="utf-8").partition("package =")[0]

    assert "NVIDIA CORPORATION & AFFILIATES" in head
    assert "Version 2.0" in head
    assert FILE.stat().st_size < 200_000
