"""Text to tokens and back: the `Tokenizer` protocol, and `load_tokenizer(name)` for every kind there is.

A tokenizer cuts all text alike: what looks like a special token, such as `<|endoftext|>`, is plain text.
"""

from __future__ import annotations

import os
import re
import threading
from array import array
from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from tracesim import vocabulary
from tracesim.byte_level import read_bytes
from tracesim.errors import TokenizerError
from tracesim.tiktoken_file import read_encoding

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    import tiktoken
    import tokenizers

DEFAULT: Final = "embedded"

_FETCH_SECONDS: Final = 10.0
"""How long tiktoken may take to fetch a vocabulary of a few megabytes."""

_OTHERS: Final = "an OpenAI model name, or the path of a .tiktoken file, a tokenizer.json or its folder"

_LONGEST_RUN: Final = 65_536
"""Characters without white space, or of nothing else, that go to a regex at once: tiktoken's own patterns
exhaust its stack at some 700,000 blanks, and byte-pair merging takes longest in the longest run."""

_SHORT: Final = 512
_REMEMBERED: Final = 4096
"""Of so many texts, none longer than that, the token ids are remembered: traces repeat their prompts."""


class Tokenizer(Protocol):
    """Text to token ids, and what each token id spells."""

    name: str

    def encode(self, text: str) -> Sequence[int]:
        """The token ids of `text`."""
        ...

    def encode_batch(self, texts: Sequence[str]) -> list[Sequence[int]]:
        """The token ids of each text, worked out on all cores where the tokenizer can."""
        ...

    def decode_tokens_bytes(self, token_ids: Sequence[int]) -> list[bytes]:
        """The bytes that each token adds to the text, in order; joined they are the text in UTF-8.

        Raises TokenizerError for an id that is not in the vocabulary.
        """
        ...


def load_tokenizer(name: str = DEFAULT) -> Tokenizer:
    """The tokenizer called `name`.

    `embedded` (shipped with the package), `char` (a token is a character), `byte`, a tiktoken encoding or
    model name, the path of a `.tiktoken` file, or the path of a Hugging Face `tokenizer.json` or its folder.

    Raises TokenizerError when there is no such thing or it cannot be read, with the ways out.
    """
    if not name:
        raise TokenizerError(f"a tokenizer's name is empty. Accepted: {DEFAULT}, char, byte, {_OTHERS}")
    if name == "embedded":
        return TiktokenTokenizer(read_encoding(name, vocabulary.path()))
    if name == "char":
        return CharTokenizer()
    if name == "byte":
        return ByteTokenizer()
    path = Path(name)
    if path.is_dir():
        path = path / "tokenizer.json"
    if path.suffix == ".json":
        return HuggingFaceTokenizer.from_file(name, path)
    if path.suffix == ".tiktoken":
        return TiktokenTokenizer(read_encoding(name, path))
    return TiktokenTokenizer(_encoding_by_name(name))


class LazyTokenizer:
    """The tokenizer called `name`, loaded when it is first used: many a trace has no text."""

    def __init__(self, name: str) -> None:
        self.name = name

    @cached_property
    def _loaded(self) -> Tokenizer:
        return load_tokenizer(self.name)

    def encode(self, text: str) -> Sequence[int]:
        """The token ids of `text`. Raises TokenizerError when the tokenizer cannot be loaded."""
        return self._loaded.encode(text)

    def encode_batch(self, texts: Sequence[str]) -> list[Sequence[int]]:
        """The token ids of each text. Raises TokenizerError when the tokenizer cannot be loaded."""
        return self._loaded.encode_batch(texts)

    def decode_tokens_bytes(self, token_ids: Sequence[int]) -> list[bytes]:
        """The bytes of each token. Raises TokenizerError."""
        return self._loaded.decode_tokens_bytes(token_ids)


class CharTokenizer:
    """One token a character; its id is the code point."""

    name = "char"

    def encode(self, text: str) -> Sequence[int]:
        """The code points of `text`."""
        return array("I", map(ord, text))

    def encode_batch(self, texts: Sequence[str]) -> list[Sequence[int]]:
        """The code points of each text."""
        return [self.encode(text) for text in texts]

    def decode_tokens_bytes(self, token_ids: Sequence[int]) -> list[bytes]:
        """Each code point in UTF-8."""
        try:
            return [chr(token_id).encode() for token_id in token_ids]
        except (ValueError, OverflowError) as error:
            raise TokenizerError(f"tokenizer 'char': not a code point: {error}") from error


