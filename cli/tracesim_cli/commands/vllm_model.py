"""`tracesim vllm-model`: write a model folder with which vLLM answers from a trace, without a download."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Annotated

import typer

from tracesim.errors import ConfigError
from tracesim.vllm.model_folder import model_files
from tracesim_cli.terminal.exit_codes import with_exit_codes
from tracesim_cli.terminal.output_files import (
    lock_temporary,
    naming_errors,
    remove_abandoned,
    temporary_name,
)
from tracesim_cli.terminal.safe_text import visible

EPILOG = """\
Example:
tracesim vllm-model ./recorded && vllm serve ./recorded --use-simulator --sim-trace trace.jsonl

Exit codes:
0  the folder has the model
2  wrong usage, or the folder cannot be written"""


@with_exit_codes
def vllm_model(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write: a new or an empty one.")],
) -> None:
    """Write a model folder that vLLM can serve from a trace: a tokenizer, and no weights.

    The tokenizer has the embedded vocabulary. A folder that has these files already is left unchanged.
    """
    files = model_files()
    if not folder.is_dir() or not any(folder.iterdir()):
        _write_whole(folder, files)
    elif any(not (folder / name).is_file() or (folder / name).read_bytes() != files[name] for name in files):
        raise ConfigError(f"{folder} is not empty and may have another model in it; name a new folder")
    typer.echo(f"{visible(str(folder))}: {', '.join(files)}")


def _write_whole(folder: Path, files: dict[str, bytes]) -> None:
    """Write a folder with these files, or nothing: they are written beside it, and the folder is renamed."""
    target = Path(os.path.realpath(folder))
    temporary = temporary_name(target)
    try:
        with naming_errors(folder):
            target.parent.mkdir(parents=True, exist_ok=True)
            remove_abandoned(target.parent)
            temporary.mkdir()
            descriptor = os.open(temporary, os.O_RDONLY)
            try:
                lock_temporary(descriptor)
                for name, content in files.items():
                    (temporary / name).write_bytes(content)
                temporary.replace(target)
            finally:
                os.close(descriptor)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
