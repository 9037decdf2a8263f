"""The settings of a replay, each declared once: `EngineArgs` as given, `EngineConfig` with the defaults.

A setting is a field of a group of settings. Its declaration holds everything about it: name and type, what it
means, its default (one, or one for each engine that has the setting), and which values are accepted. The
checks, the `config` of a report, and the options of the command line with their help all follow from it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Final,
    Literal,
    NamedTuple,
    get_args,
    get_origin,
    get_type_hints,
)

from tracesim.errors import ConfigError, brief
from tracesim.limits import MAX_FACTOR, MAX_INTEGER, MAX_REPLICAS, MAX_TOKENS, MIN_INTEGER, written

EngineName = Literal["simple", "vllm-v0", "vllm-v1"]
SchedulingPolicy = Literal["fcfs", "priority"]
SessionMode = Literal["follow", "recorded", "ignore"]

ENGINES: Final[tuple[str, ...]] = get_args(EngineName)

_TYPE_NAMES: Final = {int: "an integer", float: "a number", bool: "True or False", str: "a string, not empty"}
_JSON_TYPES: Final = {int: "integer", float: "number", bool: "boolean", str: "string"}


class Setting(NamedTuple):
    """What is declared about a setting; make one with `setting` or `engine_setting`, get it by `settings_of`.

    `defaults` has the default by engine: an engine that is missing there does not have the setting. `unset`
    says what None stands for. A number must be at least `at_least`, at most `at_most`, more than `over`, and
    less than `below`; every number has one of the two upper limits.
    `metavar` is the word for the value in the command line's help, and `alias` another name there. `type` is
    the field's type without None, `is_optional` is true if the field may be None, and `is_repeatable` if it
    takes a list as well as one value.
    """

    description: str
    defaults: Mapping[str, Any]
    unset: str = ""
    at_least: float = -math.inf
    at_most: float = math.inf
    over: float = -math.inf
    below: float = math.inf
    metavar: str | None = None
    alias: str | None = None
    suggestions: tuple[str, ...] = ()
    name: str = ""
    type: Any = None
    is_optional: bool = False
    is_repeatable: bool = False

    @property
    def choices(self) -> tuple[str, ...]:
        """The accepted values of a setting that has only a few."""
        return get_args(self.type) if get_origin(self.type) is Literal else ()

    @property
    def accepted(self) -> str:
        """The accepted values in words, such as "an integer >= 1", without `at_most`."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        limits = {">=": self.at_least, ">": self.over, "<": self.below}
        words = [f"{sign} {written(limit)}" for sign, limit in limits.items() if math.isfinite(limit)]
        return f"{_TYPE_NAMES[self.type]} {' and '.join(words)}".rstrip()

    @property
    def json_schema(self) -> dict[str, Any]:
        """A JSON Schema of the accepted values, and of null for a setting that may be None."""
        kinds = [_JSON_TYPES[self.type]] if self.type in _JSON_TYPES else ["string"]
        kinds += ["array"] if self.is_repeatable else []
        kinds += ["null"] if self.is_optional else []
        schema: dict[str, Any] = {"description": self.description, "type": kinds}
        if self.choices:
            schema["enum"] = [*self.choices, *([None] if self.is_optional else [])]
        if self.is_repeatable:
            schema["items"] = {"type": _JSON_TYPES[self.type]}
        limits = {
            "minimum": self.at_least,
            "exclusiveMinimum": self.over,
            "exclusiveMaximum": self.below,
            "maximum": self.at_most,
        }
        return schema | {word: limit for word, limit in limits.items() if math.isfinite(limit)}

    def check(self, value: Any) -> None:
        """Raise ConfigError unless `value` is accepted. True and False are not numbers."""
        if self.type in (int, float):
            is_number = type(value) is int or type(value) is self.type
            if is_number and self.at_most < value < math.inf:
                raise ConfigError(
                    f"is {brief(value)}; must be at most {written(self.at_most)}", setting=self.name
                )
            is_accepted = is_number and self.over < value < self.below and value >= self.at_least
        elif self.type in (bool, str):
            is_accepted = type(value) is self.type and value != ""
            if is_accepted and self.type is str and not is_unicode(value):
                raise ConfigError(f"is {value!a}; must be text in UTF-8", setting=self.name)
        else:
            is_accepted = value in self.choices
        if not is_accepted:
            raise ConfigError(f"is {brief(value)}; must be {self.accepted}", setting=self.name)


