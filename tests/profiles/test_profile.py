"""Profiles: settings from TOML files, checked as options are, in the order in which they are given."""

from __future__ import annotations

from pathlib import Path

import pytest

from doc_pages import blocks
from paths import ROOT
from tracesim import ConfigError, EngineArgs, engine_args_from_profiles, load_profile
from tracesim.profiles.profile import built_in_profiles, profile_text

MINE = """\
[engine]
engine = "vllm-v1"
num_gpu_blocks = 400
async_scheduling = true

[clock]
base = "5ms"
decode = 8e-05

[arrivals]
arrivals = "poisson:4"
seed = 3

[source]
description = "Measured on a test server."
errors = { tpot = 0.012 }
"""


def a_profile(folder: Path, text: str | bytes, name: str = "mine.toml") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_profile_has_settings_and_where_they_come_from(tmp_path: Path) -> None:
    path = a_profile(tmp_path, MINE)
    profile = load_profile(path)

    assert profile.name == str(path)
    assert profile.settings == {
        "engine": "vllm-v1",
        "num_gpu_blocks": 400,
        "async_scheduling": True,
        "clock": "linear:base=5ms,decode=8e-05",
        "arrivals": "poisson:4",
        "seed": 3,
    }
    assert profile.source["errors"] == {"tpot": 0.012}
    assert (profile.description, profile.text) == ("Measured on a test server.", MINE)


def test_later_profiles_override_earlier_ones_and_settings_override_all(tmp_path: Path) -> None:
    first = a_profile(tmp_path, "[engine]\nmax_num_seqs = 1\nblock_size = 1\nnum_gpu_blocks = 1\n", "1.toml")
    second = a_profile(tmp_path, "[engine]\nmax_num_seqs = 2\nblock_size = 2\n", "2.toml")
    args = engine_args_from_profiles([first, load_profile(second)], max_num_seqs=3)

    assert (args.max_num_seqs, args.block_size, args.num_gpu_blocks) == (3, 2, 1)


def test_a_clock_file_and_a_clock_in_a_profile_are_read_alike(tmp_path: Path) -> None:
    """The settings stand for themselves: what was in the file is what they have."""
    path = a_profile(tmp_path, '[clock]\nconstant = "20ms"\n')

    assert engine_args_from_profiles([path]) == engine_args_from_profiles([], clock=str(path))
    assert engine_args_from_profiles([path]).clock == "constant:20ms"


