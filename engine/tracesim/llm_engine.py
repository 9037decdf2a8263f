"""`LLMEngine`: the loop. A step is schedule, simulate, update."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from tracesim.config import EngineArgs, EngineConfig
from tracesim.errors import ConfigError, StalledError, StepLimitError, TraceError, TraceProblem
from tracesim.outputs import (
    CachedTokens,
    CompletionOutput,
    EmittedToken,
    FinishedRequest,
    RequestOutput,
    ScheduledTokens,
    StepRecord,
)
from tracesim.progress import RequestProgress, RunCounts
from tracesim.request import Request, RequestState, RequestStatus
from tracesim.sampling import SamplingParams
from tracesim.scheduler import Scheduled, StepPlan, make_scheduler
from tracesim.simulator import SimulatedToken, TraceSimulator
from tracesim.tokenizer import load_tokenizer
from tracesim.trace import TraceRecord, read_trace


class _Step(NamedTuple):
    number: int
    plan: StepPlan
    emitted: list[SimulatedToken]
    finished: list[RequestState]


class _Asked(NamedTuple):
    """What a request asks for, whether a client or a trace does."""

    id: str
    token_ids: Sequence[int] | None
    params: SamplingParams | None
    arrival_step: int
    priority: int


class LLMEngine:
    """Requests in, tokens out, one a request a step; recorded responses take the place of a model.

        engine = LLMEngine.from_engine_args(EngineArgs(sim_trace_path="trace.jsonl"))
        engine.add_request("r2", "Hi", SamplingParams(max_tokens=3))
        while engine.has_unfinished_requests():
            for output in engine.step():
                print(output.request_id, output.outputs[0].text)

    `step_number` is the number of the next step, from 0. `requests` holds every request by id, finished ones
    too, and `counts` what the steps have done so far.
    """

    def __init__(self, config: EngineConfig, simulator: TraceSimulator) -> None:
        self.config = config
        self.simulator = simulator
        self.scheduler = make_scheduler(config)
        self.step_number = 0
        self.requests: dict[str, RequestProgress] = {}
        self.counts = RunCounts()
        self._arrivals: list[tuple[int, int, RequestProgress]] = []
        self._num_unfinished = 0

    @classmethod
    def from_engine_args(cls, args: EngineArgs) -> LLMEngine:
        """An engine with the recordings of `args.sim_trace_path` behind it and no requests yet.

        Raises ConfigError for a setting that does not fit, TraceError when the trace has problems, and
        TokenizerError when the tokenizer cannot be had.
        """
        if not args.use_simulator:
            raise ConfigError("use_simulator is False; tracesim has no model to run, only recorded responses")
        if args.sim_trace_path is None:
            raise ConfigError("sim_trace_path is not set; it names the trace whose responses are replayed")
        config = args.create_engine_config()
        return cls(
            config, TraceSimulator(_valid_records(args.sim_trace_path), load_tokenizer(args.tokenizer))
        )

    def add_request(
        self,
        request_id: str,
        prompt: str | Mapping[str, Sequence[int]],
        params: SamplingParams | None = None,
        *,
        priority: int = 0,
    ) -> None:
        """Add a request now; the next unused recording of its prompt is its response.

        `prompt` is text, or `{"prompt_token_ids": [...]}` as in vLLM. `params` wins over the limits that the
        recording itself carries. Raises UnknownPromptError, which names the nearest prompt, when no
        recording is left, and RequestError when the id is taken or the request can never run.
        """
        if isinstance(prompt, str):
            token_ids, record = self.simulator.encode(prompt), self.simulator.find(prompt)
        else:
            token_ids = tuple(prompt["prompt_token_ids"])
            record = self.simulator.find(token_ids)
        asked = _Asked(request_id, token_ids, params, self.step_number, priority)
        self._add(asked, record)

    def add_record(self, record: TraceRecord, params: SamplingParams | None = None) -> None:
        """Add the request that `record` recorded, under its own id, at its own arrival step.

        `params` wins over the record's own limits. Raises RequestError when the id is taken or the request
        can never run.
        """
        token_ids = record.prompt_token_ids
        if token_ids is None and record.prompt is not None:
            token_ids = self.simulator.encode(record.prompt)
        asked = _Asked(record.id, token_ids, params, record.arrival_step, record.priority or 0)
        self._add(asked, record)

    def abort_request(self, request_id: str | Iterable[str]) -> None:
        """Drop one request or several, whether waiting, running or still to arrive; others are left alone.

        What they emitted stays in `requests`, with finish_reason "abort". Ids that are unknown or finished
        are passed over, as in vLLM.
        """
        for each in [request_id] if isinstance(request_id, str) else request_id:
            progress = self.requests.get(each)
            if progress is None or progress.finish_reason is not None:
                continue
            if progress.state is not None:
                self.scheduler.abort_request(progress.state)
            progress.finish_reason = "abort"
            self._num_unfinished -= 1

    def has_unfinished_requests(self) -> bool:
        """Whether a request is waiting, running or still to arrive."""
        return self._num_unfinished > 0

    def get_num_unfinished_requests(self) -> int:
        """How many requests are waiting, running or still to arrive."""
        return self._num_unfinished

    def step(self) -> list[RequestOutput]:
        """Run one step; return the requests that emitted or finished in it, in the scheduler's order.

        While nothing runs or waits, the steps up to the next arrival are passed over. Raises StalledError
        when the schedule can never move again.
        """
        step = self._step()
        if step is None:
            return []
        moved = {token.request_id: None for token in step.emitted}
        moved.update((state.id, None) for state in step.finished)
        return [self._output(self.requests[request_id]) for request_id in moved]

    def run(
        self, on_step: Callable[[StepRecord], object] | None = None, *, max_steps: int | None = None
    ) -> None:
        """Step until every request is finished; hand each step's record to `on_step`.

        Raises StepLimitError when requests are unfinished after `max_steps` steps, idle ones not counted, and
        StalledError when the schedule can never move again.
        """
        while self.has_unfinished_requests():
            if max_steps is not None and self.counts.steps >= max_steps:
                unfinished = f"{self._num_unfinished} of {len(self.requests)} requests"
                raise StepLimitError(f"{unfinished} are unfinished after {max_steps} steps")
            step = self._step()
            if step is not None and on_step is not None:
                on_step(self._record(step))

    def _step(self) -> _Step | None:
        """One step; None when the only requests left to arrive were aborted."""
        if not self._admit_arrivals():
            return None
        plan = self.scheduler.schedule()
        self.simulator.simulate_prefill(entry.state.id for entry in plan.prefill)
        emitted = self.simulator.simulate_decode(state.id for state in plan.sampled)
        finished = self.scheduler.update(plan)
        step = _Step(self.step_number, plan, emitted, finished)
        self._book(step)
        self.step_number += 1
        return step

    def _admit_arrivals(self) -> bool:
        """Hand the scheduler the requests whose time has come; whether it has any at all."""
        if not self.scheduler.running and not self.scheduler.num_waiting and self._arrivals:
            self.step_number = max(self.step_number, self._arrivals[0][0])
        while self._arrivals and self._arrivals[0][0] <= self.step_number:
            progress = heapq.heappop(self._arrivals)[2]
            if progress.finish_reason is None:
                progress.state = self.scheduler.add_request(progress.request)
        return bool(self.scheduler.running or self.scheduler.num_waiting)

    def _book(self, step: _Step) -> None:
        if not step.plan:
            raise StalledError(
                f"step {step.number} did nothing, with {self.scheduler.num_waiting} requests waiting and "
                f"{self.scheduler.num_free_blocks} blocks free: a bug in the scheduler"
            )
        self.counts.add(step.plan)
        for token in step.emitted:
            self.requests[token.request_id].emitted_at(step.number)
        for state in step.finished:
            self.requests[state.id].finish(ignored=state.status is RequestStatus.FINISHED_IGNORED)
        self._num_unfinished -= len(step.finished)

    def _add(self, asked: _Asked, record: TraceRecord) -> None:
        num_prompt_tokens = record.input_length if asked.token_ids is None else len(asked.token_ids)
        assert num_prompt_tokens is not None
        longest = self.config.max_model_len
        room = None if longest is None else max(1, longest - num_prompt_tokens)
        cursor = self.simulator.cursor_of(record, asked.params, room)
        request = Request(
            asked.id,
            num_prompt_tokens,
            cursor.num_tokens,
            arrival_step=asked.arrival_step,
            priority=asked.priority,
            order=len(self.requests),
            prompt_token_ids=asked.token_ids,
            output_token_ids=cursor.token_ids,
            hash_ids=record.hash_ids,
        )
        self.scheduler.check(request)
        self.simulator.adopt(asked.id, cursor, record)
        progress = RequestProgress(request, cursor, record.prompt)
        heapq.heappush(self._arrivals, (request.arrival_step, request.order, progress))
        self.requests[asked.id] = progress
        self._num_unfinished += 1

    def _output(self, progress: RequestProgress) -> RequestOutput:
        completion = CompletionOutput(
            index=0,
            finish_reason=progress.finish_reason,
            stop_reason=progress.stop_reason,
            cursor=progress.cursor,
            num_tokens=progress.num_output_tokens,
        )
        request = progress.request
        return RequestOutput(
            request.id, progress.prompt, request.prompt_token_ids, [completion], completion.finished()
        )

    def _record(self, step: _Step) -> StepRecord:
        return StepRecord(
            step=step.number,
            prefill=[_scheduled(entry) for entry in step.plan.prefill],
            decode=[_scheduled(entry) for entry in step.plan.decode],
            emitted=[EmittedToken(token.request_id, token.token_id, token.text) for token in step.emitted],
            finished=[self._finished(state) for state in step.finished],
            preempted=[state.id for state in step.plan.preempted],
            running=len(self.scheduler.running),
            waiting=self.scheduler.num_waiting,
            free_blocks=self.scheduler.num_free_blocks,
            cached=[CachedTokens(state.id, tokens) for state, tokens in step.plan.cached]
            if self.config.enable_prefix_caching
            else None,
        )

    def _finished(self, state: RequestState) -> FinishedRequest:
        progress = self.requests[state.id]
        return FinishedRequest(state.id, progress.finish_reason or "", progress.stop_reason)


def _scheduled(entry: Scheduled) -> ScheduledTokens:
    return ScheduledTokens(entry.state.id, entry.computed, entry.tokens)


def _valid_records(path: object) -> list[TraceRecord]:
    records: list[TraceRecord] = []
    problems: list[TraceProblem] = []
    for item in read_trace([path]):  # type: ignore[list-item]
        if isinstance(item, TraceRecord):
            records.append(item)
        elif item.severity == "error":
            problems.append(item)
    if problems:
        raise TraceError(problems)
    return records
