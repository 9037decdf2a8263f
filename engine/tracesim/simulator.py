"""`TraceSimulator`: the stand-in for the model. It answers with what was recorded, one token at a time."""

from __future__ import annotations

import difflib
from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

from tracesim.cursor import Cursor, Recording
from tracesim.errors import RequestError, TokenizerError, UnknownPromptError
from tracesim.sampling import SamplingParams
from tracesim.tokenizer import Tokenizer
from tracesim.trace import TraceRecord

Prompt: TypeAlias = "str | tuple[int, ...]"
"""A prompt to look a recording up by: its text, or its token ids."""


class SimulatedToken(NamedTuple):
    """A token that came out of the simulator, at `position` in what its request emits."""

    request_id: str
    cursor: Cursor
    position: int

    @property
    def token_id(self) -> int | None:
        """Its id; None when only lengths are known."""
        token_ids = self.cursor.token_ids
        return None if token_ids is None else token_ids[self.position]

    @property
    def text(self) -> str | None:
        """What it added to the output text; None when the text is not known."""
        return self.cursor.piece(self.position)


class TraceSimulator:
    """Recorded responses, found by their prompts, and how far each request has come in its own.

    It can be driven by hand, without an engine or a scheduler:

        simulator = TraceSimulator(records, load_tokenizer("char"))
        simulator.on_add_request("r1", "Hello")
        simulator.simulate_prefill(["r1"])
        tokens = simulator.simulate_decode(["r1"])    # tokens[0].text is the first character of the response
    """

    def __init__(self, records: Iterable[TraceRecord], tokenizer: Tokenizer | None = None) -> None:
        """`tokenizer` may be None where every response is given by token ids or by its length."""
        self._records = list(records)
        self._tokenizer = tokenizer
        self._prompts: dict[Prompt, deque[TraceRecord]] | None = None
        self._used: set[int] = set()
        self._cursors: dict[str, Cursor] = {}
        self._positions: dict[str, int] = {}
        self._prefilled: set[str] = set()

    @property
    def records(self) -> Sequence[TraceRecord]:
        """The trace, in its own order."""
        return self._records

    def encode(self, text: str) -> Sequence[int]:
        """The token ids of `text`. Raises TokenizerError without a tokenizer."""
        if self._tokenizer is None:
            raise TokenizerError("there is text to tokenize, and no tokenizer was given")
        return self._tokenizer.encode(text)

    def find(self, prompt: Prompt) -> TraceRecord:
        """The next unused recording of `prompt`. Raises UnknownPromptError, naming the nearest prompt."""
        recordings = self._by_prompt()
        unused = recordings.get(prompt)
        while unused and id(unused[0]) in self._used:
            unused.popleft()
        if not unused:
            raise UnknownPromptError(_no_recording(prompt, recordings))
        return unused[0]

    def cursor_of(
        self, record: TraceRecord, params: SamplingParams | None = None, limit: int | None = None
    ) -> Cursor:
        """How the response of `record` would come out under `params`, which win over the record's own fields.

        `limit` is how many tokens the model length leaves room for. Raises RequestError when there is a stop
        string to look for and no text is known.
        """
        params = (params or SamplingParams()).over(record)
        recording = self._recording(record)
        if recording.spell is None and params.stop_strings:
            raise RequestError("a stop string cannot be looked for: the recorded response has no text")
        return Cursor(recording, params, limit)

    def on_add_request(
        self,
        request_id: str,
        prompt: Prompt,
        params: SamplingParams | None = None,
        *,
        limit: int | None = None,
    ) -> Cursor:
        """Give a request the next unused recording of its prompt; see `cursor_of`.

        Raises RequestError when the id is taken, UnknownPromptError when no recording is left.
        """
        record = self.find(prompt)
        cursor = self.cursor_of(record, params, limit)
        self.adopt(request_id, cursor, record)
        return cursor

    def adopt(self, request_id: str, cursor: Cursor, record: TraceRecord) -> None:
        """Let a request emit what `cursor` says, and count `record` as used. Raises RequestError if taken."""
        if request_id in self._cursors:
            raise RequestError(f"request id {request_id!r} is taken")
        self._cursors[request_id] = cursor
        self._positions[request_id] = 0
        self._used.add(id(record))

    def simulate_prefill(self, request_ids: Iterable[str]) -> None:
        """Book the prompts of these requests as computed; nothing is emitted."""
        self._prefilled.update(request_ids)

    def simulate_decode(self, request_ids: Iterable[str]) -> list[SimulatedToken]:
        """Emit the next token of each of these requests, in order; one whose recording has ended has none.

        Raises KeyError for a request that has not been prefilled.
        """
        emitted = []
        for request_id in request_ids:
            if request_id not in self._prefilled:
                raise KeyError(f"request {request_id!r} has not been prefilled")
            cursor = self._cursors[request_id]
            position = self._positions[request_id]
            if position < cursor.num_tokens:
                emitted.append(SimulatedToken(request_id, cursor, position))
                self._positions[request_id] = position + 1
        return emitted

    def cursor(self, request_id: str) -> Cursor:
        """The recorded response that this request got. Raises KeyError for an unknown request."""
        return self._cursors[request_id]

    def _recording(self, record: TraceRecord) -> Recording:
        """The response of a record in tokens; its own ids come before those that a tokenizer would give."""
        if record.output_length is not None:
            return Recording(record.output_length)
        if record.response_token_ids is not None:
            spell = self._tokenizer.decode_tokens_bytes if self._tokenizer and self._spells(record) else None
            return Recording(len(record.response_token_ids), record.response_token_ids, spell)
        assert record.response is not None, f"{record.file}:{record.line} has no response"
        token_ids = self.encode(record.response)
        assert self._tokenizer is not None
        return Recording(len(token_ids), token_ids, self._tokenizer.decode_tokens_bytes)

    def _spells(self, record: TraceRecord) -> bool:
        """Whether the tokenizer spells the record's own text with the record's own ids."""
        if self._tokenizer is None or record.response is None or record.response_token_ids is None:
            return False
        try:
            pieces = self._tokenizer.decode_tokens_bytes(record.response_token_ids)
        except TokenizerError:
            return False
        return b"".join(pieces) == record.response.encode()

    def _by_prompt(self) -> dict[Prompt, deque[TraceRecord]]:
        if self._prompts is None:
            self._prompts = {}
            for record in self._records:
                for prompt in _prompts_of(record):
                    self._prompts.setdefault(prompt, deque()).append(record)
        return self._prompts


def _prompts_of(record: TraceRecord) -> list[Prompt]:
    prompts: list[Prompt] = []
    if record.prompt is not None:
        prompts.append(record.prompt)
    if record.prompt_token_ids is not None:
        prompts.append(tuple(record.prompt_token_ids))
    return prompts


def _no_recording(prompt: Prompt, known: dict[Prompt, deque[TraceRecord]]) -> str:
    if prompt in known:
        return f"every recorded response to the prompt {_shortened(prompt)} has been used"
    if isinstance(prompt, tuple):
        return f"no recorded response has the prompt {_shortened(prompt)}"
    texts = [text for text in known if isinstance(text, str)]
    nearest = difflib.get_close_matches(prompt[:200], [text[:200] for text in texts], n=1, cutoff=0.0)
    hint = f"; the nearest is {_shortened(nearest[0])}" if nearest else ""
    return f"no recorded response has the prompt {_shortened(prompt)}{hint}"


def _shortened(prompt: Prompt) -> str:
    shown = repr(prompt)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."
