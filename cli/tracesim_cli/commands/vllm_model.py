"""`tracesim vllm-model`: a model folder with which vLLM answers from a trace, with no download."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from tracesim.errors import ConfigError
from tracesim.vllm.model_folder import model_files
from tracesim_cli.terminal.exit_codes import with_exit_codes
from tracesim_cli.terminal.safe_text import visible

EPILOG = """\
Example:
tracesim vllm-model ./recorded && vllm serve ./recorded --use-simulator --sim-trace trace.jsonl

Exit codes:
0  the folder has the model
2  wrong usage, or the folder cannot be written"""


@with_exit_codes
def vllm_model(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to write; new, or empty.")],
) -> None:
    """Write a model folder that vLLM can serve from a trace: a tokenizer, and no weights.

    The tokenizer has the embedded vocabulary. Exit code 0: it is there; 2: it cannot be.
    """
    files = model_files()
    if not _holds(folder, files):
        _write(folder, files)
    typer.echo(f"{visible(str(folder))}: {', '.join(files)}")


def _holds(folder: Path, files: Mapping[str, bytes]) -> bool:
    """Whether the folder is written already. Raises ConfigError where it holds something else."""
    if not folder.is_dir() or not any(folder.iterdir()):
        return False
    if all((folder / name).is_file() and (folder / name).read_bytes() == files[name] for name in files):
        return True
    raise ConfigError(f"{folder} is not empty, and a model may be in it; name a new folder")


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the files beside `folder`, then give them its name: it is there whole or not at all."""
    target = Path(os.path.realpath(folder))
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".tracesim-{os.urandom(8).hex()}.tmp")
    try:
        temporary.mkdir()
        for name, content in files.items():
            (temporary / name).write_bytes(content)
        temporary.replace(target)
    except OSError as error:
        raise OSError(error.errno, error.strerror, os.fspath(folder)) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
