"""`TraceSimulator`: the stand-in for the model. It answers with what was recorded, one token at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from tracesim.errors import RequestError, TokenizerError, UnknownPromptError
from tracesim.responses.recorded_response import RecordedResponse, RecordedTokens
from tracesim.responses.sampling_params import SamplingParams
from tracesim.tokenizers.interface import Tokenizer
from tracesim.trace.record import TraceRecord

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

Prompt: TypeAlias = "str | tuple[int, ...]"
"""A prompt to look a recording up by: its text, or its token ids."""

_COMPARED: Final = 2_000  # characters of two prompts
_PIECES: Final = 12  # of the one that is looked for, about


class SimulatedToken(NamedTuple):
    """A token that came out of the simulator, at `position` in what its request emits."""

    request_id: str
    response: RecordedResponse
    position: int

    @property
    def token_id(self) -> int | None:
        """Its id; None when only lengths are known, and of an end-of-sequence token."""
        return self.response.token_id(self.position)

    @property
    def text(self) -> str | None:
        """What it added to the output text; None when the text is not known."""
        return self.response.piece(self.position)


class TokenizedRecord(NamedTuple):
    """A record and its tokens; `prompt_token_ids` is None when only the prompt's length is known."""

    record: TraceRecord
    prompt_token_ids: Sequence[int] | None
    recording: RecordedTokens

    @property
    def num_prompt_tokens(self) -> int:
        """Tokens of the prompt."""
        if self.prompt_token_ids is None:
            return self.record.input_length or 0
        return len(self.prompt_token_ids)


class TraceSimulator:
    """Recorded responses, found by their prompts, and how far each request has come in its own.

    It can be driven by hand, without an engine or a scheduler:

        simulator = TraceSimulator(records, load_tokenizer("char"))
        simulator.on_add_request("r1", "Hello")
        simulator.simulate_prefill(["r1"])
        tokens = simulator.simulate_decode(["r1"])    # tokens[0].text is the first character of the response
    """

    def __init__(
        self,
        records: Iterable[TraceRecord],
        tokenizer: Tokenizer | None = None,
        *,
        eos_step: bool = False,
    ) -> None:
        """`tokenizer` may be None where every response is given by token ids or by its length.

        With `eos_step` a recording ends with an end-of-sequence token, as a model's answer does.
        """
        self._records = list(records)
        self._tokenizer = tokenizer
        self._eos_step = eos_step
        self._prompts: dict[Prompt, deque[TraceRecord]] | None = None
        self._used: set[int] = set()
        self._responses: dict[str, RecordedResponse] = {}
        self._cursors: dict[str, int] = {}
        self._prefilled: set[str] = set()
        self._ahead: deque[tuple[Sequence[TraceRecord], Future[Sequence[Sequence[int]]]]] = deque()

    def find(self, prompt: Prompt) -> TraceRecord:
        """The next unused recording of `prompt`. Raises UnknownPromptError, naming the nearest prompt."""
        recordings = self._by_prompt()
        unused = recordings.get(prompt)
        while unused and id(unused[0]) in self._used:
            unused.popleft()
        if not unused:
            raise UnknownPromptError(_no_recording(prompt, recordings))
        return unused[0]

    def tokenize_ahead(self, records: Sequence[TraceRecord]) -> None:
        """Begin to tokenize `records` while others are read; `tokenize` is to be called for each in turn."""
        if texts := _texts_of(records):
            self._ahead.append((records, self._worker.submit(self._encode_batch, texts)))

    def tokenize(self, records: Sequence[TraceRecord]) -> list[TokenizedRecord]:
        """The prompts and responses of many records in tokens; their own ids come before a tokenizer's.

        Texts are tokenized in one batch. Raises TokenizerError where there is text and no tokenizer.
        """
        encoded = iter(self._encoded(records))
        prompt_ids = [r.prompt_token_ids if _prompt_of(r) is None else next(encoded) for r in records]
        recordings = [self._recording(r, None if _response_of(r) is None else next(encoded)) for r in records]
        return list(map(TokenizedRecord, records, prompt_ids, recordings))

    def response_of(
        self, tokenized: TokenizedRecord, params: SamplingParams | None = None, limit: int | None = None
    ) -> RecordedResponse:
        """How a recorded response would come out under `params`, which win over the record's own fields.

        `limit` is how many tokens the model length leaves room for. Raises RequestError when there is a stop
        string to look for and no text is known.
        """
        record, recording = tokenized.record, tokenized.recording
        params = (params or SamplingParams()).over(record)
        if recording.spell is None and params.stop_strings:
            raise RequestError(_no_text_to_search(record))
        return RecordedResponse(recording, params, limit, eos_step=self._eos_step)

    def on_add_request(
        self,
        request_id: str,
        prompt: Prompt,
        params: SamplingParams | None = None,
        *,
        limit: int | None = None,
    ) -> RecordedResponse:
        """Give a request the next unused recording of its prompt; see `response_of`.

        Raises RequestError when the id is taken, UnknownPromptError when no recording is left.
        """
        record = self.find(prompt)
        response = self.response_of(self.tokenize([record])[0], params, limit)
        self.adopt(request_id, response)
        self.use(record)
        return response

    def adopt(self, request_id: str, response: RecordedResponse) -> None:
        """Let a request emit what `response` says. Raises RequestError when the id is taken."""
        if request_id in self._responses:
            raise RequestError(f"request id {request_id!r} is taken")
        self._responses[request_id] = response

    def use(self, record: TraceRecord) -> None:
        """Count a recording as used: `find` passes it over from now."""
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
            response = self._responses[request_id]
            position = self._cursors.get(request_id, 0)
            if position < response.num_tokens:
                emitted.append(SimulatedToken(request_id, response, position))
                self._cursors[request_id] = position + 1
        return emitted

    def seek(self, request_id: str, position: int) -> None:
        """Go on with output token `position` of a request: what comes before it was emitted unseen."""
        self._prefilled.add(request_id)
        self._cursors[request_id] = position

    def forget(self, request_id: str) -> None:
        """Drop what is remembered of a request, if there is any: it emits no more."""
        self._responses.pop(request_id, None)
        self._cursors.pop(request_id, None)
        self._prefilled.discard(request_id)

    def response(self, request_id: str) -> RecordedResponse:
        """The recorded response that this request got. Raises KeyError for an unknown request."""
        return self._responses[request_id]

    def _encoded(self, records: Sequence[TraceRecord]) -> Sequence[Sequence[int]]:
        if self._ahead and self._ahead[0][0] is records:
            return self._ahead.popleft()[1].result()
        return self._encode_batch(_texts_of(records))

    @cached_property
    def _worker(self) -> ThreadPoolExecutor:
        from concurrent.futures import ThreadPoolExecutor

        return ThreadPoolExecutor(1)

    def _encode_batch(self, texts: Sequence[str]) -> Sequence[Sequence[int]]:
        if not texts:
            return ()
        if self._tokenizer is None:
            raise TokenizerError("there is text to tokenize, and no tokenizer was given")
        return self._tokenizer.encode_batch(texts)

    def _recording(self, record: TraceRecord, encoded: Sequence[int] | None) -> RecordedTokens:
        if record.output_length is not None:
            return RecordedTokens(record.output_length)
        spell = None if self._tokenizer is None else self._tokenizer.decode_tokens_bytes
        if encoded is not None:
            return RecordedTokens(len(encoded), encoded, spell)
        token_ids = record.response_token_ids or ()
        return RecordedTokens(len(token_ids), token_ids, spell if self._spells(record) else None)

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