def is_unicode(text: str) -> bool:
    """Return whether `text` can be written in UTF-8: bytes of a command line that are not UTF-8 cannot."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def setting(description: str, default: Any, **declared: Any) -> Any:
    """Declare a setting with one default for every engine: the field of a group."""
    declaration = Setting(description=description, defaults=dict.fromkeys(ENGINES, default), **declared)
    return field(default=default, metadata={Setting: declaration})


def engine_setting(description: str, defaults: Mapping[str, Any], **declared: Any) -> Any:
    """Declare a setting with a default for each engine that has it: a field that is None if not given."""
    declaration = Setting(description=description, defaults=defaults, **declared)
    return field(default=None, metadata={Setting: declaration})


def settings_of(group: type[SettingsGroup]) -> Mapping[str, Setting]:
    """Return the settings that a group declares or inherits, by name."""
    settings = all_settings()
    return {each.name: settings[each.name] for each in fields(group) if each.name in settings}


@cache
def all_settings() -> Mapping[str, Setting]:
    """Return the settings of all groups by name, completed with the types of their fields."""
    settings = {}
    hints = get_type_hints(EngineArgs)
    for each in fields(EngineArgs):
        if Setting in each.metadata:
            hint = hints[each.name]
            members = [hint] if get_origin(hint) is Literal or not get_args(hint) else get_args(hint)
            types = [member for member in members if member is not type(None)]
            settings[each.name] = each.metadata[Setting]._replace(
                name=each.name,
                type=types[0],
                is_optional=len(types) < len(members),
                is_repeatable=len(types) > 1,
            )
    return settings


def settings_schema() -> dict[str, Any]:
    """Return a JSON Schema of an object with settings of any group."""
    properties = {name: declared.json_schema for name, declared in all_settings().items()}
    return {"type": "object", "properties": properties}


@dataclass(frozen=True, kw_only=True, init=False, repr=False, eq=False)
class SettingsGroup:
    """Settings that belong together, with a `title`.

    Groups are the bases of `EngineConfig` and `EngineArgs`, which alone have a constructor: it raises
    ConfigError for a value that is not accepted.
    """

    title: ClassVar[str]

    def __post_init__(self) -> None:
        for name, declared in settings_of(type(self)).items():
            value = getattr(self, name)
            if not (declared.is_repeatable or (value is None and declared.is_optional)):
                declared.check(value)

    def values_of(self, group: type[SettingsGroup]) -> dict[str, Any]:
        """Return the values of those settings that `group` declares, by name."""
        return {name: getattr(self, name) for name in settings_of(group)}


@dataclass(frozen=True, kw_only=True, init=False, repr=False, eq=False)
class InputSettings(SettingsGroup):
    """How the text of a trace becomes tokens."""

    title = "Input"

    tokenizer: str = setting(
        "Tokenizer: embedded, char, byte, a tiktoken encoding or model name, or the path of a .tiktoken "
        "file, of a tokenizer.json, or of its folder.",
        "embedded",
        metavar="NAME",
        suggestions=("embedded", "char", "byte"),
    )


@dataclass(frozen=True, kw_only=True, init=False, repr=False, eq=False)
class ResponseSettings(SettingsGroup):
    """Limits of every response. They override the fields of the trace; None leaves those as they are."""

    title = "Response"

    max_tokens: int | None = setting(
        "Maximum output tokens per request.", None, at_least=1, at_most=MAX_TOKENS
    )
    min_tokens: int | None = setting(
        "Output tokens before a stop string may end a request.", None, at_least=0, at_most=MAX_TOKENS
    )
    stop: str | Sequence[str] | None = setting("Stop string; may be repeated.", None, metavar="TEXT")
    include_stop_str_in_output: bool = setting("Keep the stop string in the output.", False)
    eos_step: bool = setting("End each response with an end-of-sequence token, as a model does.", False)


@dataclass(frozen=True, kw_only=True, init=False, repr=False, eq=False)
class EngineSettings(SettingsGroup):
    """An engine and its scheduler, by vLLM's names. None stands for the default of the engine."""

    title = "Engine"

    engine: EngineName = setting("Scheduler to simulate.", "simple")
    max_num_seqs: int | None = engine_setting(
        "Maximum number of requests that run at once.",
        dict.fromkeys(ENGINES, 256),
        at_least=1,
        at_most=MAX_TOKENS,
    )
    max_num_batched_tokens: int | None = engine_setting(
        "Maximum number of tokens in the batch of a step.",
        {"simple": None, "vllm-v0": None, "vllm-v1": 2048},
        unset="no limit",
        at_least=1,
        at_most=MAX_TOKENS,
    )
    max_model_len: int | None = engine_setting(
        "Maximum number of prompt and output tokens of a request.",
        dict.fromkeys(ENGINES),
        unset="no limit",
        at_least=1,
        at_most=MAX_TOKENS,
    )
    block_size: int | None = engine_setting(
        "Number of tokens in a KV cache block.",
        dict.fromkeys(ENGINES, 16),
        at_least=1,
        at_most=MAX_TOKENS,
    )
    num_gpu_blocks: int | None = engine_setting(
        "Number of KV cache blocks.",
        dict.fromkeys(ENGINES),
        unset="unlimited",
        at_least=1,
        at_most=MAX_TOKENS,
        alias="num_gpu_blocks_override",
    )
    watermark: float | None = engine_setting(
        "Fraction of the KV cache blocks that stays free when a request is admitted.",
        {"simple": 0.01, "vllm-v0": 0.01, "vllm-v1": 0.0},
        at_least=0,
        below=1,
        metavar="FRACTION",
    )
    enable_prefix_caching: bool | None = engine_setting(
        "Reuse the KV cache blocks of equal prompt prefixes.",
        {"vllm-v1": False},
    )
    enable_chunked_prefill: bool | None = engine_setting(
        "Prefill a long prompt in chunks, over several steps.",
        {"vllm-v1": True},
    )
    async_scheduling: bool | None = engine_setting(
        "Plan a step before the tokens of the step before are known, as `vllm serve` does on a GPU.",
        {"vllm-v1": False},
    )
    stop_delay: int | None = engine_setting(
        "How many steps later than in vLLM's LLM class the abort of a request comes whose stop string is "
        "complete; at least 1 in a server.",
        {"vllm-v1": 0},
        at_least=0,
        at_most=MAX_TOKENS,
    )
    scheduling_policy: SchedulingPolicy | None = engine_setting(
        "Order of the waiting queue: first come, first served, or by the priority of the requests.",
        {"vllm-v1": "fcfs"},
    )
    long_prefill_token_threshold: int | None = engine_setting(
        "Maximum number of tokens of one prompt in a step; 0: no limit.",
        {"vllm-v1": 0},
        at_least=0,
        at_most=MAX_TOKENS,
    )
    scheduler_reserve_full_isl: bool | None = engine_setting(
        "Admit a request only if the blocks for its whole prompt are free.",
        {"vllm-v1": True},
    )


