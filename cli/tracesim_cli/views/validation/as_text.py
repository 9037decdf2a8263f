"""Problems of traces for people: a line for each, and a summary of each file."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

from tracesim.trace.formats import OWN
from tracesim_cli.terminal.display import choose_display
from tracesim_cli.terminal.safe_text import visible
from tracesim_cli.terminal.text import counted
from tracesim_cli.views.validation.report import FileCounts, ValidationReport


def format_report(report: ValidationReport) -> Iterator[str]:
    """Yield a line for each problem shown, then a line for each file, and a total of several files."""
    color = choose_display(os.environ, sys.stdout).color
    yield from report.problems.lines(color=color, show_all="--max-problems 0")
    for name, counts in report.files.items():
        found = report.formats.get(name, OWN)
        yield _summary(visible(name) if found == OWN else f"{visible(name)} ({found})", counts)
    if len(report.files) > 1:
        yield _summary("total", report.total)


def _summary(name: str, counts: FileCounts) -> str:
    """Return how many records and problems a file has, in words."""
    problems = [counted(counts.errors, "error")] if counts.errors else []
    problems += [counted(counts.warnings, "warning")] if counts.warnings else []
    records = counted(counts.records, "valid record" if problems else "record")
    return f"{name}: {records}, {', '.join(problems) or 'no problems'}"
