"""The recorded answers to the prompts that reach vLLM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from tracesim.errors import ConfigError, UnknownPromptError
from tracesim.responses.recorded_response import CutText, RecordedResponse
from tracesim.responses.recordings import Prompt, shortened
from tracesim.responses.sampling_params import SamplingParams
from tracesim.responses.simulator import TraceSimulator
from tracesim.trace.record import TraceRecord
from tracesim.vllm.served_tokenizer import ServedTokenizer
from tracesim.vllm.settings import Match


class ServedRequest(NamedTuple):
    """A request in vLLM: its name in the log, and how its recording ends under its own limits."""

    name: str
    num_prompt_tokens: int
    response: RecordedResponse

    def emit(self, first: int, output: Any) -> list[tuple[int | None, str | None]]:
        """Return id and text of the tokens of an `EngineCoreOutput`, from output token `first` on."""
        positions = range(first, first + len(output.new_token_ids))
        return [(self.response.token_id(position), self.response.piece(position)) for position in positions]

    def completed_stop(self, num_tokens: int) -> str | None:
        """Return the stop string that is complete in the first `num_tokens` output tokens, if any."""
        return self.response.stop_reason if num_tokens >= self.response.num_tokens else None


class _Turn(NamedTuple):
    """A recording, and the name in the log of the request that gets it."""

    record: TraceRecord
    name: str


class _Recordings:
    """All recordings of one prompt, which are given in turn, then again from the first."""

    def __init__(self, records: list[TraceRecord]) -> None:
        self.records = records
        self._given = 0

    def take(self) -> _Turn:
        """Return the next recording."""
        laps, place = divmod(self._given, len(self.records))
        self._given += 1
        record = self.records[place]
        return _Turn(record, f"{record.id}#{laps + 1}" if laps else record.id)


class RecordedAnswers:
    """Recordings, found by the tokens of a prompt, and the simulator that emits them.

    A prompt is found as the served tokenizer spells it, by itself or as the only message of a chat; with the
    match "last-user" also by the last user message of any chat. `simulator` emits the recording, then an
    end-of-sequence token. `requests` has the requests that are being answered, by vLLM's ids.
    """

    def __init__(
        self,
        records: Sequence[TraceRecord],
        tokenizer: ServedTokenizer,
        match: Match = "prompt",
        default: str | None = None,
    ) -> None:
        """Answer unrecorded prompts with `default`. Raises ConfigError for a record that has only lengths."""
        self.simulator = TraceSimulator(records, tokenizer.responses, eos_step=True)
        self.requests: dict[str, ServedRequest] = {}
        self._tokenizer = tokenizer
        self._by_last_user = match == "last-user"
        self._default: _Recordings | None = None
        if default is not None:
            values = {**dict.fromkeys(TraceRecord._fields), "id": "default", "response": default}
            self._default = _Recordings([TraceRecord(**{**values, "arrival_step": 0})])  # type: ignore[arg-type]
        self._by_prompt: dict[Prompt, _Recordings] = {}
        self._by_token_ids: dict[tuple[int, ...], _Recordings] = {}
        for record in records:
            self._index(record)

    def find(self, prompt_token_ids: Sequence[int]) -> _Recordings:
        """Return the recordings of a prompt.

        Raises UnknownPromptError with the nearest prompt; of a chat it quotes the last message.
        """
        found = self._by_token_ids.get(tuple(prompt_token_ids))
        if found is None and self._by_last_user:
            messages = self._tokenizer.last_user_messages(prompt_token_ids)
            found = next((self._by_prompt[each] for each in messages if each in self._by_prompt), None)
        if found := found or self._default:
            return found
        message = next(self._tokenizer.last_user_messages(prompt_token_ids), None)
        text = self._tokenizer.text(prompt_token_ids) if message is None else message
        self.simulator.find(text)  # raises UnknownPromptError if the text was not recorded either
        if message is None:
            raise UnknownPromptError(f"{shortened(text)} was recorded, but not with these tokens")
        raise UnknownPromptError(
            f"no recorded response has this chat, but one has its last user message, {shortened(text)}; "
            "to answer with that set sim_match to last-user"
        )

    def limits(self, prompt_token_ids: Sequence[int]) -> SamplingParams:
        """Return the limits in the trace, if all recordings of the prompt agree on them.

        Raises UnknownPromptError.
        """
        records = self.find(prompt_token_ids).records
        agreed = {(record.max_tokens, record.stop) for record in records}
        max_tokens, stop = agreed.pop() if len(agreed) == 1 else (None, None)
        return SamplingParams(max_tokens=max_tokens, stop=stop)

    def add(
        self,
        request_id: str,
        prompt_token_ids: Sequence[int],
        params: SamplingParams,
        max_output_tokens: int | None = None,
    ) -> None:
        """Let the simulator answer a request, whose output may have at most `max_output_tokens` tokens.

        The simulator emits the whole recording: vLLM finds the end under `params`, and the log has to know
        it. Raises UnknownPromptError.
        """
        record, name = self.find(prompt_token_ids).take()
        (tokenized,) = self.simulator.tokenize([record])
        self.simulator.adopt(
            request_id, RecordedResponse(tokenized.recording, SamplingParams(), eos_step=True)
        )
        shown = tokenized.recording
        if isinstance(shown.spell, CutText):  # vLLM shows what the tokens spell
            shown = shown._replace(spell=self._tokenizer.responses.decode_tokens_bytes)
        ending = RecordedResponse(shown, params, max_output_tokens, eos_step=True)
        self.requests[request_id] = ServedRequest(name, len(prompt_token_ids), ending)

    def forget(self, request_id: str) -> None:
        """Drop a request that is not scheduled again; an unknown one is ignored."""
        self.simulator.forget(request_id)
        self.requests.pop(request_id, None)

    def _index(self, record: TraceRecord) -> None:
        own = None if record.prompt_token_ids is None else tuple(record.prompt_token_ids)
        prompt = own if record.prompt is None else record.prompt
        if prompt is None or record.output_length is not None:
            place = f"{record.file}:{record.line}"
            raise ConfigError(f"{place}: gives lengths; a trace to serve needs prompts and responses")
        recordings = self._by_prompt.get(prompt)
        if recordings is None:
            recordings = self._by_prompt[prompt] = _Recordings([])
            if isinstance(prompt, str):
                for token_ids in self._tokenizer.spellings(prompt):
                    self._by_token_ids.setdefault(token_ids, recordings)
        recordings.records.append(record)
        if own is not None:
            self._by_token_ids.setdefault(own, recordings)
