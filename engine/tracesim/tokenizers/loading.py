"""`load_tokenizer(name)`: a tokenizer of any kind, by its name or the path of its file."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from tracesim.errors import TokenizerError
from tracesim.tokenizers import vocabulary
from tracesim.tokenizers.hugging_face import HuggingFaceTokenizer
from tracesim.tokenizers.interface import DEFAULT, PATHS_AND_MODELS, Tokenizer
from tracesim.tokenizers.plain import ByteTokenizer, CharTokenizer
from tracesim.tokenizers.tiktoken_file import read_encoding
from tracesim.tokenizers.tiktoken_tokenizer import TiktokenTokenizer, encoding_by_name


def load_tokenizer(name: str = DEFAULT) -> Tokenizer:
    """The tokenizer called `name`.

    `embedded` (shipped with the package), `char` (a token is a character), `byte`, a tiktoken encoding or
    model name, the path of a `.tiktoken` file, or the path of a Hugging Face `tokenizer.json` or its folder.

    Raises TokenizerError when there is no such thing or it cannot be read, with the ways out.
    """
    if not name:
        raise TokenizerError(
            f"a tokenizer's name is empty. Accepted: {DEFAULT}, char, byte, {PATHS_AND_MODELS}"
        )
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
    return TiktokenTokenizer(encoding_by_name(name))


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

    def ends_in(self, text: str, token_ids: Sequence[int]) -> Sequence[int] | None:
        """Where the tokens of `text` end in it if they do not spell it. Raises TokenizerError."""
        return self._loaded.ends_in(text, token_ids)
