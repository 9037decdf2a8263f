"""Tokenizers through tiktoken, and its encodings by name."""

from __future__ import annotations

import os
import re
import threading
from array import array
from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Final

from tracesim.errors import TokenizerError
from tracesim.tokenizers.interface import DEFAULT, PATHS_AND_MODELS

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    import tiktoken

_FETCH_SECONDS: Final = 10.0
"""How long tiktoken may take to fetch a vocabulary of a few megabytes."""

_LONGEST_RUN: Final = 65_536
"""Characters without white space, or of nothing else, that go to a regex at once: tiktoken's own patterns
exhaust its stack at some 700,000 blanks, and byte-pair merging takes longest in the longest run."""

_WORD_BORDER: Final = re.compile(r"[^\W_](?= \S)")

_SHORT: Final = 512
_REMEMBERED: Final = 4096
"""Of so many texts, none longer than that, the token ids are remembered: traces repeat their prompts."""


class TiktokenTokenizer:
    """A `tiktoken.Encoding`. Token ids are kept in four bytes each."""

    def __init__(self, encoding: tiktoken.Encoding) -> None:
        self.name = encoding.name
        self._encoding = encoding
        self._encode_again = lru_cache(_REMEMBERED)(self._encode)
        self._num_threads = min(8, os.cpu_count() or 1)

    def encode(self, text: str) -> Sequence[int]:
        """The token ids of `text`, in which runs of over 65,536 characters are cut."""
        if len(text) <= _LONGEST_RUN:
            return self._encode(text)
        token_ids = array("I")
        for part in _cut_long_runs(text):
            token_ids.extend(self._encode(part))
        return token_ids

    def encode_batch(self, texts: Sequence[str]) -> list[Sequence[int]]:
        """The token ids of each text; tiktoken lets other threads run while it encodes."""
        if max(map(len, texts), default=0) > _LONGEST_RUN:
            return [self.encode(text) for text in texts]
        shares = [texts[first :: self._num_threads] for first in range(self._num_threads)]
        batch: list[Sequence[int]] = [()] * len(texts)
        for first, encoded in enumerate(self._threads.map(self._encode_share, shares)):
            batch[first :: self._num_threads] = encoded
        return batch

    def _encode_share(self, texts: Sequence[str]) -> list[Sequence[int]]:
        again, anew = self._encode_again, self._encode
        return [again(text) if len(text) <= _SHORT else anew(text) for text in texts]

    def _encode(self, text: str) -> array[int]:
        return array("I", self._encoding.encode_ordinary(text))

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        from concurrent.futures import ThreadPoolExecutor

        return ThreadPoolExecutor(self._num_threads)

    def decode_tokens_bytes(self, token_ids: Sequence[int]) -> list[bytes]:
        """The vocabulary's bytes of each token."""
        try:
            return self._encoding.decode_tokens_bytes(token_ids)
        except (KeyError, OverflowError) as error:
            raise TokenizerError(f"tokenizer {self.name!r} has no token {error}") from error

    def ends_in(self, text: str, token_ids: Sequence[int]) -> None:
        """Return None: the tokens spell every text."""


def _cut_long_runs(text: str) -> Iterator[str]:
    start = 0
    for run in re.finditer(rf"\s{{{_LONGEST_RUN}}}|\S{{{_LONGEST_RUN}}}", text):
        yield from _cut_between_words(text, start, run.end())
        start = run.end()
    yield from _cut_between_words(text, start, len(text))


def _cut_between_words(text: str, start: int, end: int) -> Iterator[str]:
    """Yield a part of a text in pieces that take little memory; no pattern has a token with such a border."""
    while border := _WORD_BORDER.search(text, start + _LONGEST_RUN, end):
        yield text[start : border.end()]
        start = border.end()
    yield text[start:end]


def encoding_by_name(name: str) -> tiktoken.Encoding:
    """Return the tiktoken encoding of this name, or of the model of this name. Raises TokenizerError."""
    import tiktoken

    encodings = tiktoken.list_encoding_names()
    encoding_name = name
    if name not in encodings:
        try:
            encoding_name = tiktoken.encoding_name_for_model(name)
        except KeyError:
            raise TokenizerError(_unknown(name, encodings)) from None
    fetched = _within(_FETCH_SECONDS, tiktoken.get_encoding, encoding_name)
    if isinstance(fetched, tiktoken.Encoding):
        return fetched
    raise TokenizerError(
        f"tokenizer {name!r}: tiktoken could not get the vocabulary {encoding_name}: {_reason(fetched)}. "
        f"Ways out: set TIKTOKEN_CACHE_DIR to a folder that has it, use --tokenizer {DEFAULT} "
        "(needs no network), or name a .tiktoken or tokenizer.json file"
    )


def _unknown(name: str, encodings: Sequence[str]) -> str:
    from difflib import get_close_matches

    known = [DEFAULT, "char", "byte", *encodings]
    close = get_close_matches(name, known, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return f"there is no tokenizer {name!r}{hint}. Accepted: {', '.join(known)}, {PATHS_AND_MODELS}"


def _within(seconds: float, function: Any, argument: str) -> object:
    """What `function(argument)` gives or raises, or a TimeoutError once the time is up.

    tiktoken fetches without a time limit. A thread that is still waiting then does not keep Python alive.
    """
    outcome: list[object] = []

    def call() -> None:
        try:
            outcome.append(function(argument))
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(seconds)
    return outcome[0] if outcome else TimeoutError(f"no answer within {seconds:g} seconds")


def _reason(failure: object) -> str:
    """A failure in a few words: the network library's own are a screen long."""
    if type(failure).__name__ in ("ConnectionError", "ConnectTimeout", "SSLError", "ProxyError"):
        return "the network cannot be reached"
    return str(failure).splitlines()[0] if str(failure) else type(failure).__name__
