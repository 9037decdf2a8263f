"""The replays of `tracesim compare`: each profile with the same trace and the same other settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from tracesim.analysis.metrics import Slo, parse_slo
from tracesim.analysis.saved_report import SavedReport, checked_report
from tracesim.errors import ConfigError
from tracesim.profiles.profile import engine_args_from_profiles, load_profile, profile_names
from tracesim_cli.commands.option_groups import GivenSettings
from tracesim_cli.commands.replay_loading import load_engine
from tracesim_cli.commands.replay_notes import notes_on_range
from tracesim_cli.commands.replay_options import InputOptions
from tracesim_cli.commands.replay_sinks import RunFigures
from tracesim_cli.terminal.exit_codes import print_message
from tracesim_cli.views.run_view import RunSettings


@dataclass(frozen=True, slots=True)
class ReplayInputs:
    """What every replay has in common."""

    given: GivenSettings
    traces: Sequence[str]
    inputs: InputOptions
    slo: Slo | None

    @classmethod
    def checked(
        cls,
        profiles: Sequence[str],
        given: GivenSettings,
        traces: Sequence[str],
        inputs: InputOptions,
        slo: str | None,
    ) -> ReplayInputs:
        """Return the inputs of the replays of these profiles. Raises ConfigError if they do not fit."""
        if profiles and not traces:
            problem = f"is missing; {profiles[0]} is a profile, which is replayed with a trace"
            raise ConfigError(problem, setting="--trace")
        if not profiles:
            given_options = [
                *(["--trace"] if traces else []),
                *(["--slo"] if slo else []),
                *(["--profile"] if given.profiles else []),
                *(f"--{name.replace('_', '-')}" for name in given),
            ]
            if given_options:
                problem = "changes nothing: all are reports, and only profiles are replayed"
                raise ConfigError(problem, setting=given_options[0])
        if "-" in traces and len(profiles) > 1:
            raise ConfigError("must be files: each profile is replayed with them", setting="--trace")
        for each in profiles:
            args = engine_args_from_profiles([*given.profiles, each], **given)
            if slo is not None and args.clock == "steps":
                problem = f"needs a clock, which {each} has not; choose one with --clock"
                raise ConfigError(problem, setting="--slo")
        return cls(given, traces, inputs, None if slo is None else parse_slo(slo))


def is_profile(name: str) -> bool:
    """Return whether an input of the command is a profile, by its name, rather than a report."""
    is_built_in = name.lower() in profile_names() and not Path(name).exists()
    return name.endswith(".toml") or is_built_in


def replay_profile(name: str, replays: ReplayInputs, *, quiet: bool) -> SavedReport:
    """Return the report of a replay with the settings of a profile; notes are printed unless `quiet`."""
    profiles = [load_profile(each) for each in [*replays.given.profiles, name]]
    args = engine_args_from_profiles(profiles, **replays.given)
    engine = load_engine(args, replays.traces, replays.inputs, quiet=quiet)
    engine.run()
    if not quiet:
        for note in notes_on_range(engine, profiles, args.clock):
            print_message(note)
    settings = RunSettings(args, [], replays.traces, replays.inputs.limit)
    return checked_report(name, orjson.loads(RunFigures(engine, settings, replays.slo).report))
