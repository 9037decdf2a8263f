"""Arguments and options that several commands share."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tracesim.config import InputSettings, settings_of
from tracesim.trace.formats import FormatName
from tracesim_cli.commands.completion import offering, step_fields

_TOKENIZER = settings_of(InputSettings)["tokenizer"]


def named(name: str) -> str:
    """Return `name`. Raises BadParameter if it is empty."""
    if not name:
        raise typer.BadParameter("is empty; must be a name")
    return name


def _all_named(names: Any) -> list[str]:  # Any: on Python 3.10 Typer fails at list[str] here
    return [named(name) for name in names]


def _check_fields(names: Any) -> Any:
    if not names:
        return names
    from tracesim.analysis.step_diff import IGNORABLE

    for name in names:
        if name not in IGNORABLE:
            raise typer.BadParameter(f"is {name!r}, which no step has; must be one of {', '.join(IGNORABLE)}")
    return names


Traces = Annotated[
    list[str],
    typer.Argument(
        metavar="TRACE",
        help="Trace files of any format, also compressed (.gz, .zst, .bz2, .xz, .zip); - is standard input.",
        callback=_all_named,
    ),
]
TraceFormat = Annotated[
    FormatName | None,
    typer.Option("--trace-format", help="Format of the traces; detected from their content by default."),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite files that exist.")]
SkipInvalid = Annotated[bool, typer.Option("--skip-invalid", help="Skip invalid records.")]
Ignore = Annotated[
    list[str] | None,
    typer.Option(
        help="Ignore a field of the steps, such as free_blocks or emitted.text; may be repeated.",
        metavar="FIELD",
        callback=_check_fields,
        autocompletion=offering(step_fields),
    ),
]
Case = Annotated[str | None, typer.Option(help="Case of a golden file that has several.", metavar="NAME")]
TokenizerName = Annotated[
    str,
    typer.Option(
        help=_TOKENIZER.description,
        metavar="NAME",
        callback=named,
        autocompletion=offering(_TOKENIZER.suggestions),
    ),
]
