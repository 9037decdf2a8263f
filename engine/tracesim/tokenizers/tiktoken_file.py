"""Vocabularies in tiktoken's file format: on each line a token in base64, a space and its rank."""

from __future__ import annotations

import binascii
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tracesim.errors import TokenizerError
from tracesim.tokenizers import vocabulary

if TYPE_CHECKING:
    import tiktoken

_HIGHEST_RANK: Final = 2**32 - 2
"""tiktoken keeps ranks in 32 bits, and the highest of them for itself."""


def read_encoding(name: str, path: Path) -> tiktoken.Encoding:
    """The encoding `name` with the vocabulary of a file, cut into words by the embedded vocabulary's pattern.

    Raises TokenizerError, with file and line, when the file cannot be read or is no such vocabulary.
    """
    import tiktoken

    try:
        content = path.read_bytes()
    except OSError as error:
        raise TokenizerError(f"tokenizer {name!r}: cannot read {path}: {error.strerror}") from error
    ranks = _ranks(content) or _ranks_line_by_line(name, path, content)
    if missing := [byte for byte in range(256) if bytes((byte,)) not in ranks]:
        raise TokenizerError(f"tokenizer {name!r}: {path} lacks {len(missing)} of the 256 single bytes")
    return tiktoken.Encoding(name, pat_str=vocabulary.SPLIT_PATTERN, mergeable_ranks=ranks, special_tokens={})


def _ranks(content: bytes) -> dict[bytes, int] | None:
    """What a `.tiktoken` file says, if its ranks count from 0 without a gap, as nearly all do."""
    words = content.split()
    try:
        ranks = {binascii.a2b_base64(token): rank for rank, token in enumerate(words[::2])}
        regular = list(map(int, words[1::2])) == list(range(content.count(b"\n")))
    except ValueError:
        return None
    return ranks if regular and len(ranks) * 2 == len(words) and b"" not in ranks else None


def _ranks_line_by_line(name: str, path: Path, content: bytes) -> dict[bytes, int]:
    """The same, with the line of what is wrong in a TokenizerError."""
    ranks: dict[bytes, int] = {}
    taken: set[int] = set()
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            token, rank = _token_and_rank(line)
        except ValueError:
            say = f"not a base64 token, a space and its rank, an integer from 0 to {_HIGHEST_RANK}"
            raise TokenizerError(f"tokenizer {name!r}: {path}:{number}: {say}") from None
        if token in ranks or rank in taken:
            say = "the same token" if token in ranks else f"the same rank, {rank},"
            raise TokenizerError(f"tokenizer {name!r}: {path}:{number}: an earlier line has {say} already")
        ranks[token] = rank
        taken.add(rank)
    return ranks


def _token_and_rank(line: bytes) -> tuple[bytes, int]:
    """What a line of a `.tiktoken` file says. Raises ValueError where it is none."""
    encoded, digits = line.split()
    token, rank = binascii.a2b_base64(encoded), int(digits)
    if not token or not 0 <= rank <= _HIGHEST_RANK:
        raise ValueError
    return token, rank
