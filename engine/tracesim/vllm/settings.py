"""The simulator's settings in vLLM's `--additional-config`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal, get_args

from tracesim.errors import ConfigError
from tracesim.timing.clock import Clock, parse_clock, parse_duration

Match = Literal["prompt", "last-user"]

_PREFIX: Final = "sim_"


@dataclass(frozen=True, slots=True, kw_only=True)
class SimSettings:
    """How vLLM answers, checked once; in vLLM's `additional_config` each name begins with `sim_`.

    `trace`: the trace file. `match`: whether a request is found by its whole prompt or, in a chat, by the
    last user message. `default`: the answer to a prompt that was not recorded (None: such a request fails).
    `clock`: how long steps take, as `parse_clock` reads it, or `sim_step_time`, such as `20ms` (None: no
    waiting). `log`: a file for step records. `async_scheduling`: whether vLLM schedules asynchronously (None:
    as vLLM has decided, which is never on a CPU).

    Raises ConfigError with the setting.
    """

    trace: str
    match: Match = "prompt"
    default: str | None = None
    clock: Clock | None = None
    log: str | None = None
    async_scheduling: bool | None = None

    @classmethod
    def from_additional_config(cls, additional_config: object) -> SimSettings:
        """Return the settings in vLLM's `additional_config`, which may have others as well."""
        config = additional_config if isinstance(additional_config, Mapping) else {}
        given = {
            name.removeprefix(_PREFIX): value
            for name, value in config.items()
            if isinstance(name, str) and name.startswith(_PREFIX) and not name.startswith("sim_record")
        }
        known = [*(field.name for field in fields(cls)), "step_time"]
        for name in given:
            if name not in known:
                all_names = ", ".join(_PREFIX + each for each in known)
                raise ConfigError(f"{_PREFIX}{name} is not a setting of the simulator; it knows {all_names}")
        if not given.get("trace"):
            raise ConfigError("sim_trace is missing; name the trace to answer from, with --sim-trace PATH")
        checked = {name: _checked(name, value) for name, value in given.items() if value is not None}
        step_time = checked.pop("step_time", None)
        if step_time is not None and checked.setdefault("clock", step_time) is not step_time:
            raise ConfigError("sim_step_time is set, and sim_clock too; give one of them")
        return cls(**checked)

    def check_log(self) -> None:
        """Raise ConfigError if the log cannot be written."""
        if self.log is not None:
            try:
                Path(self.log).open("ab").close()
            except OSError as error:
                raise ConfigError(
                    f"sim_log is {self.log!r}, which cannot be written: {error.strerror}"
                ) from error


def refuse_what_has_no_meaning(config: Any) -> None:
    """Raise ConfigError if a `VllmConfig` asks for what a recording cannot provide."""
    parallel = config.parallel_config
    if parallel.world_size != 1 or parallel.data_parallel_size != 1:
        raise ConfigError(
            "tensor_parallel_size, pipeline_parallel_size and data_parallel_size must be 1: no worker starts"
        )
    if config.speculative_config is not None:
        raise ConfigError("speculative_config must be unset: a recording has no draft tokens")


def _checked(name: str, value: Any) -> Any:
    if name == "step_time":
        return Clock(parse_duration("sim_step_time", value))
    if name == "async_scheduling":
        if type(value) is not bool:
            raise ConfigError(f"sim_async_scheduling is {value!r}; must be true or false")
        return value
    if type(value) is not str:
        raise ConfigError(f"{_PREFIX}{name} is {value!r}; must be a string")
    if name == "clock":
        return parse_clock(value, "sim_clock")
    if name == "match" and value not in get_args(Match):
        raise ConfigError(f"sim_match is {value!r}; must be one of {', '.join(get_args(Match))}")
    return value
