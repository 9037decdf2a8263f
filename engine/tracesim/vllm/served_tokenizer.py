"""The tokenizer and the chat template of the served model, as far as recorded answers need them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Final, NamedTuple

from tracesim.errors import ConfigError
from tracesim.tokenizers.hugging_face import HuggingFaceTokenizer

_SENTINELS: Final = ("TracesimFirst", "TracesimSecond", "TracesimThird")
"""Messages to look for in what a template makes of them."""


class _Frame(NamedTuple):
    """What a chat template puts before a user's message, and after the last one."""

    before: str
    after: str


class ServedTokenizer:
    """A tokenizer of Hugging Face's `transformers`, with which vLLM serves a model.

    `responses` is the same tokenizer for recorded text, in which what looks like a special token is text.
    """

    def __init__(self, tokenizer: Any) -> None:
        """Raises ConfigError for a tokenizer that has no end-of-sequence token or no `tokenizer.json`."""
        import tokenizers

        backend = getattr(tokenizer, "backend_tokenizer", None)
        if not isinstance(backend, tokenizers.Tokenizer):
            raise ConfigError(f"the tokenizer {type(tokenizer).__name__} has no tokenizer.json to work with")
        if tokenizer.eos_token_id is None:
            raise ConfigError("the tokenizer has no end-of-sequence token to end an answer with")
        self.eos_token_id: int = tokenizer.eos_token_id
        self.responses = HuggingFaceTokenizer("served", tokenizers.Tokenizer.from_str(backend.to_str()))
        self._tokenizer = tokenizer
        self._backend = backend

    def spellings(self, prompt: str) -> Iterator[tuple[int, ...]]:
        """Return the tokens in which a prompt may come: as it is, and as the only message of a chat."""
        yield tuple(self._tokenizer.encode(prompt))
        chat = self._rendered(("user", prompt))
        if chat is not None:
            yield tuple(self._tokenizer.encode(chat, add_special_tokens=False))

    def text(self, token_ids: Sequence[int]) -> str:
        """Return the text of tokens, special tokens included."""
        return str(self._backend.decode(list(token_ids), skip_special_tokens=False))

    def shown_text(self, token_ids: Sequence[int]) -> str:
        """Return the text of output tokens as vLLM shows it, without special tokens."""
        return str(self._backend.decode(list(token_ids), skip_special_tokens=True))

    def last_user_messages(self, token_ids: Sequence[int]) -> Iterator[str]:
        """Return what may be the last user message of a chat, the shortest first."""
        frame = self._frame
        if frame is None:
            return
        chat = self.text(token_ids)
        if frame.after and not chat.endswith(frame.after):
            return
        chat = chat[: len(chat) - len(frame.after)]
        start = chat.rfind(frame.before)
        while start >= 0:
            yield chat[start + len(frame.before) :]
            start = chat.rfind(frame.before, 0, start)

    @cached_property
    def _frame(self) -> _Frame | None:
        """The frame, worked out from what the template makes of one message, and of three."""
        first, second, third = _SENTINELS
        alone, chat = (
            self._rendered(("user", first)),
            self._rendered(("user", first), ("assistant", second), ("user", third)),
        )
        if alone is None or chat is None or first not in alone or third not in chat:
            return None
        before_first, _, after = alone.partition(first)
        before_third = chat.partition(second)[2].partition(third)[0]
        ends = (before_first[at:] for at in range(len(before_first)))  # the longest first
        shared = next((end for end in ends if before_third.endswith(end)), None)
        return None if shared is None else _Frame(shared, after)

    def _rendered(self, *messages: tuple[str, str]) -> str | None:
        if not self._tokenizer.chat_template:
            return None
        chat = [{"role": role, "content": content} for role, content in messages]
        rendered: str = self._tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        return rendered


def load_served_tokenizer(model_config: Any) -> ServedTokenizer:
    """Return the tokenizer of the model that vLLM serves."""
    from transformers import AutoTokenizer

    return ServedTokenizer(
        AutoTokenizer.from_pretrained(
            model_config.tokenizer,
            revision=model_config.tokenizer_revision,
            trust_remote_code=model_config.trust_remote_code,
        )
    )
