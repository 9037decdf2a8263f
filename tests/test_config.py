"""Settings are declared once, and checked in the same way wherever they come from."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from tracesim import ConfigError, EngineArgs, EngineConfig, SamplingParams
from tracesim.config import ENGINES, GROUPS, EngineSettings, all_settings, settings_of


def by_args(**settings: Any) -> EngineConfig:
    return EngineArgs(**settings).create_engine_config()


@pytest.mark.parametrize("engine", ENGINES)
def test_defaults_are_those_of_the_engine(engine: Any) -> None:
    """A setting that the engine does not have is None."""
    defaults = {name: setting.defaults.get(engine) for name, setting in settings_of(EngineSettings).items()}
    config = EngineConfig(engine=engine)

    assert config == by_args(engine=engine) == EngineConfig(**{**defaults, "engine": engine})
    assert {name: getattr(config, name) for name in defaults} == {**defaults, "engine": engine}


@pytest.mark.parametrize("engine", ENGINES)
def test_a_report_shows_settings_that_make_the_same_replay(engine: Any) -> None:
    """A profile and a sweep rely on it: what `resolved` returns, `EngineArgs` takes."""
    args = EngineArgs(engine=engine, max_num_seqs=3, tokenizer="char", stop=["x"], arrivals="asap")
    shown = args.resolved()

    assert EngineArgs(**shown).resolved() == shown
    assert by_args(**shown) == args.create_engine_config()
    assert next(iter(shown)) == "engine"
    assert (shown["max_num_seqs"], shown["stop"], shown["arrivals"]) == (3, ["x"], "asap")
    assert ("enable_prefix_caching" in shown) == (engine == "vllm-v1")


def test_every_setting_has_a_name_of_its_own_and_a_description() -> None:
    """Settings of all groups share one namespace: that of `EngineArgs`, of profiles and of options."""
    names = [name for group in GROUPS for name in settings_of(group)]
    declared = settings_of(EngineArgs)

    assert sorted(names) == sorted(declared)
    assert all(setting.description.endswith(".") for setting in declared.values())


@pytest.mark.parametrize("make", [EngineConfig, by_args])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"engine": "warp"}, "engine is 'warp'; must be one of simple, vllm-v0, vllm-v1"),
        ({"engine": ["simple"]}, r"engine is \['simple'\]; must be one of"),
        ({"engine": None}, "engine is None; must be one of"),
        ({"enable_prefix_caching": False}, "enable_prefix_caching is not a setting of engine 'simple'"),
        ({"block_size": 0}, "block_size is 0; must be an integer >= 1"),
        ({"max_model_len": True}, "max_model_len is True; must be an integer >= 1"),
        ({"max_num_seqs": 2.0}, "max_num_seqs is 2.0; must be an integer >= 1"),
        ({"watermark": float("nan")}, "watermark is nan; must be a number >= 0 and < 1"),
        ({"watermark": "0.5"}, "watermark is '0.5'; must be a number >= 0 and < 1"),
        ({"engine": "vllm-v1", "enable_prefix_caching": "no"}, "is 'no'; must be True or False"),
        ({"engine": "vllm-v1", "scheduling_policy": "lifo"}, "is 'lifo'; must be one of fcfs, priority"),
    ],
)
def test_a_value_that_is_not_accepted_is_an_error(
    make: Callable[..., EngineConfig], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        make(**settings)

    assert error.value.setting == list(settings)[-1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"speedup": 0.0}, "speedup is 0.0; must be a number > 0"),
        ({"speedup": float("inf")}, "speedup is inf; must be a number > 0"),
        ({"seed": 1.5}, "seed is 1.5; must be an integer"),
        ({"tokenizer": None}, "tokenizer is None; must be a string, not empty"),
        ({"max_tokens": 0}, "max_tokens is 0; must be an integer >= 1"),
    ],
)
def test_settings_of_every_group_are_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        EngineArgs(**settings)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"max_tokens": True}, "max_tokens is True; must be an integer >= 1"),
        ({"max_tokens": 2.5}, "max_tokens is 2.5; must be an integer >= 1"),
        ({"min_tokens": "3"}, "min_tokens is '3'; must be an integer >= 0"),
        ({"min_tokens": [1]}, r"min_tokens is \[1\]; must be an integer >= 0"),
        ({"stop": ["a", None]}, "stop has None; must be a string or a list of strings"),
        ({"stop": 3}, "stop is 3; must be a string or a list of strings"),
        ({"stop": ["a", ""]}, "stop has an empty string"),
        ({"include_stop_str_in_output": 1}, "include_stop_str_in_output is 1; must be True or False"),
    ],
)
def test_sampling_params_say_what_was_found_and_what_is_accepted(
    params: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        SamplingParams(**params)


def test_an_error_names_its_setting_apart_from_the_problem() -> None:
    """The command line shows the option instead; a copy from another process does so too."""
    error = pickle.loads(pickle.dumps(ConfigError("is 0; must be an integer >= 1", setting="block_size")))

    assert (error.setting, error.problem) == ("block_size", "is 0; must be an integer >= 1")
    assert str(error) == "block_size is 0; must be an integer >= 1"


def test_every_number_has_an_upper_limit() -> None:
    numbers = [setting for setting in all_settings().values() if setting.type in (int, float)]

    assert [each.name for each in numbers if min(each.at_most, each.below) == math.inf] == []


@pytest.mark.parametrize("name", ["max_num_seqs", "block_size", "num_gpu_blocks", "seed", "speedup"])
def test_a_number_over_its_limit_is_refused_with_the_limit(name: str) -> None:
    for value in (2**63, 10**5000):
        with pytest.raises(ConfigError, match=f"^{name} is .*; must be at most [0-9]"):
            by_args(**{name: value})


@pytest.mark.parametrize("name", ["tokenizer", "clock", "arrivals"])
def test_text_that_is_not_unicode_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name} is .*; must be text in UTF-8"):
        by_args(**{name: "\udcff"})