@dataclass(frozen=True, kw_only=True, init=False, repr=False, eq=False)
class TimeSettings(SettingsGroup):
    """How long a step takes, and when requests arrive: see `parse_clock` and `parse_arrivals`."""

    title = "Time"

    clock: str = setting(
        "Duration of a step: steps (time is counted in steps), constant:20ms, linear:base=5ms,decode=80us "
        "(prefill=, context=, prefill_context= and first_N= too), or a .toml file that has them.",
        "steps",
        metavar="CLOCK",
        suggestions=("steps", "constant:", "linear:"),
    )
    arrivals: str = setting(
        "Arrival of the requests: trace, asap (all at once), poisson:RATE, constant:RATE or gamma:RATE:CV "
        "(per second; per step without a clock), trace-rate:FACTOR (random, at the trace's rate over time) "
        "or closed:USERS.",
        "trace",
        metavar="ARRIVALS",
        suggestions=("trace", "asap", "poisson:", "constant:", "gamma:", "trace-rate:", "closed:"),
    )
    speedup: float = setting(
        "Factor by which requests arrive faster.", 1.0, over=0, at_most=MAX_FACTOR, metavar="FACTOR"
    )
    sessions: SessionMode = setting(
        "When later turns of a session arrive: follow (after the turn before has finished, and their delay), "
        "recorded (at the trace's arrival times), or ignore (each turn is a request of its own).",
        "follow",
    )
    seed: int = setting("Seed of random arrivals.", 0, at_least=MIN_INTEGER, at_most=MAX_INTEGER)


