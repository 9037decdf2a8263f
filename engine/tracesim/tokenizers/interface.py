"""What a tokenizer is: text to token ids, and what each token id spells.

A tokenizer cuts all text alike: what looks like a special token, such as `<|endoftext|>`, is plain text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

DEFAULT: Final = "embedded"

PATHS_AND_MODELS: Final = (
    "an OpenAI model name, or the path of a .tiktoken file, a tokenizer.json or its folder"
)


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

        Of a tokenizer that changes text before it cuts it, they are the changed text. Raises TokenizerError
        for an id that is not in the vocabulary.
        """
        ...

    def ends_in(self, text: str, token_ids: Sequence[int]) -> Sequence[int] | None:
        """Return after how many characters of `text` each of its tokens ends, where they do not spell it.

        None where `token_ids` spell `text`, as they always do for most tokenizers, or are not its tokens.
        """
        ...
