"""The command `tracesim`, run in the process of the test."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner, Result

from tracesim_cli.main import app


def run(*arguments: str | Path, stdin: str | bytes | None = None, **environ: str) -> Result:
    """Run `tracesim` with these arguments: in plain text and 80 columns, unless `environ` says otherwise."""
    usual = {"COLUMNS": "80", "NO_COLOR": "1"}
    return CliRunner().invoke(app, [str(each) for each in arguments], input=stdin, env=usual | environ)