def test_an_empty_profile_changes_nothing(tmp_path: Path) -> None:
    assert engine_args_from_profiles([a_profile(tmp_path, "")]) == EngineArgs()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[engin]", r"has 'engin'; a profile has the tables \[engine\], \[replicas\], \[clock\], "),
        ("engine = 1", r"has engine, which is no table; a profile has the tables \[engine\]"),
        ("[engine]\nmax_num_seq = 4", r"\[engine\] max_num_seq is no setting; did you mean max_num_seqs"),
        ("[engine]\nspeed = 4", r"\[engine\] speed is no setting: engine, max_num_seqs, "),
        ("[engine]\ntokenizer = 'char'", r"\[engine\] tokenizer is no setting"),
        ("[engine]\n'a b' = 1", r"\[engine\] 'a b' is no setting"),
        ("[engine]\nmax_num_seqs = 0", r"\[engine\] max_num_seqs is 0; must be an integer >= 1"),
        ("[engine]\nmax_num_seqs = '4'", r"\[engine\] max_num_seqs is '4'; must be an integer >= 1"),
        ("[engine]\nmax_num_seqs = {}", r"\[engine\] max_num_seqs is \{\}; must be an integer >= 1"),
        (
            "[engine]\nengine = 'warp'",
            r"\[engine\] engine is 'warp'; must be one of simple, vllm-v0, vllm-v1",
        ),
        ("[engine]\nwatermark = nan", r"\[engine\] watermark is nan; must be a number >= 0 and < 1"),
        ("[arrivals]\nspeedup = 0", r"\[arrivals\] speedup is 0; must be a number > 0"),
        ("[arrivals]\narrivals = 'often'", r"\[arrivals\] arrivals is 'often'; must be trace, asap, poisson"),
        (
            "[arrivals]\nclock = 'steps'",
            r"\[arrivals\] clock is no setting: arrivals, speedup, session",
        ),
        ("[clock]\nbase = 'soon'", r"\[clock\] base is 'soon'; must be a duration, such as 20ms"),
        ("[clock]\nspeed = 1", r"\[clock\] has 'speed'; a linear clock knows base, prefill, decode, context"),
        ("[clock]", r"\[clock\] is \{\}; a step must take time"),
        ("[source]\nurl = 1", r"\[source\] url is 1; must be a string"),
        ("[source]\nfitted_on = 1", r"\[source\] fitted_on is 1; must have decode_requests, pre"),
        (
            "[source.fitted_on]\ndecode_requests = 0\nprefill_tokens = 1\ncontext_tokens = 1",
            r"fitted_on is \{.*\}; must have decode_requests, prefill_tokens, context_tokens, each an int",
        ),
        ("[engine", "which is not TOML"),
        (b"\x89PNG\r\n\x1a\n\x00", "which is not TOML"),
        (f"[engine]\nmax_num_seqs = {'9' * 30}", "not TOML: it has an integer of more than 64 bits"),
        (f"[engine]\nmax_num_seqs = {'9' * 6000}", "not TOML: it has an integer of more than 64 bits"),
        (f"[source]\nx = {'[' * 5000}{']' * 5000}", "whose tables or arrays nest too deeply"),
        (f"[engine.{'a.' * 3000}b]", "whose tables or arrays nest too deeply"),
        (f"[engine]\nengine = '{'x' * 999}'", r"engine is 'x{79}\.\.\.; must be one of"),
    ],
)
def test_an_error_names_the_file_the_table_and_the_key(
    tmp_path: Path, text: str | bytes, message: str
) -> None:
    """Each is one sentence with what is accepted."""
    with pytest.raises(ConfigError, match=message) as error:
        load_profile(a_profile(tmp_path, text))

    assert "mine.toml" in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "vllm-serv",
            "profile is 'vllm-serv'; must be .* or h100/llama-3.1-8b; did you mean vllm-serve or vllm-",
        ),
        ("h900", "must be a TOML file or a built-in profile, such as .*; `tracesim profiles` lists them"),
        ("none.toml", "profile is none.toml, which cannot be read: No such file or directory"),
        ("/dev/zero", "profile is /dev/zero, which has more than 4,194,304 bytes"),
    ],
)
def test_a_profile_that_is_not_there_is_an_error(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_profile(name)


def test_a_setting_that_the_engine_does_not_have_is_an_error_with_its_profile(tmp_path: Path) -> None:
    """A setting that is given beside the profiles has no profile."""
    path = a_profile(tmp_path, "[engine]\nasync_scheduling = true\n")
    problem = "async_scheduling is not a setting of engine 'simple', which has max_num_seqs"
    with pytest.raises(ConfigError, match=rf"^profile: .*mine.toml: \[engine\] {problem}"):
        engine_args_from_profiles([path])
    with pytest.raises(ConfigError, match=r"^profile: vllm-serve: \[engine\] .* of engine 'simple'"):
        engine_args_from_profiles(["vllm-serve"], engine="simple")
    with pytest.raises(ConfigError, match=f"^{problem}"):
        engine_args_from_profiles([path], async_scheduling=True)


@pytest.mark.parametrize("name", built_in_profiles())
def test_a_built_in_profile_has_a_source(name: str) -> None:
    profile = load_profile(name)

    assert profile.description.endswith(".")
    assert str(profile.source["url"]).startswith("https://")
    assert engine_args_from_profiles([name]).engine == profile.settings["engine"] == "vllm-v1"


def test_the_example_of_the_guide_is_a_profile(tmp_path: Path) -> None:
    (example,) = [block for block in blocks(ROOT / "docs/guide/profiles.md") if block.language == "toml"]

    assert engine_args_from_profiles([a_profile(tmp_path, example.text)]).speedup == 1.2


GIB = 2**30
CONTEXTS = {"vllm-serve": "OPENAI_API_SERVER", "vllm-llm": "LLM_CLASS"}


@pytest.mark.vllm
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize(
    ("suffix", "memory", "device"),
    [
        ("", 24 * GIB, "NVIDIA L4"),
        ("", 80 * GIB, "NVIDIA A100-SXM4-80GB"),
        ("-h100", 80 * GIB, "NVIDIA H100 80GB HBM3"),
        ("-h100", 141 * GIB, "NVIDIA H200"),
        ("-b200", 180 * GIB, "NVIDIA B200"),
    ],
)
def test_the_limits_of_a_batch_are_the_installed_vllms_own(
    monkeypatch: pytest.MonkeyPatch, context: str, suffix: str, memory: int, device: str
) -> None:
    arg_utils = pytest.importorskip("vllm.engine.arg_utils", exc_type=ImportError)
    from vllm.usage.usage_lib import UsageContext

    class Gpu(type(arg_utils.current_platform)):  # type: ignore[misc]
        get_device_total_memory = classmethod(lambda *_, **__: memory)
        get_device_name = classmethod(lambda *_, **__: device)
        is_cpu = is_tpu = lambda _: False

    monkeypatch.setattr(arg_utils, "current_platform", Gpu())
    usage = UsageContext[CONTEXTS[context]]
    tokens, seqs = (each[usage] for each in arg_utils.EngineArgs.get_batch_defaults(1))
    settings = load_profile(f"{context}{suffix}").settings

    assert (settings["max_num_batched_tokens"], settings["max_num_seqs"]) == (tokens, seqs)


def test_settings_are_written_as_a_profile_that_gives_them_again(tmp_path: Path) -> None:
    args = EngineArgs(
        engine="vllm-v1",
        num_gpu_blocks=400,
        clock="linear:base=5ms,first_32=20us",
        arrivals="poisson:2",
        seed=3,
        max_tokens=7,
    )
    path = tmp_path / "profile.toml"
    path.write_text(profile_text(args, 'A "quoted" name.'))
    profile = load_profile(path)

    assert profile.description == 'A "quoted" name.'
    assert args.resolved() == engine_args_from_profiles([profile], max_tokens=7).resolved()
    assert path.read_text().endswith("# with max_tokens = 7\n")
