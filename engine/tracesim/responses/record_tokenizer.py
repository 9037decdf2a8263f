"""From records to tokens, in batches, and in another thread while the next records are read."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from tracesim.errors import TokenizerError
from tracesim.responses.recorded_response import CutText, RecordedTokens
from tracesim.tokenizers.interface import Tokenizer
from tracesim.trace.record import TraceRecord

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor


class TokenizedRecord(NamedTuple):
    """A record and its tokens; `prompt_token_ids` is None where only the length of the prompt is known."""

    record: TraceRecord
    prompt_token_ids: Sequence[int] | None
    recording: RecordedTokens

    @property
    def num_prompt_tokens(self) -> int:
        """Tokens of the prompt."""
        if self.prompt_token_ids is None:
            return self.record.input_length or 0
        return len(self.prompt_token_ids)


class RecordTokenizer:
    """Turns records into tokens. Token ids that a record has itself come before those of the tokenizer."""

    def __init__(self, tokenizer: Tokenizer | None) -> None:
        """`tokenizer` may be None if no record has a text without token ids."""
        self._tokenizer = tokenizer
        self._ahead: deque[tuple[Sequence[TraceRecord], Future[Sequence[Sequence[int]]]]] = deque()

    @cached_property
    def _worker(self) -> ThreadPoolExecutor:
        from concurrent.futures import ThreadPoolExecutor

        return ThreadPoolExecutor(1)

    def tokenize_ahead(self, records: Sequence[TraceRecord]) -> None:
        """Start to tokenize `records` in another thread, for a later `tokenize` of the same list."""
        if texts := _texts_of(records):
            self._ahead.append((records, self._worker.submit(self._encode, texts)))

    def tokenize(self, records: Sequence[TraceRecord]) -> list[TokenizedRecord]:
        """Return records with their tokens. Lists given to `tokenize_ahead` must come in the same order.

        Raises TokenizerError if there is text and no tokenizer, or the tokenizer cannot be loaded.
        """
        if self._ahead and self._ahead[0][0] is records:
            encoded = iter(self._ahead.popleft()[1].result())
        else:
            encoded = iter(self._encode(_texts_of(records)))
        prompt_ids = [r.prompt_token_ids if _prompt_text(r) is None else next(encoded) for r in records]
        responses = [
            self._recorded_tokens(r, None if _response_text(r) is None else next(encoded)) for r in records
        ]
        return list(map(TokenizedRecord, records, prompt_ids, responses))

    def _encode(self, texts: Sequence[str]) -> Sequence[Sequence[int]]:
        if not texts:
            return ()
        if self._tokenizer is None:
            raise TokenizerError("there is text to tokenize, and no tokenizer was given")
        return self._tokenizer.encode_batch(texts)

    def _recorded_tokens(self, record: TraceRecord, encoded: Sequence[int] | None) -> RecordedTokens:
        """Return the tokens of a response: `encoded`, or those of the record itself.

        The record's own tokens have text only if the tokenizer makes them of the recorded text, or spells it
        with them. Where tokens do not spell the text that they were made from, the recorded text counts.
        """
        if record.output_length is not None:
            return RecordedTokens(record.output_length)
        token_ids = record.response_token_ids or () if encoded is None else encoded
        tokenizer, text = self._tokenizer, record.response
        spell: Callable[[Sequence[int]], Sequence[bytes]] | None = None
        if tokenizer is not None and text is not None:
            with suppress(TokenizerError):  # the record's own tokens may be those of another tokenizer
                ends = tokenizer.ends_in(text, token_ids)
                if ends is not None:
                    spell = CutText(text, ends)
                elif encoded or text.encode() == b"".join(tokenizer.decode_tokens_bytes(token_ids)):
                    spell = tokenizer.decode_tokens_bytes
        return RecordedTokens(len(token_ids), token_ids, spell)


def _prompt_text(record: TraceRecord) -> str | None:
    """Return the prompt if it has to be tokenized."""
    return record.prompt if record.prompt_token_ids is None else None


def _response_text(record: TraceRecord) -> str | None:
    """Return the response if it has to be tokenized."""
    return record.response if record.response_token_ids is None else None


def _texts_of(records: Sequence[TraceRecord]) -> list[str]:
    """Return the texts that have to be tokenized: all prompts and then all responses."""
    texts = [*map(_prompt_text, records), *map(_response_text, records)]
    return [text for text in texts if text is not None]
