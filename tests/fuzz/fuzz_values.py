"""Values that programs trip over, and random changes of JSON values, tables and bytes."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import random
import zipfile
from io import BytesIO
from typing import Any, Final

import zstandard

INTEGERS: Final = (
    0,
    -1,
    1,
    2,
    2**31,
    2**32 - 1,
    2**32,
    2**53 + 1,
    2**63 - 1,
    2**63,
    2**64 - 1,
    2**64,
    10**30,
)
FLOATS: Final = (0.0, -0.0, 5e-324, 1e-12, 0.5, 1.0, 18.0, 1e10, 1e15, 1e300, -1.5)
TEXTS: Final = (
    "",
    "a",
    "=1+1",
    "@x",
    " ",
    "a b",
    '"',
    "+3",
    "r1",
    "r2",
    "-",
    "\x1b[31mred\x1b[2J",
    "\x9b31m",
    "\x7f",
    "\r\nforged",
    "a\r",
    "\0",
    "\u202eabc",
    "\u200b\u2060",
    "\u0300" * 9,
    "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\ufeff",
    "\uffff",
    "\U000e0041",
    "漢字" * 9,
    "x" * 600,
    "\U0001f600" * 300,
    "</script><b>",
    "\\u0041",
    "::error::x",
    "%0Aforged",
)
_RAW: Final = (
    "NaN",
    "Infinity",
    "-Infinity",
    "1" * 400,
    "9" * 5000,
    "1e400",
    "-0",
    "1E5",
    "tru",
    "\\ud800",
    "[" * 300,
)
_MARK: Final = "\ue000RAW"
_MOST_NODES: Final = 60


def any_value(rng: random.Random) -> Any:
    """Return a value of any type; some are written as text that is no valid JSON."""
    kind = rng.randrange(9)
    if kind < 2:
        return rng.choice(INTEGERS) * rng.choice((1, 1, 1, -1))
    if kind == 2:
        return rng.choice(FLOATS)
    if kind < 5:
        return rng.choice(TEXTS)
    if kind == 5:
        return rng.choice((None, True, False, [], {}, [[]], {"": {}}, ["a", 1], {"id": 1}))
    if kind == 6:
        return [any_value(rng) for _ in range(rng.randrange(4))]
    if kind == 7:
        return f"{_MARK}{rng.choice(_RAW)}{_MARK}"
    return rng.choice(TEXTS) * rng.randrange(1, 40)


def changed(rng: random.Random, value: Any) -> Any:
    """Return a JSON value with one part replaced, removed, repeated, renamed or moved."""
    if isinstance(value, dict) and value:
        key = rng.choice(list(value))
        if rng.random() < 0.7:
            return {**value, key: changed(rng, value[key])}
        others = {name: item for name, item in value.items() if name != key}
        return rng.choice(
            (
                others,
                {**others, rng.choice(TEXTS): value[key]},
                {**others, rng.choice(list(value)): value[key]},
                {**value, rng.choice(TEXTS): any_value(rng)},
                [value],
                any_value(rng),
            )
        )
    if isinstance(value, list) and value:
        at = rng.randrange(len(value))
        if rng.random() < 0.7:
            return [*value[:at], changed(rng, value[at]), *value[at + 1 :]]
        return rng.choice(
            (
                value[:at],
                value[at:],
                [*value, value[at]],
                [*value, any_value(rng)],
                value[::-1],
                any_value(rng),
                {},
            )
        )
    return any_value(rng)


def to_json(rng: random.Random, value: Any, indent: int | None = None) -> bytes:
    """Return the JSON of a value, in ASCII or not, with the raw parts that `any_value` has made."""
    text = json.dumps(value, ensure_ascii=rng.random() < 0.5, indent=indent)
    for mark in (_MARK, json.dumps(_MARK)[1:-1]):
        text = text.replace(f'"{mark}', "").replace(f'{mark}"', "")
        text = text.replace(mark, "")
    return text.encode("utf-8", "surrogatepass")


def changed_table(rng: random.Random, text: str) -> str:
    """Return CSV with some cells, rows or columns changed."""
    rows = [line.split(",") for line in text.splitlines()[:_MOST_NODES]]
    for _ in range(rng.randrange(1, 5)):
        row = rng.choice(rows)
        at = rng.randrange(len(row) or 1)
        cells = (
            *map(str, INTEGERS),
            *map(str, FLOATS),
            *TEXTS,
            "nan",
            "inf",
            "1e400",
            "9" * 5000,
            '"',
            "2023-99-99",
        )
        change = rng.randrange(5)
        if change < 3 and row:
            row[at] = rng.choice(cells)
        elif change == 3:
            rows.append(list(row))
        else:
            row[at:at] = [rng.choice(cells)]
    return (
        rng.choice(("\n", "\r\n", "\n\n")).join(map(rng.choice((",", ";", "\t", ",", ",")).join, rows)) + "\n"
    )


def changed_bytes(rng: random.Random, data: bytes) -> bytes:
    """Return bytes with some of them flipped, removed, inserted, repeated or moved."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(len(found) + 1)
        size = rng.choice((1, 1, 2, 16, 200))
        change = rng.randrange(6)
        if change == 0 and at < len(found):
            found[at] ^= 1 << rng.randrange(8)
        elif change == 1:
            found[at:at] = rng.randbytes(size)
        elif change == 2:
            del found[at : at + size]
        elif change == 3:
            found[at:at] = found[at : at + size]
        elif change == 4:
            found[at:] = b""
        else:
            found[at:at] = rng.choice(
                (b"\n", b'"', b"{", b"[", b"]", b"}", b",", b"\\", b"\0", b"\xff", b"\xef\xbb\xbf")
            )
    return bytes(found)


def compressed(rng: random.Random, data: bytes) -> tuple[str, bytes]:
    """Return the end of a file name and the data in one of the compressions, sometimes damaged."""
    archive = BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as members:
        for number in range(rng.choice((1, 1, 1, 0, 2))):
            members.writestr(f"{number}.jsonl", data)
    suffix, found = rng.choice(
        (
            (".gz", gzip.compress(data)),
            (".gz", gzip.compress(data) * 2 + b"\0" * 9),
            (".zst", zstandard.compress(data)),
            (".bz2", bz2.compress(data)),
            (".xz", lzma.compress(data)),
            (".zip", archive.getvalue()),
        )
    )
    if rng.random() < 0.5:
        found = changed_bytes(rng, found)
    return rng.choice((suffix, ".jsonl", suffix)), found
