"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import io
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from tracesim.errors import ConfigError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


_TEMPORARY = re.compile(r"\.tracesim-[0-9a-f]{16}\.tmp")
_UNNAMED = getattr(os, "O_TMPFILE", None)
"""The flag of Linux for a file that has no name yet."""


@contextmanager
def atomic_writer(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open `path` for writing. It has its new content when the block ends, and its old one if that fails.

    The content is written to a file without a name or, where the system has none, to a hidden file beside
    `path`; what a killed process has left of those is removed. Devices and pipes are written directly, and a
    link stays a link. Raises OSError with the name `path`, on entry or while writing, where that fails.
    """
    if is_special(path):
        with io.BufferedWriter(_NamedFile(path, "wb", path)) as direct:
            yield direct
        return
    target = Path(os.path.realpath(path))
    with naming_errors(path):
        remove_abandoned(target.parent)
        temporary = _open_temporary(target, path)
    try:
        with io.BufferedWriter(temporary) as file:
            yield file
            file.flush()
            with naming_errors(path):
                temporary.move_to(target)
    except BaseException:
        temporary.remove()
        raise


@contextmanager
def naming_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Give an OSError the name `path`, in place of that of a temporary file."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, os.fspath(path)) from None


class _NamedFile(io.FileIO):
    """A file whose errors have the name that was given for it, those of a later write too."""

    def __init__(self, file: str | os.PathLike[str] | int, mode: str, given: str | os.PathLike[str]) -> None:
        super().__init__(file if isinstance(file, int) else os.fspath(file), mode)
        self._given = os.fspath(given)

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._given) from None


class _TemporaryFile(_NamedFile):
    """A file that gets its name when it is complete; `path` is its hidden name until then, if it has one."""

    def __init__(self, file: int, given: str | os.PathLike[str], path: Path | None) -> None:
        super().__init__(file, "wb", given)
        self._path = path

    def move_to(self, target: Path) -> None:
        """Give the file its name, in place of a file that has it."""
        if self._path is None:
            unnamed = f"/proc/self/fd/{self.fileno()}"
            try:
                # With `src_dir_fd`, which an absolute path ignores, the call follows the link to the file.
                os.link(unnamed, target, src_dir_fd=0, follow_symlinks=True)
                return
            except FileExistsError:
                self._path = temporary_name(target)
                os.link(unnamed, self._path, src_dir_fd=0, follow_symlinks=True)
        self._path.replace(target)
        self._path = None

    def remove(self) -> None:
        """Remove the file, unless it has its name."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def temporary_name(target: Path) -> Path:
    """Return a new hidden name beside `target`."""
    return target.with_name(f".tracesim-{os.urandom(8).hex()}.tmp")


def lock_temporary(descriptor: int) -> None:
    """Mark an open temporary file or folder as that of a process that lives, as long as it is open."""
    if fcntl is not None:
        with suppress(OSError):  # a file system without locks, in which nothing is removed either
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def remove_abandoned(folder: Path) -> None:
    """Remove temporary files and folders that a killed process has left in `folder`."""
    if fcntl is None:
        return
    with suppress(OSError):
        left = [Path(each.path) for each in os.scandir(folder) if _TEMPORARY.fullmatch(each.name)]
        for path in left:
            with suppress(OSError):  # it is in use, or another user's
                descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
                finally:
                    os.close(descriptor)


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


def _open_temporary(target: Path, given: str | os.PathLike[str]) -> _TemporaryFile:
    """Open a new file beside `target`, with its permissions if it exists and may be written."""
    mode = None
    if target.exists():
        with target.open("ab"):
            mode = stat.S_IMODE(target.stat().st_mode)
    path: Path | None = None
    descriptor = _open_unnamed(target.parent)
    while descriptor is None:
        path = temporary_name(target)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o666)
        lock_temporary(descriptor)
        if not os.fstat(descriptor).st_nlink:  # another process has found it before it was locked
            os.close(descriptor)
            descriptor = None
    if path is None:
        lock_temporary(descriptor)
    if mode is not None:
        os.chmod(path or descriptor, mode)  # noqa: PTH101 - it may have no path
    return _TemporaryFile(descriptor, given, path)


def _open_unnamed(folder: Path) -> int | None:
    """Open a new file without a name in `folder`; return None where the system has no such files."""
    if _UNNAMED is None or not Path("/proc/self/fd").is_dir():
        return None
    try:
        return os.open(folder, _UNNAMED | os.O_WRONLY, 0o666)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
            return None
        raise
