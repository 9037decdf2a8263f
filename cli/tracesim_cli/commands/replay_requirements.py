"""`replay --require`: limits for the figures of a run, each met or not at its end."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from tracesim.analysis.figure_text import format_unlike
from tracesim.analysis.figures import Requirement, parse_requirement
from tracesim.config import EngineConfig
from tracesim.errors import ConfigError
from tracesim_cli.commands.replay_sinks import RunFigures
from tracesim_cli.terminal.exit_codes import ExitCode, fail
from tracesim_cli.terminal.text import counted

_NEEDED = {
    "clock": "a clock; choose one with --clock",
    "slo": "limits for requests; give them with --slo",
    "num_gpu_blocks": "a KV cache with a size; give it with --num-gpu-blocks",
    "enable_prefix_caching": "--enable-prefix-caching",
    "async_scheduling": "--async-scheduling, or --stop-delay",
}


def parse_requirements(
    texts: Sequence[str], config: EngineConfig, *, has_clock: bool, has_slo: bool
) -> list[Requirement]:
    """Return the requirements. Raises ConfigError if one of them measures what this run does not have."""
    given = {
        "clock": has_clock,
        "slo": has_slo,
        "num_gpu_blocks": config.num_gpu_blocks is not None,
        "enable_prefix_caching": config.enable_prefix_caching,
        "async_scheduling": config.async_scheduling or config.stop_delay is not None,
    }
    requirements = [parse_requirement(text) for text in texts]
    for each in requirements:
        needs = each.figure.needs
        if needs and not given[needs]:
            raise ConfigError(f"needs {_NEEDED[needs]}", setting=f"require: {each.text}")
    return requirements


def check_requirements(requirements: Sequence[Requirement], figures: RunFigures, *, for_people: bool) -> None:
    """End the command with a line for each requirement that the run does not meet, if there are any."""
    if failed := list(_not_met(requirements, figures)):
        sys.stdout.flush()
        fail(*failed, code=ExitCode.NOT_MET)
    if requirements and for_people:
        sys.stdout.write(f"\n{counted(len(requirements), 'requirement')} met\n")


def _not_met(requirements: Sequence[Requirement], figures: RunFigures) -> Iterator[str]:
    for each in requirements:
        value = each.figure.value(figures)
        if value is None:
            yield f"not met: {each.text.strip()}; the run has none"
        elif not each.is_met_by(value):
            yield f"not met: {each.text.strip()}; it is {format_unlike(each.figure, value, each.limit)}"
