"""A recorded response as tokens, and where and why it will stop, worked out once."""

from __future__ import annotations

import codecs
from array import array
from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Literal, NamedTuple

from tracesim.responses.sampling_params import SamplingParams

FinishReason = Literal["stop", "length", "abort"]


class RecordedTokens(NamedTuple):
    """A recorded response: its tokens, and as much as is known of them.

    `token_ids` is None when only the length is known. `spell` gives the bytes that each token adds to the
    output (`Tokenizer.decode_tokens_bytes`); it is None when the text is not known.
    """

    num_tokens: int
    token_ids: Sequence[int] | None = None
    spell: Callable[[Sequence[int]], Sequence[bytes]] | None = None


class RecordedResponse:
    """How one request's recorded response comes out: token by token, up to where it stops.

    `num_tokens` is how many tokens it emits, `finish_reason` and `stop_reason` why it ends there. The text
    is worked out when first asked for, at once where a stop string has to be found in it. Whoever emits
    keeps the position. With `eos_step` a recording has one token more, as a model's answer has: the
    end-of-sequence token, of which neither id nor text is recorded.

    After each token, in this order: a stop string that is complete, the end of the recording ("stop"),
    the limit ("length"). So "length" always means that something was cut. The rules for stop strings are
    those of vLLM's incremental detokenizer: of several the one that completes earliest, then the first in
    the list; only text from tokens after the first `min_tokens` can complete one.
    """

    __slots__ = ("_spelled", "_tokens", "finish_reason", "num_tokens", "stop_reason")

    def __init__(
        self,
        tokens: RecordedTokens,
        params: SamplingParams,
        limit: int | None = None,
        *,
        eos_step: bool = False,
    ) -> None:
        """Find the end of `tokens` under `params`; `limit` is the room that the model length leaves."""
        whole = tokens.num_tokens + eos_step
        self.num_tokens = min([whole, *(n for n in (params.max_tokens, limit) if n is not None)])
        self.finish_reason: FinishReason = "stop" if self.num_tokens == whole else "length"
        self.stop_reason: str | None = None
        self._tokens = tokens
        self._spelled: _Spelled | None = None
        if params.stop_strings and tokens.spell is not None:
            self._stop_early(params)

    @property
    def has_text(self) -> bool:
        """Whether the text of the output is known."""
        return self._tokens.spell is not None

    @property
    def text(self) -> str | None:
        """The whole output; None when the text is not known."""
        spelled = self._spell()
        return None if spelled is None else spelled.text

    @property
    def token_ids(self) -> Sequence[int] | None:
        """The ids of the recording's tokens, of which the first `num_tokens` are emitted."""
        return self._tokens.token_ids

    def token_id(self, index: int) -> int | None:
        """The id of output token `index`; None where only the length is known, and after the tokens."""
        token_ids = self._tokens.token_ids
        return None if token_ids is None or index >= len(token_ids) else token_ids[index]

    def piece(self, index: int) -> str | None:
        """What output token `index` added: "" inside a character, and where a stop string is cut."""
        spelled = self._spell()
        return None if spelled is None else spelled.text[spelled.end(index) : spelled.end(index + 1)]

    def text_after(self, count: int) -> str | None:
        """The output text once `count` tokens are out."""
        spelled = self._spell()
        return None if spelled is None else spelled.text[: spelled.end(count)]

    def _spell(self) -> _Spelled | None:
        """The text up to where it ends, cut from the whole tokens: there the last character is whole."""
        tokens = self._tokens
        if self._spelled is None and tokens.spell is not None and tokens.token_ids is not None:
            self._spelled = _decode(tokens.spell(tokens.token_ids)).first(self.num_tokens)
        return self._spelled

    def _stop_early(self, params: SamplingParams) -> None:
        spelled = self._spell()
        match = None if spelled is None else _first_stop(spelled, params)
        if spelled is None or match is None:
            return
        self.finish_reason, self.stop_reason = "stop", match.stop
        self.num_tokens = bisect_left(spelled.ends, match.end) + 1
        kept = match.end if params.include_stop_str_in_output else match.start
        self._spelled = _Spelled(spelled.text[:kept], spelled.ends[: self.num_tokens])


class _Spelled(NamedTuple):
    """An output text, and how many characters of it are complete after each token; the text may be cut."""

    text: str
    ends: Sequence[int]

    def end(self, count: int) -> int:
        """How many characters are complete after `count` tokens; those past the last one add none."""
        return self.ends[min(count, len(self.ends)) - 1] if count and self.ends else 0

    def first(self, count: int) -> _Spelled:
        """The first `count` tokens of it."""
        if count >= len(self.ends):
            return self
        return _Spelled(self.text[: self.ends[count - 1]], self.ends[:count])


class _Match(NamedTuple):
    stop: str
    start: int
    end: int


def _decode(pieces: Sequence[bytes]) -> _Spelled:
    """The text that `pieces` make. A character counts from its last byte on.

    Bytes that are no UTF-8 become U+FFFD; an incomplete character at the very end is left out.
    """
    text = b"".join(pieces)
    if text.isascii():
        return _Spelled(text.decode("ascii"), array("I", accumulate(map(len, pieces))))
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    added = [decoder.decode(piece) for piece in pieces]
    return _Spelled("".join(added), array("I", accumulate(map(len, added))))


def _first_stop(spelled: _Spelled, params: SamplingParams) -> _Match | None:
    """The stop string that completes earliest where one may; a tie goes to the first in the list."""
    held_back = params.min_tokens or 0
    if held_back >= len(spelled.ends):
        return None
    searched = spelled.ends[held_back - 1] if held_back else 0
    matches = []
    for stop in params.stop_strings:
        start = spelled.text.find(stop, max(0, searched - len(stop) + 1))
        if start >= 0:
            matches.append(_Match(stop, start, start + len(stop)))
    return min(matches, key=lambda match: match.end, default=None)


Cursor = RecordedResponse
"""The public name of `RecordedResponse` in version 0.1."""
