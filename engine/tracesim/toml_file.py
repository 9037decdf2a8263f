"""TOML files of settings: read whole, and refused with one sentence if they cannot be."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final, NamedTuple

from tracesim.errors import ConfigError
from tracesim.limits import MAX_INTEGER, MIN_INTEGER

MAX_BYTES: Final = 4 << 20
"""The size of the largest file that is read."""

_MAX_DEPTH: Final = 32


class TomlFile(NamedTuple):
    """The content of a file, and the document that it spells."""

    content: bytes
    document: dict[str, Any]


def read_toml(path: Path, setting: str) -> TomlFile:
    """Return a TOML file that the setting of this name gives.

    Raises ConfigError if it cannot be read, is not TOML or larger than `MAX_BYTES`, or if it nests tables and
    arrays more than 32 deep or has an integer of more than 64 bits.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"is {path}, which cannot be read: {error.strerror}", setting=setting) from error
    if len(content) > MAX_BYTES:
        raise ConfigError(f"is {path}, which has more than {MAX_BYTES:,} bytes", setting=setting)
    try:
        document = parse_toml(content.decode())
    except ValueError as error:  # of the encoding, the syntax, or a number that Python refuses
        raise ConfigError(f"is {path}, which is not TOML: {error}", setting=setting) from error
    except RecursionError:
        raise ConfigError(f"is {path}, whose tables or arrays nest too deeply", setting=setting) from None
    return TomlFile(content, document)


def parse_toml(text: str) -> dict[str, Any]:
    """Return the document that `text` spells. Raises ValueError, or RecursionError if it nests too deeply."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except ValueError:  # Python refuses integers of thousands of digits
        raise ValueError("it has an integer of more than 64 bits") from None
    level: list[Any] = [document]
    for _ in range(_MAX_DEPTH):
        inner: list[Any] = []
        for value in level:
            # TOML asks for integers of 64 bits.
            if isinstance(value, int) and not MIN_INTEGER <= value <= MAX_INTEGER:
                raise ValueError("it has an integer of more than 64 bits")
            if isinstance(value, dict | list):
                inner += value.values() if isinstance(value, dict) else value
        level = inner
    if level:
        raise RecursionError
    return document
