"""Where a problem is, as services of CI need it: paths, URIs, and fingerprints that outlive moved lines."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

from tracesim.errors import TraceProblem

_MOVING_NUMBER = re.compile(r"\b(line|record) \d+")


def workspace_path(file: str) -> str:
    """Return the path of a file as CI knows it: relative to the working directory if the file is in it.

    Parts are separated by slashes. Half surrogates, which UTF-8 cannot write, are spelled out.
    """
    return _relative(file).as_posix().encode("utf-8", "backslashreplace").decode()


def artifact_uri(file: str) -> dict[str, str]:
    """Return the location of a file in SARIF: relative to the root of the sources, or absolute outside it."""
    path = _relative(file)
    if path.is_absolute() or ".." in path.parts:
        return {"uri": Path(os.path.normpath(path.absolute())).as_uri()}
    return {"uri": quote(os.fsencode(path.as_posix())), "uriBaseId": "%SRCROOT%"}


def fingerprint(*parts: str) -> str:
    """Return a hash of the parts, in 32 hexadecimal digits."""
    text = "\0".join(parts).encode("utf-8", "backslashreplace")
    return hashlib.sha256(text).hexdigest()[:32]


def with_fingerprints(problems: Iterable[TraceProblem]) -> Iterator[tuple[TraceProblem, str]]:
    """Yield each problem with a fingerprint that stays the same when lines are added or removed above it.

    It is made from the code, the path, the field and the message without the numbers of other lines. Problems
    that are equal in all of them are numbered.
    """
    seen: Counter[str] = Counter()
    for problem in problems:
        message = _MOVING_NUMBER.sub(r"\1", problem.message)
        same = fingerprint(problem.code, workspace_path(problem.file), problem.field or "", message)
        seen[same] += 1
        yield problem, same if seen[same] == 1 else fingerprint(same, str(seen[same]))


def _relative(file: str) -> Path:
    path = Path(file)
    root = Path.cwd()
    return path.relative_to(root) if path.is_relative_to(root) else path
