"""The settings of a recording in vLLM's `--additional-config`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

from tracesim.errors import ConfigError, brief

Content = Literal["text", "token-ids", "hashes", "lengths"]
Arrivals = Literal["time", "steps"]

NAMES: Final = ("sim_record", "sim_record_content", "sim_record_arrivals")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordSettings:
    """What is recorded, and where, checked once.

    `trace` (in vLLM's `additional_config`: `sim_record`) is the file for the trace, and decides the names of
    the others. `content` (`sim_record_content`) is how much of the requests it has: `text` and token ids,
    only the `token-ids`, `lengths`, or `hashes` of prompt blocks beside the lengths. `arrivals`
    (`sim_record_arrivals`) is whether it has the times of arrivals or the steps before which they came.
    """

    trace: str
    content: Content = "text"
    arrivals: Arrivals = "time"

    @classmethod
    def from_additional_config(cls, additional_config: object) -> RecordSettings | None:
        """Return the settings in vLLM's `additional_config`, which may have others as well.

        Return None if nothing is to be recorded. Raises ConfigError with the setting.
        """
        config = additional_config if isinstance(additional_config, Mapping) else {}
        for name in config:
            if isinstance(name, str) and name.startswith("sim_record") and name not in NAMES:
                raise ConfigError(f"{name} is not a setting of a recording; it knows {', '.join(NAMES)}")
        given = {name: config[name] for name in NAMES if config.get(name) is not None}
        if not given:
            return None
        trace = given.get("sim_record")
        if trace is None:
            raise ConfigError(
                f"{next(iter(given))} is set, and sim_record is not; name the file to record to"
            )
        if not isinstance(trace, str) or not trace:
            raise ConfigError(f"sim_record is {brief(trace)}; must be the name of a file")
        if Path(trace).suffix in (".gz", ".zst"):
            raise ConfigError(
                f"sim_record is {trace!r}; a recording is not compressed, so name a .jsonl file"
            )
        return cls(
            trace=trace,
            content=_one_of(Content, given, "sim_record_content", "text"),
            arrivals=_one_of(Arrivals, given, "sim_record_arrivals", "time"),
        )

    @property
    def steps(self) -> str:
        """The file for step records: `run.steps.jsonl` beside `run.jsonl`."""
        return str(Path(self.trace).with_suffix(".steps.jsonl"))

    @property
    def profile(self) -> str:
        """The file for the profile with the engine's settings: `run.profile.toml` beside `run.jsonl`."""
        return str(Path(self.trace).with_suffix(".profile.toml"))

    def check_files(self) -> None:
        """Raise ConfigError if a file cannot be written, or exists."""
        for path in map(Path, (self.trace, self.steps, self.profile)):
            try:
                path.open("xb").close()
                path.unlink()
            except FileExistsError:
                raise ConfigError(
                    f"sim_record is {self.trace!r}, and {str(path)!r} exists; name another file, or remove it"
                ) from None
            except OSError as error:
                raise ConfigError(
                    f"sim_record is {self.trace!r}; {str(path)!r} cannot be written: {error.strerror}"
                ) from error


def refuse_what_has_no_steps(config: Any) -> None:
    """Raise ConfigError if the steps of a `VllmConfig` are not those of one scheduler, one after another."""
    parallel = config.parallel_config
    if parallel.data_parallel_size != 1:
        raise ConfigError(
            f"data_parallel_size is {parallel.data_parallel_size}; must be 1 to record: each engine has a "
            "scheduler of its own; start servers with a file each"
        )
    if parallel.pipeline_parallel_size != 1:
        raise ConfigError(
            f"pipeline_parallel_size is {parallel.pipeline_parallel_size}; must be 1 to record: the steps of "
            "several stages overlap, so no step has a duration of its own"
        )
    if config.speculative_config is not None:
        raise ConfigError(
            "speculative_config must be unset to record: a step would emit several tokens a request"
        )


def _one_of(literal: Any, given: Mapping[str, Any], name: str, default: str) -> Any:
    value = given.get(name, default)
    if value not in get_args(literal):
        raise ConfigError(f"{name} is {brief(value)}; must be one of {', '.join(get_args(literal))}")
    return value
