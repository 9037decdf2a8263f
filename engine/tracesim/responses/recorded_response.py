"""A recorded response as tokens, and where and why it stops, which is known before the first step."""

from __future__ import annotations

import codecs
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise, repeat
from typing import Literal, NamedTuple

from tracesim.responses.sampling_params import SamplingParams

FinishReason = Literal["stop", "length", "abort"]


class RecordedTokens(NamedTuple):
    """The tokens of a recorded response, and what is known about them.

    `token_ids` is None where only the length is known. `spell` returns the bytes that each token adds to the
    output (`Tokenizer.decode_tokens_bytes`), or `CutText` where these are not the recorded text; it is None
    where the text is not known.
    """

    num_tokens: int
    token_ids: Sequence[int] | None = None
    spell: Callable[[Sequence[int]], Sequence[bytes]] | None = None


@dataclass(frozen=True, slots=True)
class CutText:
    """A recorded text that its tokens do not spell, and the number of its characters up to each token's end.

    It takes the place of `RecordedTokens.spell`.
    """

    text: str
    ends: Sequence[int]

    def __call__(self, token_ids: Sequence[int]) -> Sequence[bytes]:
        """Return the part of the text that each token stands for."""
        return [self.text[start:end].encode() for start, end in pairwise((0, *self.ends))]


class RecordedResponse:
    """The recorded response of one request: its tokens, and where and why it stops.

    `num_tokens` is the number of tokens that it emits, and `finish_reason` and `stop_reason` are why it ends
    there. Without stop strings it would emit `num_core_tokens`: that is where vLLM's engine core, which does
    not know stop strings, ends it. `reaches_limit` is true if a limit allows no more than these, whatever the
    reason for the end is. The text is decoded when it is first read, or at once where a stop string has to be
    found in it. How many tokens were emitted so far is not kept here.

    After each token these are checked in order: a complete stop string ("stop"), the end of the recording
    ("stop"), and the limits ("length"). So "length" always means that something was cut. Stop strings follow
    vLLM's incremental detokenizer: of several, the one that completes earliest ends the output, and of those
    the first in the list. Only text from tokens after the first `min_tokens` can complete one.

    With `eos_step` there is one token more, as in a model's answer: the end-of-sequence token, of which
    neither the id nor a text is recorded.
    """

    __slots__ = (
        "_output",
        "_tokens",
        "finish_reason",
        "num_core_tokens",
        "num_tokens",
        "reaches_limit",
        "stop_reason",
    )

    def __init__(
        self,
        tokens: RecordedTokens,
        params: SamplingParams,
        limit: int | None = None,
        *,
        eos_step: bool = False,
    ) -> None:
        """Find where `tokens` end under `params`; the maximum model length allows `limit` output tokens."""
        num_recorded = tokens.num_tokens + eos_step
        limits = [n for n in (params.max_tokens, limit) if n is not None]
        self.num_tokens = self.num_core_tokens = min([num_recorded, *limits])
        self.finish_reason: FinishReason = "stop" if self.num_tokens == num_recorded else "length"
        self.stop_reason: str | None = None
        self._tokens = tokens
        self._output: _Output | None = None
        if params.stop_strings and (output := self._decoded()) and (match := _first_stop(output, params)):
            self.finish_reason, self.stop_reason = "stop", match.stop
            self.num_tokens = bisect_left(output.ends, match.end) + 1
            cut = match.end if params.include_stop_str_in_output else match.start
            self._output = _Output(output.text[:cut], output.ends[: self.num_tokens])
        self.reaches_limit = self.num_core_tokens in limits

    @property
    def has_text(self) -> bool:
        """Whether the text of the output is known."""
        return self._tokens.spell is not None

    @property
    def is_spelled(self) -> bool:
        """Whether the text of the output is what the tokens spell, and not only the recorded text."""
        return self.has_text and not isinstance(self._tokens.spell, CutText)

    @property
    def text(self) -> str | None:
        """The whole output; None where the text is not known."""
        output = self._decoded()
        return None if output is None else output.text

    @property
    def token_ids(self) -> Sequence[int] | None:
        """The ids of all recorded tokens, of which the first `num_tokens` are emitted."""
        return self._tokens.token_ids

    def token_id(self, index: int) -> int | None:
        """Return the id of output token `index`; None for an end-of-sequence token or an unknown id."""
        token_ids = self._tokens.token_ids
        return None if token_ids is None or index >= len(token_ids) else token_ids[index]

    def piece(self, index: int) -> str | None:
        """Return the text that output token `index` adds: "" inside a character and after a cut."""
        output = self._decoded()
        return None if output is None else output.text[output.end(index) : output.end(index + 1)]

    def pieces(self, first: int = 0) -> Iterator[str | None]:
        """Yield the text that each output token from `first` on adds; the output is not kept for later."""
        output = self._output or self._decode()
        if output is None:
            yield from repeat(None, self.num_tokens - first)
            return
        start = output.end(first)
        for count in range(first + 1, self.num_tokens + 1):
            end = output.end(count)
            yield output.text[start:end]
            start = end

    def text_after(self, count: int) -> str | None:
        """Return the output text of the first `count` tokens."""
        output = self._decoded()
        return None if output is None else output.text[: output.end(count)]

    def _decoded(self) -> _Output | None:
        """Return the output, and keep it."""
        if self._output is None:
            self._output = self._decode()
        return self._output

    def _decode(self) -> _Output | None:
        """Return the output: all recorded tokens decoded and then cut, so that no character is broken."""
        tokens = self._tokens
        if tokens.spell is None or tokens.token_ids is None:
            return None
        return _decode(tokens.spell(tokens.token_ids)).first(self.num_tokens)


class _Output(NamedTuple):
    """An output text, and how many of its characters are complete after each token; it may be cut."""

    text: str
    ends: Sequence[int]

    def end(self, count: int) -> int:
        """Return how many characters `count` tokens complete; an end-of-sequence token adds none."""
        return self.ends[min(count, len(self.ends)) - 1] if count and self.ends else 0

    def first(self, count: int) -> _Output:
        """Return the output of the first `count` tokens."""
        if count >= len(self.ends):
            return self
        return _Output(self.text[: self.ends[count - 1]], self.ends[:count])


class _Match(NamedTuple):
    stop: str
    start: int
    end: int


def _decode(pieces: Sequence[bytes]) -> _Output:
    """Return the text of `pieces`. A character belongs to the token that has its last byte.

    Bytes that are not UTF-8 become U+FFFD; an incomplete character at the very end is dropped.
    """
    text = b"".join(pieces)
    if text.isascii():
        return _Output(text.decode("ascii"), array("I", accumulate(map(len, pieces))))
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    added = [decoder.decode(piece) for piece in pieces]
    return _Output("".join(added), array("I", accumulate(map(len, added))))


def _first_stop(output: _Output, params: SamplingParams) -> _Match | None:
    """Return the stop string that completes first after `min_tokens` tokens; in a tie, the first listed."""
    min_tokens = params.min_tokens or 0
    if min_tokens >= len(output.ends):
        return None
    min_end = output.ends[min_tokens - 1] if min_tokens else 0
    matches = []
    for stop in params.stop_strings:
        start = output.text.find(stop, max(0, min_end - len(stop) + 1))
        if start >= 0:
            matches.append(_Match(stop, start, start + len(stop)))
    return min(matches, key=lambda match: match.end, default=None)


Cursor = RecordedResponse
"""The name of `RecordedResponse` in version 0.1, still a public name."""
