"""`replay --expect`: a run compared with a step log while it happens."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TextIO

from tracesim.analysis.step_diff import Comparison, StepDiff, StepMatcher, StepPair
from tracesim.analysis.step_log import log_of_run, logged, open_step_log
from tracesim.engine.outputs import StepRecord
from tracesim_cli.terminal.display import Display
from tracesim_cli.terminal.exit_codes import UnexpectedStepError
from tracesim_cli.terminal.lines import plain_text
from tracesim_cli.terminal.safe_text import visible
from tracesim_cli.views.diff_view import not_compared, print_diff


class Expectation:
    """The steps that a run is to have; they stand on the left, those of the run on the right.

    `prefix_caching` says whether the run tells what was cached. Raises StepLogError when the log cannot be
    read, and ConfigError when a field in `ignore` is unknown.
    """

    def __init__(self, path: str, case: str | None, ignore: Sequence[str], *, prefix_caching: bool) -> None:
        expected = open_step_log(path, case)
        self.is_golden = expected.case is not None
        self._comparison = Comparison(expected, log_of_run(prefix_caching), ignore)
        self._matcher = StepMatcher(self._comparison)
        self._diff = StepDiff()

    def on_step(self, record: StepRecord) -> None:
        """Compare a step of the run. Raises UnexpectedStepError where one differs or is missing."""
        for pair in self._matcher.push(logged(record)):
            self._take(pair)

    def finish(self) -> None:
        """Say that the run is at its end. Raises UnexpectedStepError when more steps were expected."""
        for pair in self._matcher.finish():
            self._take(pair)

    def print_difference(self, stream: TextIO, display: Display) -> None:
        """Print the step that differs, after those before it."""
        sys.stdout.flush()
        print_diff(stream, display, self._comparison, self._diff, ended=False)

    def print_equal(self, stream: TextIO, display: Display) -> None:
        """Print that all was as expected, and what was not compared."""
        name = visible(self._comparison.left.name)
        lines = [plain_text(line) for line in not_compared(self._comparison, display.width)]
        stream.writelines(
            f"{line}\n" for line in [f"as expected: {self._diff.steps:,} steps equal to {name}", *lines]
        )

    def _take(self, pair: StepPair) -> None:
        if self._diff.add(pair):
            raise UnexpectedStepError
