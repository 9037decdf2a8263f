"""The settings of an engine, by vLLM's names: `EngineArgs` as given, `EngineConfig` as checked."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, Final, Literal, get_args

from tracesim.errors import ConfigError

EngineName = Literal["simple", "vllm-v0", "vllm-v1"]
SchedulingPolicy = Literal["fcfs", "priority"]

ENGINES: Final[tuple[str, ...]] = get_args(EngineName)
POLICIES: Final[tuple[str, ...]] = get_args(SchedulingPolicy)

_PREFILL_FIRST: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "max_num_seqs": 256,
        "max_num_batched_tokens": None,
        "max_model_len": None,
        "block_size": 16,
        "num_gpu_blocks": None,
        "watermark": 0.01,
    }
)

_TOKEN_BUDGET: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "max_num_seqs": 256,
        "max_num_batched_tokens": 2048,
        "max_model_len": None,
        "block_size": 16,
        "num_gpu_blocks": None,
        "watermark": 0.0,
        "enable_prefix_caching": False,
        "enable_chunked_prefill": True,
        "scheduling_policy": "fcfs",
        "long_prefill_token_threshold": 0,
        "scheduler_reserve_full_isl": True,
    }
)

DEFAULTS: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {"simple": _PREFILL_FIRST, "vllm-v0": _PREFILL_FIRST, "vllm-v1": _TOKEN_BUDGET}
)
"""For each engine, the settings that it knows and what they are when nobody sets them."""

_AT_LEAST: Final[Mapping[str, int]] = MappingProxyType(
    {
        "max_num_seqs": 1,
        "max_num_batched_tokens": 1,
        "max_model_len": 1,
        "block_size": 1,
        "num_gpu_blocks": 1,
        "long_prefill_token_threshold": 0,
    }
)


_UNSAID: Final[Any] = None
"""A setting before its engine's default takes its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """The settings of one engine, checked once.

    A setting that is not given, or given as None, has the engine's default. One that the engine does not
    know is None, and an error where it is given.

    `max_num_seqs`: requests that may run at once. `max_num_batched_tokens`: tokens in one step's batch,
    `max_model_len`: prompt plus output tokens of a request (None: no limit). `block_size`: tokens in a KV
    block. `num_gpu_blocks`: KV blocks (None: endless). `watermark`: the fraction of the KV blocks that
    admitting a request must leave free. `enable_prefix_caching`: equal prefixes share blocks.
    `enable_chunked_prefill`: a prompt may take several steps. `scheduling_policy`: who runs first.
    `long_prefill_token_threshold`: the most tokens of one prompt in a step while others wait (0: no limit).
    `scheduler_reserve_full_isl`: a request is admitted only where its whole prompt fits.

    Raises ConfigError, naming setting and engine.
    """

    engine: EngineName = "simple"
    max_num_seqs: int = _UNSAID
    max_num_batched_tokens: int | None = None
    max_model_len: int | None = None
    block_size: int = _UNSAID
    num_gpu_blocks: int | None = None
    watermark: float = _UNSAID
    enable_prefix_caching: bool | None = None
    enable_chunked_prefill: bool | None = None
    scheduling_policy: SchedulingPolicy | None = None
    long_prefill_token_threshold: int | None = None
    scheduler_reserve_full_isl: bool | None = None

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise ConfigError(f"engine is {self.engine!r}; known engines are {', '.join(ENGINES)}")
        known = DEFAULTS[self.engine]
        for name in SETTINGS:
            value = getattr(self, name)
            if value is None:
                object.__setattr__(self, name, known.get(name))
            elif name not in known:
                raise ConfigError(
                    f"{name} is not a setting of engine {self.engine!r}; it knows {', '.join(known)}"
                )
            else:
                _check(name, value)

    def known(self) -> dict[str, Any]:
        """The engine's name and the settings that it knows, for a report."""
        return {"engine": self.engine, **{name: getattr(self, name) for name in DEFAULTS[self.engine]}}


SETTINGS: Final = tuple(field.name for field in fields(EngineConfig) if field.name != "engine")
"""Every setting of any engine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineArgs:
    """What a caller says of an engine; None is "unsaid", and the engine's own default holds.

    `use_simulator` must be true: there is no model to run. `sim_trace_path` is the trace (or traces) whose
    responses the engine gives; `tokenizer` is a name or path for `tracesim.load_tokenizer`. With `eos_step`
    a response ends with an end-of-sequence token, as a model's does. `clock` is what `parse_clock` takes, and
    `arrivals`, `speedup` and `seed` what `parse_arrivals` does.
    """

    use_simulator: bool = True
    sim_trace_path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None
    tokenizer: str = "embedded"
    eos_step: bool = False
    clock: str = "steps"
    arrivals: str = "trace"
    speedup: float = 1.0
    seed: int = 0
    engine: str = "simple"
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    max_model_len: int | None = None
    block_size: int | None = None
    num_gpu_blocks: int | None = None
    watermark: float | None = None
    enable_prefix_caching: bool | None = None
    enable_chunked_prefill: bool | None = None
    scheduling_policy: str | None = None
    long_prefill_token_threshold: int | None = None
    scheduler_reserve_full_isl: bool | None = None

    def create_engine_config(self) -> EngineConfig:
        """The settings, checked. Raises ConfigError, naming setting and engine."""
        settings: dict[str, Any] = {name: getattr(self, name) for name in ("engine", *SETTINGS)}
        return EngineConfig(**settings)


def check_integer(name: str, value: object, least: int) -> None:
    """Raise ConfigError unless `value` is an integer of at least `least`; True is none."""
    if type(value) is not int or value < least:
        raise ConfigError(f"{name} is {value!r}; must be an integer >= {least}")


def check_flag(name: str, value: object) -> None:
    """Raise ConfigError unless `value` is True or False."""
    if type(value) is not bool:
        raise ConfigError(f"{name} is {value!r}; must be True or False")


def _check(name: str, value: object) -> None:
    if name in _AT_LEAST:
        check_integer(name, value, _AT_LEAST[name])
    elif name == "watermark":
        if type(value) not in (int, float) or not 0 <= value < 1:  # type: ignore[operator]
            raise ConfigError(f"watermark is {value!r}; must be a fraction: 0 <= watermark < 1")
    elif name == "scheduling_policy":
        if value not in POLICIES:
            raise ConfigError(f"scheduling_policy is {value!r}; must be one of {', '.join(POLICIES)}")
    else:
        check_flag(name, value)
