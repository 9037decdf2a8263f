"""Tokenizers without a vocabulary: one token per character, or one per byte."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from tracesim.errors import TokenizerError


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

    def ends_in(self, text: str, token_ids: Sequence[int]) -> None:
        """Return None: the tokens spell every text."""


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

    def ends_in(self, text: str, token_ids: Sequence[int]) -> None:
        """Return None: the tokens spell every text."""
