"""The formats of `tracesim validate`.

The module of format NAME is `as_NAME`. Its `format_report` yields the lines of a report. A module is imported
when its format is wanted.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Literal

from tracesim_cli.views.validation.report import ValidationReport

OutputFormat = Literal["text", "json", "github", "gitlab", "sarif", "junit"]


def format_report(report: ValidationReport, output_format: OutputFormat) -> Iterator[str]:
    """Yield the lines of a report in one of the formats."""
    lines: Iterator[str] = import_module(f"{__name__}.as_{output_format}").format_report(report)
    return lines
