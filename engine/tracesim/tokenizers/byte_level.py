"""GPT-2's byte-level alphabet, in which vocabularies of Hugging Face's `tokenizers` spell any bytes.

A printable byte of Latin-1 is its own character; the others are the characters from U+0100 on, in order.
"""

from __future__ import annotations

from typing import Final

_PRINTABLE: Final = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
_OTHERS: Final = tuple(byte for byte in range(256) if byte not in _PRINTABLE)

_CHARACTERS: Final = {byte: chr(byte) for byte in _PRINTABLE} | {
    byte: chr(0x100 + place) for place, byte in enumerate(_OTHERS)
}
_BYTES: Final = {character: byte for byte, character in _CHARACTERS.items()}


def spell_bytes(token: bytes) -> str:
    """A token's bytes as its vocabulary has them."""
    return "".join([_CHARACTERS[byte] for byte in token])


def read_bytes(spelled: str) -> bytes:
    """The bytes that a vocabulary's entry stands for. Raises KeyError where it is not in the alphabet."""
    return bytes([_BYTES[character] for character in spelled])
