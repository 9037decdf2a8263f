"""What `--additional-config` says of the simulator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, Literal, get_args

from tracesim.clock import parse_duration
from tracesim.errors import ConfigError

Match = Literal["prompt", "last-user"]

_PREFIX: Final = "sim_"


@dataclass(frozen=True, slots=True, kw_only=True)
class SimSettings:
    """How vLLM is to answer, checked once; in vLLM's `additional_config` each name begins with `sim_`.

    `trace`: the trace file. `match`: whether a request is found by its whole prompt or, in a chat, by the
    last user message. `default`: the answer to a prompt that was not recorded; None: such a request fails.
    `step_time`: seconds that a step takes at least, given as `20ms`. `log`: a file for step records.

    Raises ConfigError, naming the setting.
    """

    trace: str
    match: Match = "prompt"
    default: str | None = None
    step_time: float = 0.0
    log: str | None = None

    @classmethod
    def from_additional_config(cls, additional_config: object) -> SimSettings:
        """The settings in vLLM's `additional_config`, in which others may stand beside them."""
        config = additional_config if isinstance(additional_config, Mapping) else {}
        given = {
            name.removeprefix(_PREFIX): value
            for name, value in config.items()
            if isinstance(name, str) and name.startswith(_PREFIX)
        }
        known = [field.name for field in fields(cls)]
        for name in given:
            if name not in known:
                all_names = ", ".join(_PREFIX + each for each in known)
                raise ConfigError(f"{_PREFIX}{name} is not a setting of the simulator; it knows {all_names}")
        if not given.get("trace"):
            raise ConfigError("sim_trace is missing; it names the trace whose responses are answered")
        return cls(**{name: _checked(name, value) for name, value in given.items() if value is not None})


def _checked(name: str, value: Any) -> Any:
    if name == "step_time":
        return parse_duration("sim_step_time", value)
    if type(value) is not str:
        raise ConfigError(f"{_PREFIX}{name} is {value!r}; must be a string")
    if name == "match" and value not in get_args(Match):
        raise ConfigError(f"sim_match is {value!r}; must be one of {', '.join(get_args(Match))}")
    return value
