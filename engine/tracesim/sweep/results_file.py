"""The results of a sweep in a file: one line of JSON a point, from which an interrupted sweep continues."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import orjson

from tracesim import __version__
from tracesim.errors import ConfigError, brief
from tracesim.sweep.replay_point import Outcome, Replay

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

SWEEP_SCHEMA: Final = "tracesim.sweep/1"


@dataclass(frozen=True, slots=True)
class Result:
    """A point that was replayed, and what became of it. The trace is known by its hash."""

    replay: Replay
    outcome: Outcome
    trace: str

    def document(self) -> dict[str, Any]:
        """Return the line of this result in a file, as an object of JSON."""
        replay, outcome = self.replay, self.outcome
        document: dict[str, Any] = {
            "schema": SWEEP_SCHEMA,
            "version": __version__,
            "trace": self.trace,
            "point": dict(replay.point.varied),
            "gpus": replay.point.gpus,
            **_asked(replay),
        }
        for name in ("verdict", "figures", "error"):
            if (value := getattr(outcome, name)) is not None:
                document[name] = value
        return document | {"settings": replay.point.args.resolved()}

    def line(self) -> bytes:
        """Return the line of this result in a file."""
        return orjson.dumps(self.document(), option=orjson.OPT_APPEND_NEWLINE)

    def row(self) -> dict[str, Any]:
        """Return the varied settings and the figures in one flat dictionary, as a table library takes it."""
        return {**self.replay.point.varied, **(self.outcome.figures or {})}


def key_of(replay: Replay) -> bytes:
    """Return what distinguishes a replay from others of a trace: its settings, and what is asked of it."""
    content = [replay.point.args.resolved(), replay.point.gpus, _asked(replay)]
    return orjson.dumps(content, option=orjson.OPT_SORT_KEYS)


def _asked(replay: Replay) -> dict[str, Any]:
    slo = None if replay.slo is None else replay.slo.limits()
    asked = {"slo": slo, "attainment": replay.attainment, "skip_invalid": replay.skip_invalid or None}
    return {name: value for name, value in asked.items() if value is not None}


class ResultsFile:
    """The file of a sweep's results, opened to continue it: `known` has what earlier runs have left there.

    Each result is appended as it comes, whole or not at all; `finish` puts the lines in the order of the
    sweep. A last line that is incomplete, as a killed process leaves it, is dropped. Lines of other points
    stay, after those of the sweep. Raises ConfigError, with the line, for a file that is not one of results,
    for results of another trace or version of tracesim, and while another sweep writes the file; OSError with
    the name of the file where it cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], trace: str) -> None:
        self.path = os.fspath(path)
        self.known: dict[bytes, Outcome] = {}
        self._trace = trace
        self._lines: dict[bytes, bytes] = {}
        self._file = os.open(
            self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o666
        )
        try:
            self._lock()
            self._read()
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> ResultsFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.close(self._file)

    def add(self, result: Result) -> None:
        """Append a result, unless the file has it."""
        key, line = key_of(result.replay), result.line()
        if key not in self._lines:
            self._append(line)
        self._lines[key] = line

    def finish(self, results: Iterable[Result]) -> None:
        """Put the lines of these results first, in this order, and write the file anew if that changes it.

        Points with equal settings have one line, that of the first.
        """
        lines: dict[bytes, bytes] = {}
        for result in results:
            lines.setdefault(key_of(result.replay), result.line())
        content = b"".join(
            (lines | {key: line for key, line in self._lines.items() if key not in lines}).values()
        )
        if content == Path(self.path).read_bytes():
            return
        target = Path(os.path.realpath(self.path))
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            try:
                with temporary.open("wb") as file:
                    file.write(content)
                temporary.replace(target)
            except OSError as error:
                raise OSError(error.errno, error.strerror, self.path) from None
        finally:
            temporary.unlink(missing_ok=True)

    def _lock(self) -> None:
        """Keep other sweeps from writing the file, where the system has locks."""
        if fcntl is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"is {self.path}, which another sweep writes now; name another file", setting="results"
            ) from None
        except OSError:  # a file system without locks
            return

    def _append(self, line: bytes) -> None:
        """Write a line at the end; where that fails, remove what of it was written."""
        end = os.fstat(self._file).st_size
        try:
            written = 0
            while written < len(line):
                written += os.write(self._file, line[written:])
        except BaseException as error:
            with contextlib.suppress(OSError):  # a device has no length
                os.ftruncate(self._file, end)
            if isinstance(error, OSError):
                raise OSError(error.errno, error.strerror, self.path) from None
            raise

    def _read(self) -> None:
        """Read the results of earlier runs, and cut off an incomplete last line."""
        content = Path(self.path).read_bytes()
        complete = content.rfind(b"\n") + 1
        for number, line in enumerate(content[:complete].splitlines(keepends=True), 1):
            document = _document(line, f"{self.path}:{number}")
            self._check_origin(document, f"{self.path}:{number}")
            key, outcome = _entry(document, f"{self.path}:{number}")
            self.known[key], self._lines[key] = outcome, line
        if complete < len(content):
            os.ftruncate(self._file, complete)

    def _check_origin(self, document: Mapping[str, Any], place: str) -> None:
        """Raise ConfigError for a result of another trace or another version."""
        for name, found, current in (
            ("version of tracesim", document.get("version"), __version__),
            ("trace", document.get("trace"), self._trace),
        ):
            if found != current:
                raise ConfigError(
                    f"is {place}, which has a result of another {name}: {brief(found)}, and this is "
                    f"{current!r}; name another file, or remove this one",
                    setting="results",
                )


def _document(line: bytes, place: str) -> dict[str, Any]:
    """Return a line as an object. Raises ConfigError if it is not a result."""
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict) or document.get("schema") != SWEEP_SCHEMA:
        raise ConfigError(
            f"is {place}, which is no result of a sweep ({SWEEP_SCHEMA}); name another file",
            setting="results",
        )
    return document


def _entry(document: Mapping[str, Any], place: str) -> tuple[bytes, Outcome]:
    """Return the key and the outcome of a result. Raises ConfigError if fields are missing."""
    try:
        asked = {name: document[name] for name in ("slo", "attainment", "skip_invalid") if name in document}
        content = [document["settings"], document["gpus"], asked]
    except KeyError as error:
        raise ConfigError(
            f"is {place}, which has no field {error}; name another file", setting="results"
        ) from None
    outcome = Outcome(document.get("figures"), document.get("verdict"), document.get("error"))
    return orjson.dumps(content, option=orjson.OPT_SORT_KEYS), outcome
