"""`replay --require`: limits for the figures of a run, each met or not at its end."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tracesim.analysis.figure_text import format_unlike
from tracesim.analysis.figures import parse_requirement
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


class Requirements:
    """The limits that a run must keep."""

    def __init__(self, texts: Sequence[str], config: EngineConfig, *, has_clock: bool, has_slo: bool) -> None:
        """Raise ConfigError if a text is no requirement, or measures what this run does not have."""
        given = {
            "clock": has_clock,
            "slo": has_slo,
            "num_gpu_blocks": config.num_gpu_blocks is not None,
            "enable_prefix_caching": config.enable_prefix_caching,
            "async_scheduling": config.async_scheduling or config.stop_delay is not None,
        }
        self._requirements = [parse_requirement(text) for text in texts]
        for each in self._requirements:
            needs = each.figure.needs
            if needs and not given[needs]:
                raise ConfigError(f"needs {_NEEDED[needs]}", setting=f"require: {each.text}")

    def check(self, figures: RunFigures, *, for_people: bool) -> None:
        """End the command with a line for each requirement that the run does not meet, if there are any."""
        not_met = []
        for each in self._requirements:
            value = each.figure.value(figures)
            if value is None:
                not_met.append(f"not met: {each.text.strip()}; the run has none")
            elif not each.is_met_by(value):
                found = format_unlike(each.figure, value, each.limit)
                not_met.append(f"not met: {each.text.strip()}; it is {found}")
        if not_met:
            sys.stdout.flush()
            fail(*not_met, code=ExitCode.NOT_MET)
        if for_people:
            sys.stdout.write(f"\n{counted(len(self._requirements), 'requirement')} met\n")
