"""The traces that a command is given, apart from the many options that only `tracesim replay` has."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tracesim.trace.formats import FormatName


def named(name: str) -> str:
    """`name`, which is no empty string. Raises BadParameter."""
    if not name:
        raise typer.BadParameter("is empty; a name is needed")
    return name


def _all_named(names: Any) -> list[str]:  # Any: on Python 3.10 Typer fails at list[str] here
    return [named(name) for name in names]


Traces = Annotated[
    list[str],
    typer.Argument(
        metavar="TRACE",
        help="Trace files of any format, .gz and .zst too; - is standard input.",
        callback=_all_named,
    ),
]
TraceFormat = Annotated[
    FormatName | None,
    typer.Option("--trace-format", help="The format of the traces; told by their content where not given."),
]
SkipInvalid = Annotated[bool, typer.Option("--skip-invalid", help="Leave invalid records out.")]
TokenizerName = Annotated[
    str,
    typer.Option(
        help="embedded, char, byte, a tiktoken encoding or model name, or the path of a .tiktoken file, "
        "a tokenizer.json or its folder.",
        callback=named,
    ),
]
