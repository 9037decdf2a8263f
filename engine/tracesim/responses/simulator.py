"""`TraceSimulator`: takes the place of the model and answers with what was recorded, token by token."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tracesim.errors import RequestError
from tracesim.responses.record_tokenizer import RecordTokenizer, TokenizedRecord
from tracesim.responses.recorded_response import RecordedResponse
from tracesim.responses.recordings import Prompt, Recordings
from tracesim.responses.sampling_params import SamplingParams
from tracesim.tokenizers.interface import Tokenizer
from tracesim.trace.record import TraceRecord


class SimulatedToken(NamedTuple):
    """A token that the simulator emitted: token `position` of the output of its request."""

    request_id: str
    response: RecordedResponse
    position: int

    @property
    def token_id(self) -> int | None:
        """Its id; None where only lengths are known, and for an end-of-sequence token."""
        return self.response.token_id(self.position)

    @property
    def text(self) -> str | None:
        """What it added to the output text; None where the text is not known."""
        return self.response.piece(self.position)


class TraceSimulator:
    """Recorded responses, found by their prompts, and the cursor of each request: its place in its response.

    It also works without an engine or a scheduler:

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
        """`tokenizer` may be None if every response is given by token ids or by its length.

        With `eos_step` every response ends with an end-of-sequence token, as a model's does.
        """
        self._recordings = Recordings(records)
        self._tokenizer = RecordTokenizer(tokenizer)
        self._eos_step = eos_step
        self._responses: dict[str, RecordedResponse] = {}
        self._cursors: dict[str, int] = {}
        self._prefilled: set[str] = set()

    def find(self, prompt: Prompt) -> TraceRecord:
        """Return the next unused recording of a prompt. Raises UnknownPromptError; it names the nearest."""
        return self._recordings.find(prompt)

    def use(self, record: TraceRecord) -> None:
        """Count a record as used, so that `find` does not return it again."""
        self._recordings.use(record)

    def tokenize_ahead(self, records: Sequence[TraceRecord]) -> None:
        """Start to tokenize `records` in another thread, for a later `tokenize` of the same list."""
        self._tokenizer.tokenize_ahead(records)

    def tokenize(self, records: Sequence[TraceRecord]) -> list[TokenizedRecord]:
        """Return records with their tokens; see `RecordTokenizer.tokenize`."""
        return self._tokenizer.tokenize(records)

    def response_of(
        self, tokenized: TokenizedRecord, params: SamplingParams | None = None, limit: int | None = None
    ) -> RecordedResponse:
        """Return the response that a record gives under `params`, which override the record's own fields.

        `limit` is the number of output tokens that the maximum model length allows. Raises RequestError if
        there is a stop string, and no text in which to find it.
        """
        record, recording = tokenized.record, tokenized.recording
        params = (params or SamplingParams()).over(record)
        if params.stop_strings and recording.spell is None:
            message = "a stop string cannot be found: the recorded response has no text"
            if record.response is not None:
                message = (
                    "a stop string cannot be found: response_token_ids do not spell response with this "
                    "tokenizer; name the tokenizer that made them with --tokenizer, or remove the ids"
                )
            raise RequestError(message)
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

        Raises RequestError if the id is taken, and UnknownPromptError if no recording is left.
        """
        record = self.find(prompt)
        response = self.response_of(self.tokenize([record])[0], params, limit)
        self.adopt(request_id, response)
        self.use(record)
        return response

    def adopt(self, request_id: str, response: RecordedResponse) -> None:
        """Give a request its response. Raises RequestError if the id is taken."""
        if request_id in self._responses:
            raise RequestError(f"request id {request_id!r} is taken")
        self._responses[request_id] = response

    def simulate_prefill(self, request_ids: Iterable[str]) -> None:
        """Note that the prompts of these requests are computed; nothing is emitted."""
        self._prefilled.update(request_ids)

    def simulate_decode(self, request_ids: Iterable[str]) -> list[SimulatedToken]:
        """Emit the next token of each of these requests, in order, except those whose response has ended.

        Raises KeyError for a request that was not prefilled.
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
        """Move a request's cursor to output token `position`; the tokens before it count as emitted."""
        self._prefilled.add(request_id)
        self._cursors[request_id] = position

    def forget(self, request_id: str) -> None:
        """Drop what is kept about a request, if anything is: it will emit no more."""
        self._responses.pop(request_id, None)
        self._cursors.pop(request_id, None)
        self._prefilled.discard(request_id)

    def response(self, request_id: str) -> RecordedResponse:
        """Return the response of a request. Raises KeyError for an unknown request."""
        return self._responses[request_id]
