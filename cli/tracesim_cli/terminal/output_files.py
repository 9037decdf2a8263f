"""Files that are written whole or not at all."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from tracesim.errors import ConfigError


@contextmanager
def atomic_writer(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open `path` for writing. It has its new content when the block ends, and its old one if that fails.

    The content is written to a hidden file beside it. Devices and pipes are written directly, and a link
    stays a link. Raises OSError with the name `path`, on entry or while writing, where that fails.
    """
    if is_special(path):
        with io.BufferedWriter(_NamedFile(path, "wb", path)) as direct:
            yield direct
        return
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".tracesim-{os.urandom(8).hex()}.tmp")
    try:
        with io.BufferedWriter(_open_beside(temporary, target, path)) as file:
            yield file
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


class _NamedFile(io.FileIO):
    """A file whose errors have the name that was given for it, those of a later write too."""

    def __init__(self, path: str | os.PathLike[str], mode: str, given: str | os.PathLike[str]) -> None:
        super().__init__(os.fspath(path), mode)
        self._given = os.fspath(given)

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._given) from None


def is_special(path: str | os.PathLike[str]) -> bool:
    """Return whether `path` exists and cannot be replaced: it is under /dev or /proc, or not a regular file.

    A folder is special too: opening it raises the right error.
    """
    if os.path.abspath(path).startswith(("/dev/", "/proc/")):  # noqa: PTH100 - links must not be followed
        return True
    try:
        return not stat.S_ISREG(Path(path).stat().st_mode)
    except FileNotFoundError:
        return False


def refuse_existing(path: str | os.PathLike[str], name: str, *, force: bool) -> None:
    """Raise ConfigError if `path` exists and `force` is not given; `name` is its option."""
    if not force and not is_special(path) and Path(path).exists():
        raise ConfigError(
            f"is {os.fspath(path)}, which exists already; name another file, or overwrite it with --force",
            setting=name,
        )


def _open_beside(temporary: Path, target: Path, given: str | os.PathLike[str]) -> _NamedFile:
    """Create `temporary` with the permissions that `target` has, if it exists and may be written."""
    try:
        mode = None
        if target.exists():
            with target.open("ab"):
                mode = stat.S_IMODE(target.stat().st_mode)
        file = _NamedFile(temporary, "xb", given)
        if mode is not None:
            temporary.chmod(mode)
    except OSError as error:
        raise OSError(error.errno, error.strerror, os.fspath(given)) from None
    return file
