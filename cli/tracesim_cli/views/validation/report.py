"""What was found in the files that were validated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tracesim.errors import TraceProblem
from tracesim_cli.views.problem_text import ProblemList


@dataclass(slots=True)
class FileCounts:
    """What was found in one file; `records` are those without an error."""

    records: int = 0
    errors: int = 0
    warnings: int = 0


class ValidationReport:
    """The problems of the files that were validated, and the format and counts of each file."""

    def __init__(self, files: Sequence[str], max_problems: int) -> None:
        self.files = {name: FileCounts() for name in files}
        self.formats: dict[str, str] = {}
        self.problems = ProblemList(max_problems)

    @property
    def total(self) -> FileCounts:
        """The sum over all files."""
        counts = self.files.values()
        return FileCounts(
            sum(each.records for each in counts),
            sum(each.errors for each in counts),
            sum(each.warnings for each in counts),
        )

    def add(self, problem: TraceProblem) -> None:
        """Count a problem of one of the files."""
        self.problems.add(problem)
        if problem.severity == "error":
            self.files[problem.file].errors += 1
        else:
            self.files[problem.file].warnings += 1
