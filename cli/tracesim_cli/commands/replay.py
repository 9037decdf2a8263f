"""`tracesim replay`: run a trace through an engine and show what happens."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from tracesim.analysis.metrics import parse_slo
from tracesim.config import EngineConfig
from tracesim.errors import ConfigError
from tracesim.profiles.profile import engine_args_from_profiles, load_profile
from tracesim.timing.clock import parse_clock
from tracesim_cli.commands.arguments import Traces
from tracesim_cli.commands.option_groups import GivenSettings, with_option_groups
from tracesim_cli.commands.replay_loading import load_engine
from tracesim_cli.commands.replay_notes import notes_on_range
from tracesim_cli.commands.replay_options import (
    ComparisonOptions,
    InputOptions,
    OutputFormat,
    OutputOptions,
    TimeOptions,
)
from tracesim_cli.commands.replay_run import open_sinks, run
from tracesim_cli.commands.replay_sinks import RunFigures, Sink, is_for_people
from tracesim_cli.terminal.exit_codes import print_message, with_exit_codes
from tracesim_cli.terminal.streams import ignoring_closed_pipe
from tracesim_cli.views.event_table import EVENT_LEGEND
from tracesim_cli.views.run_view import RunSettings
from tracesim_cli.views.step_table import LEGEND

EPILOG = f"""\
{LEGEND}

{EVENT_LEGEND}

Keys while a terminal shows the table:
space  pause, and go on
→      one step
n      go to the next event
q      end, with the summary

Example:
tracesim replay trace.jsonl --profile vllm-serve --num-gpu-blocks 4096 --clock constant:20ms

Exit codes:
0    the replay is complete
1    the trace is invalid, a step differs from --expect, or the run is not as --require has it
2    wrong usage
3    stopped early: --max-steps, the key q, or the schedule cannot continue
130  interrupted"""


@with_exit_codes
@with_option_groups
def replay(
    traces: Traces,
    inputs: InputOptions,
    given: GivenSettings,
    time: TimeOptions,
    output: OutputOptions,
    comparison: ComparisonOptions,
) -> None:
    """Replay recorded responses through an engine, one output token per request per step.

    Options override profiles and the fields of the trace. A setting that the engine does not have is an
    error.
    """
    profiles = [load_profile(each) for each in given.profiles]
    args = engine_args_from_profiles(profiles, **given)
    if args.replicas > 1:
        output.check_replicas(expect=comparison.expect)
    config, clock = args.create_engine_config(), parse_clock(args.clock)
    if time.slo is not None and clock is None:
        raise ConfigError("needs a clock; choose one with --clock", setting="--slo")
    slo = None if time.slo is None else parse_slo(time.slo)
    requirements = None
    if comparison.require:
        from tracesim_cli.commands.replay_requirements import Requirements

        requirements = Requirements(
            comparison.require, config, has_clock=clock is not None, has_slo=slo is not None
        )
    expectation = _open_expectation(comparison, traces, output.output_format, config=config)
    others = [given.get("clock"), comparison.expect]
    output.check_files([*traces, *given.profiles, *(path for path in others if path)])

    engine = load_engine(args, traces, inputs, quiet=output.quiet)
    figures = RunFigures(engine, RunSettings(args, profiles, traces, inputs.limit), slo)
    with ExitStack() as stack:
        if requirements:
            stack.enter_context(ignoring_closed_pipe())  # the verdict is the exit code in any case
        with open_sinks(engine, output, expectation) as sinks:
            run(engine, sinks, figures, time.max_steps)
        if not output.quiet:
            for note in notes_on_range(engine, profiles, args.clock):
                print_message(note)
        if requirements:
            requirements.check(figures, for_people=is_for_people(output.output_format))


def _open_expectation(
    options: ComparisonOptions, traces: Sequence[str], output_format: OutputFormat, *, config: EngineConfig
) -> Sink | None:
    """Return what the steps are compared with; None without `--expect`, which the other options need."""
    if options.expect is None:
        for option, value in (("--ignore", options.ignore), ("--case", options.case)):
            if value:
                raise ConfigError("needs --expect", setting=option)
        return None
    if options.expect == "-" and "-" in traces:
        raise ConfigError("must be a file where a trace is standard input", setting="--expect")
    from tracesim_cli.commands.replay_expectation import ExpectationSink

    return ExpectationSink(options.expect, options, output_format, config=config)
