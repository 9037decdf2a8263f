"""`tracesim calibrate`: fit the clock to what was measured on a real server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tracesim.config import EngineArgs, TimeSettings, settings_of
from tracesim.errors import ConfigError
from tracesim.profiles.profile import engine_args_from_profiles, load_profile
from tracesim.timing.calibration import require_scipy
from tracesim.timing.clock import Clock, is_clock_file, parse_clock
from tracesim.tokenizers.loading import LazyTokenizer
from tracesim.trace.reader import read_records
from tracesim_cli.commands.arguments import Force, TraceFormat, named
from tracesim_cli.commands.option_groups import GivenSettings, with_option_groups
from tracesim_cli.terminal.exit_codes import print_message, with_exit_codes
from tracesim_cli.terminal.output_files import atomic_writer, refuse_existing
from tracesim_cli.terminal.status import counting_status

EPILOG = """\
Example:
tracesim calibrate bench.json --trace trace.jsonl --profile vllm-serve --num-gpu-blocks 4096 -o gpu.toml

Exit codes:
0  the profile is written
1  the trace is invalid
2  wrong usage, or the measurements cannot be used"""


def _all_named(names: Any) -> list[str]:  # Any: on Python 3.10 Typer fails at list[str] here
    return [named(name) for name in names]


@with_exit_codes
@with_option_groups
def calibrate(
    measured: Annotated[
        list[str],
        typer.Argument(
            metavar="MEASURED",
            help="What was measured: vLLM's log with a line per step, results of vllm bench serve, guidellm "
            "or aiperf, step records with durations, or CSV or JSONL with the times of requests.",
            callback=_all_named,
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Profile to write.")],
    given: GivenSettings,
    trace: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TRACE", help="What was sent to the server, for its prompts; several files are one trace."
        ),
    ] = None,
    trace_format: TraceFormat = None,
    shape: Annotated[
        str | None,
        typer.Option(
            metavar="PROFILE|CLOCK",
            help="Keep the proportions of this clock, and fit only the scale: a profile, or a clock as "
            "--clock takes it.",
        ),
    ] = None,
    part: Annotated[
        float, typer.Option(metavar="FRACTION", help="Part that is fitted, in time; the rest is scored.")
    ] = 0.5,
    save_html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Page of measured against predicted (needs plotly).")
    ] = None,
    force: Force = False,
) -> None:
    """Fit the clock to measurements of a real server, and write it as a profile with its errors.

    The engine's options say what was measured; the engine is vllm-v1 unless they say otherwise. The first
    part in time is fitted, and the rest is predicted and compared, so the errors are those of requests or
    steps that the fit has not seen.
    """
    require_scipy()
    from tracesim.calibration.calibrate import Task
    from tracesim.calibration.calibrate import calibrate as fit
    from tracesim.calibration.profile_text import profile_text
    from tracesim.measured.reading import read_measured
    from tracesim_cli.views.calibration_view import format_calibration

    if not 0 < part < 1:
        raise ConfigError(f"is {part:g}; must be over 0 and under 1", setting="part")
    args = _engine_args(given)
    for path, option in ((output, "--output"), (save_html, "--save-html")):
        if path is not None:
            refuse_existing(path, option, force=force)
            if str(path) in (*measured, *(trace or ()), *given.profiles):
                raise ConfigError(f"is {path}, which is read", setting=option)
    if save_html is not None:
        from tracesim.charts.html import plotly_javascript

        plotly_javascript()
    runs = read_measured(measured)
    records = read_records(trace, trace_format=trace_format) if trace else None
    with counting_status("fitting: replay") as on_replay:
        task = Task(
            args.create_engine_config(),
            records,
            LazyTokenizer(args.tokenizer),
            None if shape is None else shape_of(shape),
            part,
            on_replay,
        )
        calibration = fit(runs, task)
    source = {"trace": trace} if trace else {}
    text = profile_text(calibration, args, measured, **source, **({"shape": shape} if shape else {}))
    with atomic_writer(output) as file:
        file.write(text.encode())
    if save_html is not None:
        from tracesim.charts.calibration_page import calibration_page

        with atomic_writer(save_html) as file:
            file.write(calibration_page(calibration, measured))
    for line in format_calibration(calibration):
        typer.echo(line)
    for warning in calibration.warnings:
        print_message(f"warning: {warning}")


def shape_of(value: str) -> Clock:
    """Return the clock that a value of `--shape` names. Raises ConfigError."""
    if not value.startswith(("constant:", "linear:")) and not is_clock_file(value):
        try:
            value = str(load_profile(value).settings.get("clock", "steps"))
        except ConfigError as error:
            raise ConfigError(
                error.problem, setting=f"shape{(error.setting or '').removeprefix('profile')}"
            ) from None
    clock = parse_clock(value, "shape")
    if clock is None:
        raise ConfigError("has no clock; must be a profile with a clock, or a clock", setting="shape")
    return clock


def _engine_args(given: GivenSettings) -> EngineArgs:
    """Return the settings of the engine that was measured. Raises ConfigError for those that time decides."""
    for name in settings_of(TimeSettings):
        if name in given:
            advice = "--shape keeps a clock's proportions" if name == "clock" else "arrivals are measured"
            raise ConfigError(f"is not a setting here: {advice}", setting=name)
    profiles = [load_profile(each) for each in given.profiles]
    settings: dict[str, Any] = (
        {"engine": "vllm-v1"} if all("engine" not in p.settings for p in profiles) else {}
    )
    settings |= {name: each.defaults["vllm-v1"] for name, each in settings_of(TimeSettings).items()}
    return engine_args_from_profiles(profiles, **settings | given)