class ByteTokenizer:
    """One token a byte of the text in UTF-8; its id is the byte."""

    name = "byte"

    def encode(self, text: str) -> Sequence[int]:
        """The bytes of `text`."""
        return text.encode()

    def encode_batch(self, texts: Sequence[str]) -> list[Sequence[int]]:
        """The bytes of each text."""
        return [self.encode(text) for text in texts]

    def decode_tokens_bytes(self, token_ids: Sequence[int]) -> list[bytes]:
        """Each byte by itself."""
        try:
            return [bytes((token_id,)) for token_id in token_ids]
        except ValueError as error:
            raise TokenizerError(f"tokenizer 'byte': {error}") from error


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


class HuggingFaceTokenizer:
    """A `tokenizer.json`, through Hugging Face's `tokenizers`.

    Where the tokenizer normalizes (lower case, Unicode forms), what its tokens spell is what a model that
    uses it would have shown, and may differ from the recorded text.
    """

    def __init__(self, name: str, tokenizer: tokenizers.Tokenizer) -> None:
        """`tokenizer` becomes this object's own: its settings are changed."""
        from tokenizers.decoders import ByteLevel, DecodeStream

        self.name = name
        self._tokenizer = tokenizer
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True
        self._new_stream = DecodeStream
        self._is_byte_level = isinstance(tokenizer.decoder, ByteLevel)
        self._added = frozenset(tokenizer.get_added_tokens_decoder())
        self._bytes: dict[int, bytes] = {}

    @classmethod
    def from_file(cls, name: str, path: Path) -> HuggingFaceTokenizer:
        """The tokenizer in a `tokenizer.json`. Raises TokenizerError when it is none or cannot be read."""
        try:
            import tokenizers
        except ImportError as error:
            raise TokenizerError(
                f"tokenizer {name!r} needs the package tokenizers: pip install 'tracesim[hf]'"
            ) from error
        if not path.is_file():
            raise TokenizerError(f"tokenizer {name!r}: there is no file {path}")
        try:
            return cls(name, tokenizers.Tokenizer.from_file(str(path)))
        except Exception as error:  # the library raises bare Exception
            raise TokenizerError(f"tokenizer {name!r}: {path} is not a tokenizer.json: {error}") from error

    def encode(self, text: str) -> Sequence[int]:
        """The token ids of `text`, without those that the tokenizer would put around it."""
        return array("I", self._tokenizer.encode(text, add_special_tokens=False).ids)

    def encode_batch(self, texts: Sequence[str]) -> list[Sequence[int]]:
        """The token ids of each text; the library has threads of its own."""
        batch = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [array("I", encoding.ids) for encoding in batch]

    def decode_tokens_bytes(self, token_ids: Sequence[int]) -> list[bytes]:
        """The bytes of each token; where they are not known, what a stream of the tokens shows with each."""
        if self._is_byte_level:
            known = self._bytes
            return [known.get(token_id) or self._bytes_of(token_id) for token_id in token_ids]
        stream = self._new_stream(skip_special_tokens=False)
        try:
            shown = [stream.step(self._tokenizer, token_id) or "" for token_id in token_ids]
            if shown:
                # A stream waits for more after U+FFFD, which may be the text's own.
                text = self._tokenizer.decode(list(token_ids), skip_special_tokens=False)
                shown[-1] += text[sum(map(len, shown)) :]
        except Exception as error:  # the library raises bare Exception
            raise TokenizerError(f"tokenizer {self.name!r}: {error}") from error
        return [piece.encode() for piece in shown]

    def _bytes_of(self, token_id: int) -> bytes:
        """A token of a byte-level vocabulary."""
        try:
            spelled = self._tokenizer.id_to_token(token_id)
        except OverflowError:
            spelled = None
        if spelled is None:
            raise TokenizerError(f"tokenizer {self.name!r} has no token {token_id}")
        is_added = token_id in self._added
        self._bytes[token_id] = spelled.encode() if is_added else read_bytes(spelled)
        return self._bytes[token_id]


def _cut_long_runs(text: str) -> Iterator[str]:
    start = 0
    for run in re.finditer(rf"\s{{{_LONGEST_RUN}}}|\S{{{_LONGEST_RUN}}}", text):
        yield text[start : run.end()]
        start = run.end()
    yield text[start:]


def _encoding_by_name(name: str) -> tiktoken.Encoding:
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
    return f"there is no tokenizer {name!r}{hint}. Accepted: {', '.join(known)}, {_OTHERS}"


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
