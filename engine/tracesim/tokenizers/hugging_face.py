"""Tokenizers in a `tokenizer.json`, through Hugging Face's `tokenizers`."""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tracesim.errors import TokenizerError, needs_package
from tracesim.tokenizers.byte_level import read_bytes, spell_bytes

if TYPE_CHECKING:
    import tokenizers


_STDERR: Final = 2


class HuggingFaceTokenizer:
    """A `tokenizer.json`, through Hugging Face's `tokenizers`.

    Where the tokenizer changes text before it cuts it (lower case, Unicode forms, unknown characters), its
    tokens do not spell the text that they were made from: `ends_in` finds where they end in it.
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
        self._spells_every_text = _spells_every_text(tokenizer)

    @classmethod
    def from_file(cls, name: str, path: Path) -> HuggingFaceTokenizer:
        """The tokenizer in a `tokenizer.json`. Raises TokenizerError when it is none or cannot be read."""
        try:
            import tokenizers
        except ImportError as error:
            raise TokenizerError(needs_package(f"tokenizer {name!r}", "tokenizers")) from error
        if not path.is_file():
            raise TokenizerError(f"tokenizer {name!r}: there is no file {path}")
        with _library_errors(name, f"{path} is not a tokenizer.json: "), _without_panic_message():
            return cls(name, tokenizers.Tokenizer.from_file(str(path)))

    def encode(self, text: str) -> Sequence[int]:
        """The token ids of `text`, without those that the tokenizer would put around it."""
        with _library_errors(self.name):
            return array("I", self._tokenizer.encode(text, add_special_tokens=False).ids)

    def encode_batch(self, texts: Sequence[str]) -> list[Sequence[int]]:
        """The token ids of each text; the library has threads of its own."""
        with _library_errors(self.name):
            batch = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [array("I", encoding.ids) for encoding in batch]

    def decode_tokens_bytes(self, token_ids: Sequence[int]) -> list[bytes]:
        """The bytes of each token; where they are not known, what a stream of the tokens shows with each."""
        if self._is_byte_level:
            known = self._bytes
            return [known.get(token_id) or self._bytes_of(token_id) for token_id in token_ids]
        stream = self._new_stream(skip_special_tokens=False)
        with _library_errors(self.name):
            shown = [stream.step(self._tokenizer, token_id) or "" for token_id in token_ids]
            if shown:
                # A stream waits for more after U+FFFD, which may be the text's own.
                text = self._tokenizer.decode(list(token_ids), skip_special_tokens=False)
                shown[-1] += text[sum(map(len, shown)) :]
        return [piece.encode() for piece in shown]

    def ends_in(self, text: str, token_ids: Sequence[int]) -> Sequence[int] | None:
        """Where the tokens of `text` end in it if they do not spell it, from the library's offsets.

        What lies between two tokens belongs to the second one, what follows the last one to it, and a
        character that is divided among tokens to the last of these.
        """
        if self._spells_every_text or b"".join(self.decode_tokens_bytes(token_ids)) == text.encode():
            return None
        with _library_errors(self.name):
            encoding = self._tokenizer.encode(text, add_special_tokens=False)
        if encoding.ids != list(token_ids):
            return None
        if not token_ids:
            return ()
        starts = [start for start, _ in encoding.offsets[1:]]
        ends = [min(end, start) for (_, end), start in zip(encoding.offsets, starts, strict=False)]
        return array("I", [*accumulate(ends, max), len(text)])

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


@contextmanager
def _library_errors(name: str, what: str = "") -> Iterator[None]:
    """Turn what the library raises into a TokenizerError: bare Exception, and panics, which are none."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, TokenizerError) or not (
            isinstance(error, Exception) or type(error).__name__ == "PanicException"
        ):
            raise
        raise TokenizerError(f"tokenizer {name!r}: {what}{error}") from error


@contextmanager
def _without_panic_message() -> Iterator[None]:
    """Discard what is written to standard error: a panic in Rust prints there what its exception has too."""
    try:
        stderr = os.dup(_STDERR)
    except OSError:  # it is closed
        yield
        return
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, _STDERR)
    os.close(null)
    try:
        yield
    finally:
        os.dup2(stderr, _STDERR)
        os.close(stderr)


def _spells_every_text(tokenizer: tokenizers.Tokenizer) -> bool:
    """Return whether it is a byte-level BPE that cuts text without a change, as GPT-2's and Llama 3's are."""
    from tokenizers.decoders import ByteLevel
    from tokenizers.models import BPE

    model = tokenizer.model
    if not (isinstance(tokenizer.decoder, ByteLevel) and isinstance(model, BPE)) or tokenizer.normalizer:
        return False
    if model.continuing_subword_prefix or model.end_of_word_suffix or not tokenizer.pre_tokenizer:
        return False
    has_all_bytes = all(tokenizer.token_to_id(spell_bytes(bytes([byte]))) is not None for byte in range(256))
    strips = any(token.lstrip or token.rstrip for token in tokenizer.get_added_tokens_decoder().values())
    cutting = json.loads(tokenizer.pre_tokenizer.__getstate__())
    steps = cutting["pretokenizers"] if cutting["type"] == "Sequence" else [cutting]
    return has_all_bytes and not strips and all(map(_keeps_text, steps))


def _keeps_text(step: dict[str, object]) -> bool:
    """Return whether a step that cuts text into words neither adds nor removes a character."""
    if step["type"] == "ByteLevel":
        return not step["add_prefix_space"]
    return step["type"] == "Digits" or (step["type"] == "Split" and step["behavior"] != "Removed")
