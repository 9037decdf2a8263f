"""`replay --expect`: the steps of a run compared with a step log while they happen."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

from tracesim.analysis.step_diff import Comparison, StepDiff, StepMatcher, StepPair
from tracesim.analysis.step_log import open_step_log, run_log, to_logged_step
from tracesim.config import EngineConfig
from tracesim.engine.step_records import StepRecord
from tracesim.errors import ConfigError
from tracesim_cli.commands.replay_options import ComparisonOptions, OutputFormat
from tracesim_cli.commands.replay_sinks import RunFigures, Sink, is_for_people, people_stream
from tracesim_cli.terminal.display import choose_display
from tracesim_cli.terminal.exit_codes import UnexpectedStepError
from tracesim_cli.terminal.lines import plain_text
from tracesim_cli.terminal.safe_text import visible
from tracesim_cli.terminal.text import counted
from tracesim_cli.views.diff_view import not_compared, print_diff


class ExpectationSink(Sink):
    """A step log that the run must equal; it is the left side of the comparison, the run the right.

    Raises StepLogError if the log cannot be read, and ConfigError if `--case` does not fit it.
    """

    def __init__(
        self, path: str, options: ComparisonOptions, output_format: OutputFormat, *, config: EngineConfig
    ) -> None:
        expected = open_step_log(path, options.case)
        if options.case is not None and expected.case is None:
            raise ConfigError(f"needs a golden file, which has cases; {path} is none", setting="--case")
        self._format = output_format
        self._comparison = Comparison(expected, run_log(config), options.ignore or ())
        self._matcher = StepMatcher(self._comparison)
        self._diff = StepDiff()

    def on_step(self, record: StepRecord) -> None:
        """Compare a step. Raises UnexpectedStepError if it differs, or if one before it is missing."""
        self._compare(self._matcher.push(to_logged_step(record)))

    def end_steps(self) -> None:
        """Raise UnexpectedStepError if the log has more steps."""
        self._compare(self._matcher.finish())

    def fail(self, error: BaseException, figures: RunFigures) -> None:
        """Print the step that differs, if that is the error, and the steps before it."""
        if isinstance(error, UnexpectedStepError):
            stream = people_stream(self._format)
            sys.stdout.flush()
            print_diff(stream, choose_display(os.environ, stream), self._comparison, self._diff, ended=False)

    def finish(self, figures: RunFigures) -> None:
        """Print that the run is as expected, and what was not compared."""
        if is_for_people(self._format):
            width = choose_display(os.environ, sys.stdout).width
            name = visible(self._comparison.left.name)
            lines = ["", f"as expected: {counted(self._diff.steps, 'step')} equal to {name}"]
            lines += map(plain_text, not_compared(self._comparison, width))
            sys.stdout.writelines(f"{line}\n" for line in lines)

    def _compare(self, pairs: Iterable[StepPair]) -> None:
        for pair in pairs:
            if self._diff.add(pair):
                raise UnexpectedStepError