def _prompt_of(record: TraceRecord) -> str | None:
    """The prompt, if it is to be tokenized."""
    return record.prompt if record.prompt_token_ids is None else None


def _response_of(record: TraceRecord) -> str | None:
    """The response, if it is to be tokenized."""
    return record.response if record.response_token_ids is None else None


def _texts_of(records: Sequence[TraceRecord]) -> list[str]:
    """What is to be tokenized: first the prompts, then the responses."""
    texts = [*map(_prompt_of, records), *map(_response_of, records)]
    return [text for text in texts if text is not None]


def _no_text_to_search(record: TraceRecord) -> str:
    if record.response is None:
        return "a stop string cannot be looked for: the recorded response has no text"
    return (
        "a stop string cannot be looked for: response_token_ids do not spell response with this tokenizer; "
        "name the one that made them with --tokenizer, or leave the ids out"
    )


def _prompts_of(record: TraceRecord) -> list[Prompt]:
    prompts: list[Prompt] = []
    if record.prompt is not None:
        prompts.append(record.prompt)
    if record.prompt_token_ids is not None:
        prompts.append(tuple(record.prompt_token_ids))
    return prompts


def _no_recording(prompt: Prompt, known: dict[Prompt, deque[TraceRecord]]) -> str:
    if prompt in known:
        return f"every recorded response to the prompt {shortened(prompt)} has been used"
    if isinstance(prompt, tuple):
        return f"no recorded response has the prompt {shortened(prompt)}"
    nearest = _nearest(prompt, [text for text in known if isinstance(text, str)])
    hint = f"; the nearest is {shortened(nearest)}" if nearest else ""
    return f"no recorded response has the prompt {shortened(prompt)}{hint}"


def _nearest(wanted: str, texts: Sequence[str]) -> str | None:
    """The text that has most pieces of `wanted`, and about its length: cheap, and right for a slip or two."""
    wanted = wanted[:_COMPARED]
    size = 2 if len(wanted) < 32 else 6
    step = max(1, len(wanted) // _PIECES)
    pieces = {wanted[at : at + size] for at in range(0, max(1, len(wanted) - size + 1), step)}

    def likeness(text: str) -> float:
        head = text[:_COMPARED]
        shared = sum(map(head.__contains__, pieces)) / len(pieces)
        return shared - abs(len(head) - len(wanted)) / (len(head) + len(wanted) + 1)

    return max(texts, key=likeness, default=None)


def shortened(prompt: Prompt) -> str:
    """A prompt as a message shows it."""
    shown = repr(prompt)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."