@dataclass(frozen=True, kw_only=True, init=False, repr=False, eq=False)
class ReplicaSettings(SettingsGroup):
    """How many engines serve the requests, and who picks one for each: see `parse_router`."""

    title = "Replicas"

    replicas: int = setting(
        "Number of engines, each with a KV cache of its own.", 1, at_least=1, at_most=MAX_REPLICAS
    )
    router: str = setting(
        "Who picks a replica for each request: vllm (as vLLM's data parallelism does), round-robin, random, "
        "least-requests, prefix or prefix:WEIGHT (the longest cached prefix, weighed against load), session "
        "(that of the session's first turn), or module:Class.",
        "vllm",
        metavar="ROUTER",
        suggestions=("vllm", "round-robin", "random", "least-requests", "prefix", "session"),
    )


GROUPS: Final = (InputSettings, ResponseSettings, EngineSettings, ReplicaSettings, TimeSettings)
"""Every group of settings, in the order of the command line's help."""


@dataclass(frozen=True, kw_only=True)
class EngineConfig(EngineSettings):
    """The settings of one engine: checked, with the engine's default for each that is None or not given.

    A setting that the engine does not have stays None, and is an error if it is given. Raises ConfigError,
    which names the setting and the engine.
    """

    if TYPE_CHECKING:  # every engine has a default for these, so they are never None here
        max_num_seqs: int = 256
        block_size: int = 16
        watermark: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, declared in settings_of(EngineConfig).items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, declared.defaults.get(self.engine))
            elif self.engine not in declared.defaults:
                known = ", ".join(each for each in self.known() if each != "engine")
                raise ConfigError(
                    f"is not a setting of engine {self.engine!r}, which has {known}; give an engine that has "
                    f"it: {', '.join(declared.defaults)}",
                    setting=name,
                )

    def known(self) -> dict[str, Any]:
        """Return the settings that the engine has, by name, with the name of the engine first."""
        declared = settings_of(EngineConfig)
        return {name: getattr(self, name) for name in declared if self.engine in declared[name].defaults}


@dataclass(frozen=True, kw_only=True)
class EngineArgs(TimeSettings, ReplicaSettings, ResponseSettings, InputSettings, EngineSettings):
    """Every setting of a replay, as given; None stands for the default of the engine.

    `tracesim replay --help` describes each setting as the option with its name. `use_simulator` must be true:
    there is no model to run. `sim_trace_path` is the trace, or the traces, with the responses.
    Raises ConfigError for a value that is not accepted.
    """

    use_simulator: bool = True
    sim_trace_path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None

    def create_engine_config(self) -> EngineConfig:
        """Return the settings of the engine. Raises ConfigError for one that it does not have."""
        return EngineConfig(**self.values_of(EngineSettings))

    def changed(self) -> dict[str, Any]:
        """Return the settings that are not the engine's defaults, by name, without `engine`."""
        values = self.resolved()
        defaults = {name: setting.defaults.get(self.engine) for name, setting in all_settings().items()}
        return {name: value for name, value in values.items() if name != "engine" and value != defaults[name]}

    def resolved(self) -> dict[str, Any]:
        """Return the settings with their defaults, by name, for a report: `EngineArgs` takes them again.

        Settings that the engine does not have are not among them, those of time only if one was given, and
        those of replicas only if there are several.
        """
        settings = self.create_engine_config().known()
        settings |= self.values_of(InputSettings) | self.values_of(ResponseSettings)
        if self.replicas > 1:
            settings |= self.values_of(ReplicaSettings)
        time = self.values_of(TimeSettings)
        is_given = any(value != all_settings()[name].defaults[self.engine] for name, value in time.items())
        return settings | time if is_given else settings
