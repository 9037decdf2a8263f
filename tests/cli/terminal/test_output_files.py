"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from tracesim_cli.terminal import output_files
from tracesim_cli.terminal.output_files import atomic_writer, lock_temporary


def write(path: Path, content: bytes, error: type[BaseException] | None = None) -> None:
    """Write with `atomic_writer`, and fail in the middle if there is an error to raise."""
    with atomic_writer(path) as file:
        file.write(content)
        if error:
            raise error


def permissions(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_target_is_whole_when_the_block_ends(tmp_path: Path) -> None:
    """The old content stays until the new is complete, and nothing else is left in the folder."""
    target = tmp_path / "report.json"
    target.write_bytes(b"old")
    with atomic_writer(target) as file:
        file.write(b"new")

        assert target.read_bytes() == b"old"

    assert target.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, BrokenPipeError])
def test_an_error_leaves_the_old_target(tmp_path: Path, error: type[BaseException]) -> None:
    """Whatever ends the block early, the target is unchanged and the new content is gone."""
    target = tmp_path / "report.json"
    target.write_bytes(b"old")
    with pytest.raises(error):
        write(target, b"new", error)

    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_an_error_leaves_no_new_target(tmp_path: Path) -> None:
    """A file that did not exist does not exist after a failure."""
    with pytest.raises(ValueError, match=r"^$"):
        write(tmp_path / "report.json", b"new", ValueError)

    assert list(tmp_path.iterdir()) == []


def test_a_new_file_has_the_permissions_that_open_gives(tmp_path: Path) -> None:
    """The umask decides, as everywhere."""
    (tmp_path / "plain").touch()
    write(tmp_path / "atomic", b"")

    assert permissions(tmp_path / "atomic") == permissions(tmp_path / "plain")


def test_a_file_keeps_its_permissions(tmp_path: Path) -> None:
    """Replacing the content does not open a private file to others."""
    target = tmp_path / "report.json"
    target.touch()
    target.chmod(0o600)
    write(target, b"new")

    assert permissions(target) == 0o600


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_stays_a_link(tmp_path: Path, exists: bool) -> None:
    """The file that it names gets the content, in another folder too and if it does not exist yet."""
    target = tmp_path / "elsewhere" / "report.json"
    target.parent.mkdir()
    if exists:
        target.touch()
    link = tmp_path / "link"
    link.symlink_to(target)
    write(link, b"new")

    assert link.readlink() == target
    assert target.read_bytes() == b"new"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("missing/report.json", FileNotFoundError), (".", IsADirectoryError), ("file/x", NotADirectoryError)],
)
def test_an_unwritable_path_fails_on_entry(tmp_path: Path, name: str, expected: type[OSError]) -> None:
    """The error comes before any work is done, and has the path that was given."""
    (tmp_path / "file").touch()
    path = tmp_path / name
    with pytest.raises(expected) as caught:
        atomic_writer(path).__enter__()

    assert caught.value.filename == str(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write every file")
def test_a_file_that_may_not_be_written_is_not_replaced(tmp_path: Path) -> None:
    """Permission to write its folder is not enough."""
    target = tmp_path / "report.json"
    target.touch(mode=0o400)
    with pytest.raises(PermissionError):
        write(target, b"new")


def test_a_named_pipe_is_written_directly(tmp_path: Path) -> None:
    """It is still a pipe afterwards, and its reader has the content."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write(pipe, b"new")
    reader.join()

    assert read == [b"new"]
    assert pipe.is_fifo()


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="this system has no /dev/fd")
def test_a_file_under_dev_is_written_directly(tmp_path: Path) -> None:
    """The file behind /dev/stdout is open already: nobody would see a new file in its place."""
    target = tmp_path / "redirected"
    with target.open("wb") as file:
        before = target.stat().st_ino
        write(Path(f"/dev/fd/{file.fileno()}"), b"new")

    assert target.read_bytes() == b"new"
    assert target.stat().st_ino == before
    write(Path("/dev/null"), b"gone")


@pytest.fixture(params=["a file without a name", "a hidden file"])
def _system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system with files that have no name, and one without."""
    if request.param == "a hidden file":
        monkeypatch.setattr(output_files, "_UNNAMED", None)


@pytest.mark.usefixtures("_system")
@pytest.mark.parametrize("exists", [False, True])
def test_a_file_is_whole_on_every_system(tmp_path: Path, exists: bool) -> None:
    target = tmp_path / "report.json"
    if exists:
        target.write_bytes(b"old")
        target.chmod(0o640)
    write(target, b"new" * 99_999)

    assert target.read_bytes() == b"new" * 99_999
    assert not exists or permissions(target) == 0o640
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.usefixtures("_system")
def test_what_a_killed_process_has_left_is_removed_by_the_next(tmp_path: Path) -> None:
    """What a process that lives has locked stays, and so does any other file."""
    left, used, folder = (tmp_path / f".tracesim-{digit * 16}.tmp" for digit in "0ab")
    other = tmp_path / ".tracesim-x.tmp"
    folder.mkdir()
    (folder / "tokenizer.json").touch()
    for path in (left, used, other):
        path.touch()
    with used.open("rb") as file:
        lock_temporary(file.fileno())
        write(tmp_path / "report.json", b"new")

    assert {*tmp_path.iterdir()} == {used, other, tmp_path / "report.json"}
