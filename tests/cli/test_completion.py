"""Completion in shells: a real bash, and what zsh and fish ask the command for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from paths import ROOT

ENVIRON = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def output_of(*command: str, **environ: str) -> str:
    done = subprocess.run(
        command, cwd=ROOT, env=ENVIRON | environ, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


def completed_by_bash(line: str) -> list[str]:
    """Return what bash offers for the last word of a line, by the function that it gets from the command."""
    script = """
        eval "$(_TRACESIM_COMPLETE=source_bash tracesim)"
        COMP_WORDS=($1); [[ $1 == *" " ]] && COMP_WORDS+=("")
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        _tracesim_completion tracesim
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    return output_of("bash", "--norc", "-c", script, "bash", line).split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("tracesim val", ["validate"]),
        ("tracesim replay --engine v", ["vllm-v0", "vllm-v1"]),
        ("tracesim replay --profile vllm-serve-", ["vllm-serve-b200", "vllm-serve-h100"]),
        ("tracesim replay --tokenizer ", ["embedded", "char", "byte"]),
        ("tracesim validate --ignore no-f", ["no-final-newline"]),
        ("tracesim diff --ignore prefill.", ["prefill.id", "prefill.computed", "prefill.tokens"]),
    ],
)
def test_bash_completes(line: str, offered: list[str]) -> None:
    assert completed_by_bash(line) == offered


def test_bash_completes_files_where_nothing_else_is_offered() -> None:
    script = 'eval "$(_TRACESIM_COMPLETE=source_bash tracesim)"; complete -p tracesim'

    assert completed_by_bash("tracesim replay sample_traces/mil") == []
    assert output_of("bash", "--norc", "-c", script) == "complete -o default -F _tracesim_completion tracesim"


@pytest.mark.parametrize(
    ("line", "offered"), [("tracesim sch", "schema"), ("tracesim replay --speed", "--speedup")]
)
def test_zsh_and_fish_complete(line: str, offered: str) -> None:
    asked = {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}

    assert f'"{offered}":' in output_of("tracesim", _TRACESIM_COMPLETE="complete_zsh", **asked)
    assert output_of("tracesim", _TRACESIM_COMPLETE="complete_fish", **asked).split("\t")[0] == offered
