"""A profile: settings of a replay in a TOML file, checked as options are, and where they come from.

    [engine]
    engine = "vllm-v1"
    num_gpu_blocks = 4096

    [clock]
    base = "6ms"
    decode = "150us"

    [arrivals]
    arrivals = "poisson:4"

    [source]
    description = "Measured on our test server."

`[engine]` and `[arrivals]` have settings by their names, `[clock]` what `clock_of_table` reads. `[source]`
may have anything; `description` and `url` are text, and `fitted_on` is a `FittedRange`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from tracesim.config import (
    EngineArgs,
    EngineSettings,
    ReplicaSettings,
    TimeSettings,
    all_settings,
    settings_of,
)
from tracesim.errors import ConfigError, brief
from tracesim.profiles.presets import presets, similar_presets
from tracesim.timing.arrival_process import parse_arrivals
from tracesim.timing.clock import clock_in_file, clock_of_table, is_clock_file
from tracesim.toml_file import TomlFile, parse_toml, read_toml

_FOLDER: Final = Path(__file__).with_name("built_in")

_SETTINGS: Final[Mapping[str, Sequence[str]]] = {
    "engine": list(settings_of(EngineSettings)),
    "replicas": list(settings_of(ReplicaSettings)),
    "arrivals": [name for name in settings_of(TimeSettings) if name != "clock"],
}
"""The settings of each table whose keys are settings."""

_TABLES: Final = ("engine", "replicas", "clock", "arrivals", "source")


@dataclass(frozen=True, slots=True)
class FittedRange:
    """The batches that a clock was fitted on, as the most in one step: beyond them it is a guess.

    They are the requests that decode, the prompt tokens, and the tokens that one request has in the KV cache.
    """

    decode_requests: int
    prefill_tokens: int
    context_tokens: int


@dataclass(frozen=True, slots=True)
class Profile:
    """The content of a profile: `name` is its own if it is built in, else the path of its file.

    `settings` are those it gives, by the names of `EngineArgs`, and `source` is where they come from. `text`
    is the file's, with the hash `sha256`.
    """

    name: str
    settings: Mapping[str, Any]
    source: Mapping[str, Any]
    text: str
    sha256: str

    @property
    def description(self) -> str:
        """What the profile is for, in a sentence, or ""."""
        return str(self.source.get("description", ""))

    @property
    def fitted_on(self) -> FittedRange | None:
        """The batches that the profile's clock was fitted on, if it says so."""
        fitted_on = self.source.get("fitted_on")
        return None if fitted_on is None else FittedRange(**fitted_on)


