"""The traces that a command is given, apart from the many options that only `tracesim replay` has."""

from __future__ import annotations

from typing import Annotated, Any

import typer


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
        metavar="TRACE", help="JSONL files, .gz and .zst too; - is standard input.", callback=_all_named
    ),
]
