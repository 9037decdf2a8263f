"""`RequestIntake`: makes requests of records and prompts, and keeps them until they arrive."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from tracesim.config import EngineConfig
from tracesim.engine.conversations import Conversation
from tracesim.engine.progress import REJECTED, UNSENT, RequestProgress
from tracesim.errors import RequestError
from tracesim.requests.arrival_queue import ArrivalQueue, Wait
from tracesim.requests.request import (
    ARRIVING,
    DEFAULT_HASH_BLOCK_SIZE,
    FINISHED,
    CoreEnd,
    Request,
    RequestState,
)
from tracesim.responses.record_tokenizer import TokenizedRecord
from tracesim.responses.recorded_response import RecordedResponse
from tracesim.responses.sampling_params import SamplingParams
from tracesim.responses.simulator import TraceSimulator
from tracesim.timing.arrival_process import ArrivalProcess, ArrivalTimes
from tracesim.trace.record import TraceRecord

_FAILED: Final = (REJECTED, UNSENT, "abort")
"""The reasons of requests that did not finish by their response."""


class CurrentTime(Protocol):
    """Knows what time it is."""

    @property
    def now(self) -> int: ...  # noqa: D102


class RequestIntake:
    """Makes requests of the records of a trace, and keeps them in `queue` until they arrive by `process`.

    `requests` has every request by id, finished ones included, and `num_unfinished` counts those that wait,
    run or are still to arrive. `check` raises RequestError for a request that can never run. `time` has the
    current time, in the clock's units if `has_clock`, else in steps.
    """

    def __init__(
        self,
        config: EngineConfig,
        simulator: TraceSimulator,
        queue: ArrivalQueue,
        check: Callable[[Request], None],
        *,
        process: ArrivalProcess,
        time: CurrentTime,
        has_clock: bool,
        params: SamplingParams | None = None,
    ) -> None:
        """`process` says when records arrive; `params` apply to every request that has none of its own."""
        self.config = config
        self.simulator = simulator
        self.queue = queue
        self.process = process
        self.requests: dict[str, RequestProgress] = {}
        self.num_unfinished = 0
        self._check = check
        self._time = time
        self._params = params
        self._arrival_times = ArrivalTimes(process, has_clock=has_clock)
        self._prefix_caching = bool(config.enable_prefix_caching)
        self._conversations: dict[str, Conversation] = {}
        self._refused: set[str] = set()
        self._needs_all = process.needs_all
        self._without_arrival: list[tuple[RequestState, int]] = []

    def add_prompt(
        self,
        request_id: str,
        prompt: str | Mapping[str, Sequence[int]],
        params: SamplingParams | None = None,
        priority: int = 0,
    ) -> None:
        """Add a request that arrives now; its response is the next unused recording of its prompt.

        Raises UnknownPromptError, which names the nearest prompt, if no recording is left, and RequestError
        if the id is taken or the request can never run.
        """
        key = prompt if isinstance(prompt, str) else tuple(prompt["prompt_token_ids"])
        (tokenized,) = self.simulator.tokenize([self.simulator.find(key)])
        request, response = self._request_of(
            tokenized, request_id, params, priority, self._time.now, keep_prompt=True
        )
        state = self._keep(request, response, tokenized.record.prompt)
        self.queue.add(state)
        self.simulator.use(tokenized.record)

    def add_records(
        self, records: Sequence[TraceRecord], params: SamplingParams | None = None
    ) -> list[tuple[TraceRecord, RequestError]]:
        """Add the requests that records have, tokenized together; return the refused ones.

        Each has the id of its record, and arrives by the process or, as a later turn, after others.
        """
        refused = []
        for tokenized in self.simulator.tokenize(records):
            record = tokenized.record
            try:
                self._add_record(tokenized, params)
            except RequestError as error:
                refused.append((record, error))
                if record.id not in self.requests:
                    self._refused.add(record.id)
                    self._end_unsent(self.queue.on_abort(record.id, self._time.now))
        return refused

    def receive(self, progress: RequestProgress) -> None:
        """Add a request that another intake has made; it arrives at the `arrival` of its state."""
        self.requests[progress.request.id] = progress
        self.num_unfinished += 1
        self.queue.add(progress.state)

    def on_finish(self, finished: Sequence[RequestState], now: int) -> None:
        """Take note that requests have finished `now`; others may arrive or be dropped because of it."""
        self.num_unfinished -= len(finished)
        if self.queue.depends_on_ends:
            if dropped := self.queue.on_finish(finished, now):
                self._end_unsent(dropped)
            self.drop_unreachable()

    def on_abort(self, progress: RequestProgress) -> None:
        """Take note that a request was aborted, whether it had arrived or not."""
        if progress.state.status is ARRIVING:
            self.start()  # it may have no arrival before
            self.queue.remove(progress.state)
            progress.state.status = FINISHED
        progress.finish_reason = "abort"
        self.num_unfinished -= 1
        self._end_unsent(self.queue.on_abort(progress.request.id, self._time.now))

    def start(self) -> None:
        """Let the run begin, or continue with further requests: all of them are known."""
        if self._without_arrival:
            states, recorded = zip(*self._without_arrival, strict=True)
            self._without_arrival = []
            for state, arrival in zip(states, self._arrival_times.all_of(recorded), strict=True):
                state.arrival = self._time.now + arrival
                self.queue.add(state)
        self.drop_unreachable()

    def drop_unreachable(self) -> None:
        """Drop the requests that wait for others if these are all that is left: the others will not come."""
        if self.num_unfinished and self.num_unfinished == self.queue.num_waiting:
            self._end_unsent(self.queue.drop_waiting())

    def _add_record(self, tokenized: TokenizedRecord, params: SamplingParams | None) -> None:
        """Add the request of one record. Raises RequestError if it is refused."""
        record, times = tokenized.record, self._arrival_times
        conversation: Conversation | None = None
        after: Sequence[str] = ()
        if (record.session_id or record.after) and self.process.sessions != "ignore":
            conversation, after = self._place_in_session(record)
        recorded = times.recorded(record) if conversation or after or self._needs_all else None
        if after and recorded is not None and self.process.sessions == "recorded":
            after = ()
        arrival = 0 if after else times.of(record)
        request, response = self._request_of(tokenized, record.id, params, record.priority or 0, arrival)
        previous = None
        if conversation is not None and self._prefix_caching:
            num_common, previous = conversation.tokens_in_common(request, record)
            request = request._replace(num_session_tokens=num_common)
        state = self._keep(request, response)
        if previous is not None and previous.next_turn is None:
            previous.next_turn = request
        if after:
            wait = Wait(after, times.delay(record))
            if recorded is not None and record.delay is None:
                wait.first, wait.offset = self._place_in_time(recorded, conversation)
            self._add_waiting(state, wait)
        else:
            self._add_first(state, recorded or 0)
        if conversation is not None:
            if conversation.first is None:
                conversation.first, conversation.first_recorded = state, recorded or 0
            if self._prefix_caching:
                conversation.add_turn(state, record)

    def _place_in_session(self, record: TraceRecord) -> tuple[Conversation | None, Sequence[str]]:
        """Return the session of a record, and the requests that must finish before its own is sent."""
        if record.session_id is None:
            return None, record.after or ()
        conversation = self._conversations.get(record.session_id)
        if conversation is None:
            conversation = self._conversations[record.session_id] = Conversation(record.id)
            return conversation, record.after or ()
        last_id, conversation.last_id = conversation.last_id, record.id
        return conversation, (last_id,) if record.after is None else record.after

    def _place_in_time(
        self, recorded: int, conversation: Conversation | None
    ) -> tuple[RequestState | None, int]:
        """Return after the arrival of which request, and how long after it, a turn was recorded.

        None stands for the start of the run, where requests arrive as the trace has it.
        """
        if self.process.kind == "trace":
            return None, recorded
        if conversation is None or conversation.first is None:
            return None, 0
        return conversation.first, recorded - conversation.first_recorded

    def _add_first(self, state: RequestState, recorded: int) -> None:
        """Add a request that waits for no other; the trace has it at `recorded`."""
        if self._needs_all:
            self._without_arrival.append((state, recorded))
        else:
            self._arrival_times.advance()
            self.queue.add(state)

    def _add_waiting(self, state: RequestState, wait: Wait) -> None:
        """Add a request that waits for others, or drop it if one of those did not finish by its response."""
        unfinished = []
        for request_id in wait.after:
            progress = self.requests.get(request_id)
            if request_id in self._refused or (progress and progress.finish_reason in _FAILED):
                self._end_unsent([state, *self.queue.on_abort(state.id, self._time.now)])
                return
            if progress is None or progress.finish_reason is None:
                unfinished.append(request_id)
        if unfinished:
            wait.after = unfinished
            self.queue.add_waiting(state, wait)
        else:
            state.arrival = wait.arrival(self._time.now)
            self.queue.add(state)

    def _end_unsent(self, states: Sequence[RequestState]) -> None:
        """Let requests end that will never arrive."""
        for state in states:
            state.status = FINISHED
            self.requests[state.id].finish_reason = UNSENT
        self.num_unfinished -= len(states)

    def _request_of(
        self,
        tokenized: TokenizedRecord,
        request_id: str,
        params: SamplingParams | None,
        priority: int,
        arrival: int,
        *,
        keep_prompt: bool = False,
    ) -> tuple[Request, RecordedResponse]:
        """Return a request and its response. Raises RequestError if it can never run.

        The token ids of its prompt are kept only for a client or the prefix cache.
        """
        record, num_prompt_tokens = tokenized.record, tokenized.num_prompt_tokens
        max_model_len = self.config.max_model_len
        limit = None if max_model_len is None else max(1, max_model_len - num_prompt_tokens)
        response = self.simulator.response_of(tokenized, params or self._params, limit)
        ends_late = bool(self.config.async_scheduling) and not response.reaches_limit
        core_end = None
        if response.num_core_tokens > response.num_tokens and self.config.engine == "vllm-v1":
            core_end = CoreEnd(response.num_core_tokens, ends_late)
            ends_late = bool(self.config.async_scheduling or self.config.stop_delay)
        request = Request(
            request_id,
            num_prompt_tokens,
            response.num_tokens,
            arrival=arrival,
            priority=priority,
            order=len(self.requests),
            prompt_token_ids=tokenized.prompt_token_ids if keep_prompt or self._prefix_caching else None,
            output_token_ids=response.token_ids if self._prefix_caching else None,
            hash_ids=record.hash_ids if self._prefix_caching else None,
            hash_block_size=record.hash_block_size or DEFAULT_HASH_BLOCK_SIZE,
            ends_late=ends_late,
            core_end=core_end,
            session_id=None if self.process.sessions == "ignore" else record.session_id,
        )
        self._check(request)
        return request, response

    def _keep(self, request: Request, response: RecordedResponse, prompt: str | None = None) -> RequestState:
        """Keep a request and its response; return its counters. Raises RequestError if the id is taken."""
        self.simulator.adopt(request.id, response)
        state = RequestState(request)
        self.requests[request.id] = RequestProgress(request, state, response, prompt)
        self.num_unfinished += 1
        return state