def built_in_profiles() -> list[str]:
    """Return the names of the built-in profiles, without the presets, in alphabetical order."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml") if path.stem != "presets")


def profile_names() -> list[str]:
    """Return the names of all built-in profiles, with the presets."""
    return [*built_in_profiles(), *presets()]


def load_profile(name: str | os.PathLike[str]) -> Profile:
    """Return the built-in profile or the preset with this name, or else the profile in this file.

    Raises ConfigError, which names the file, the table, the key and what is accepted.
    """
    name = os.fspath(name)
    if name in built_in_profiles():
        return _checked(name, read_toml(_FOLDER / f"{name}.toml", "profile"))
    if name.endswith(".toml") or Path(name).exists():
        return _checked(name, read_toml(Path(name), "profile"))
    preset = presets().get(name.lower())
    if preset is None:
        from difflib import get_close_matches

        close = similar_presets(name) or get_close_matches(name, built_in_profiles(), cutoff=0.6)
        hint = f"did you mean {' or '.join(close)}?" if close else "`tracesim profiles` lists them"
        raise ConfigError(
            f"is {brief(name)}; must be a TOML file or a built-in profile, such as vllm-serve or "
            f"h100/llama-3.1-8b; {hint}",
            setting="profile",
        )
    limits = load_profile(preset.profile).settings
    text = preset.text(limits)
    return _checked(preset.name, TomlFile(text.encode(), parse_toml(text)))


def engine_args_from_profiles(
    profiles: Iterable[Profile | str | os.PathLike[str]], **settings: Any
) -> EngineArgs:
    """Return the settings of `profiles`, of which later ones override earlier ones and `settings` all.

    A profile may be given by name or file. A clock file among `settings` is read, so that the result stands
    for itself. Raises ConfigError; a setting that the engine does not have is an error with its profile.
    """
    merged: dict[str, Any] = {}
    places: dict[str, str] = {}
    for each in profiles:
        profile = each if isinstance(each, Profile) else load_profile(each)
        merged |= profile.settings
        places |= {name: _place(profile.name, "engine", name) for name in profile.settings}
    merged |= settings
    if is_clock_file(str(merged.get("clock"))):
        merged["clock"] = clock_in_file(merged["clock"])
    args = EngineArgs(**merged)
    try:
        args.create_engine_config()
    except ConfigError as error:
        if error.setting in places and error.setting not in settings:
            raise ConfigError(error.problem, setting=places[error.setting]) from None
        raise
    return args


def profile_text(args: EngineArgs, description: str) -> str:
    """Return a profile with these settings as TOML, which `load_profile` reads.

    It has every setting of the engine, and of the arrivals what is not the default. Settings that a profile
    cannot have are in comments.
    """
    changed = args.changed()
    clock = changed.pop("clock", None)
    engine = args.create_engine_config().known()
    tables = {
        "source": {"description": description},
        "engine": {name: value for name, value in engine.items() if value is not None},
        "arrivals": {name: changed[name] for name in _SETTINGS["arrivals"] if name in changed},
    }
    if clock is not None:
        kind, _, costs = clock.partition(":")
        pairs = [f"constant={costs}"] if kind == "constant" else costs.split(",")
        tables["clock"] = {name.strip(): cost for name, _, cost in (pair.partition("=") for pair in pairs)}
    lines = []
    for table, content in tables.items():
        if content:
            lines += [f"[{table}]", *(f"{name} = {json.dumps(value)}" for name, value in content.items()), ""]
    others = changed.keys() - tables["engine"].keys() - tables["arrivals"].keys()
    lines += [f"# with {name} = {json.dumps(changed[name])}" for name in sorted(others)]
    return "\n".join(lines).rstrip() + "\n"


def _checked(name: str, file: TomlFile) -> Profile:
    """Return the profile that a file has. Raises ConfigError."""
    tables = file.document
    for table, content in tables.items():
        if table not in _TABLES or not isinstance(content, dict):
            found = f"has {brief(table)}" if table not in _TABLES else f"has {table}, which is no table"
            accepted = ", ".join(f"[{each}]" for each in _TABLES)
            raise ConfigError(f"{found}; a profile has the tables {accepted}", setting=f"profile: {name}")
    settings: dict[str, Any] = {}
    for table, known in _SETTINGS.items():
        for key, value in tables.get(table, {}).items():
            _check_setting(_place(name, table, key), key, value, known)
            settings[key] = value
    if "clock" in tables:
        settings["clock"] = clock_of_table(tables["clock"], f"profile: {name}: [clock]")
    if "arrivals" in settings:
        try:
            parse_arrivals(settings["arrivals"])
        except ConfigError as error:
            raise ConfigError(error.problem, setting=_place(name, "arrivals", "arrivals")) from None
    source = tables.get("source", {})
    _check_source(name, source)
    return Profile(name, settings, source, file.content.decode(), hashlib.sha256(file.content).hexdigest())


def _check_source(name: str, source: Mapping[str, Any]) -> None:
    """Raise ConfigError if a key of the table `[source]` that has a meaning has no such value."""
    for key in ("description", "url"):
        if not isinstance(source.get(key, ""), str):
            problem = f"is {brief(source[key])}; must be a string"
            raise ConfigError(problem, setting=_place(name, "source", key))
    if "fitted_on" in source:
        fitted_on, names = source["fitted_on"], [field.name for field in fields(FittedRange)]
        is_range = isinstance(fitted_on, dict) and sorted(fitted_on) == sorted(names)
        if not is_range or any(type(each) is not int or each < 1 for each in fitted_on.values()):
            problem = f"is {brief(fitted_on)}; must have {', '.join(names)}, each an integer >= 1"
            raise ConfigError(problem, setting=_place(name, "source", "fitted_on"))


def _check_setting(place: str, key: str, value: Any, known: Sequence[str]) -> None:
    """Raise ConfigError, which calls the setting `place`, unless it is known and its value is accepted."""
    if key not in known:
        raise ConfigError(f"is no setting{_suggestion(key, known)}", setting=place)
    try:
        all_settings()[key].check(value)
    except ConfigError as error:
        raise ConfigError(error.problem, setting=place) from None


def _place(profile: str, table: str, key: str) -> str:
    return f"profile: {profile}: [{table}] {key if key.isidentifier() else brief(key)}"


def _suggestion(word: str, known: Sequence[str]) -> str:
    """Return the known words that are similar to `word`, or else all of them, as the end of a message."""
    from difflib import get_close_matches

    close = get_close_matches(word, known, cutoff=0.6)
    return f"; did you mean {' or '.join(close)}?" if close else f": {', '.join(known)}"
