"""Settings are checked once, however an engine's configuration comes about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tracesim import ConfigError, EngineArgs, EngineConfig, SamplingParams
from tracesim.config import DEFAULTS


def by_args(**settings: Any) -> EngineConfig:
    return EngineArgs(**settings).create_engine_config()


@pytest.mark.parametrize("engine", DEFAULTS)
def test_what_nobody_sets_has_the_engines_default(engine: Any) -> None:
    config = EngineConfig(engine=engine)

    assert config == by_args(engine=engine)
    assert config.known() == {"engine": engine, **DEFAULTS[engine]}


def test_a_setting_that_the_engine_does_not_know_is_none() -> None:
    assert EngineConfig(engine="simple").enable_chunked_prefill is None


@pytest.mark.parametrize("make", [EngineConfig, by_args])
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"engine": "warp"}, "engine is 'warp'; known engines are simple, vllm-v0, vllm-v1"),
        ({"engine": ["simple"]}, r"engine is \['simple'\]; known"),
        ({"enable_prefix_caching": False}, "enable_prefix_caching is not a setting of engine 'simple'"),
        ({"block_size": 0}, "block_size is 0; must be an integer >= 1"),
        ({"max_model_len": True}, "max_model_len is True; must be an integer"),
        ({"max_num_seqs": 2.0}, "max_num_seqs is 2.0; must be an integer"),
        ({"watermark": float("nan")}, "watermark is nan; must be a fraction"),
        ({"watermark": "0.5"}, "watermark is '0.5'; must be a fraction"),
        ({"engine": "vllm-v1", "enable_prefix_caching": "no"}, "is 'no'; must be True or False"),
        ({"engine": "vllm-v1", "scheduling_policy": "lifo"}, "is 'lifo'; must be one of fcfs, priority"),
    ],
)
def test_what_does_not_fit_is_an_error(
    make: Callable[..., EngineConfig], settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        make(**settings)


@pytest.mark.parametrize(
    ("params", "said"),
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
def test_sampling_params_say_what_was_found_and_what_is_accepted(params: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        SamplingParams(**params)
