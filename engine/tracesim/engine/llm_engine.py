"""`LLMEngine`: the loop. A step is schedule, simulate, update."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence

from tracesim.config import EngineArgs, EngineConfig
from tracesim.engine.outputs import RequestOutput, StepRecord
from tracesim.engine.progress import RequestProgress, RunCounts
from tracesim.engine.step_json import StepLines
from tracesim.engine.step_records import EngineStep, output_of, record_of
from tracesim.errors import ConfigError, RequestError, StalledError, StepLimitError
from tracesim.requests.arrival_queue import Arrivals, ClosedArrivals, OpenArrivals
from tracesim.requests.request import ARRIVING, FINISHED, Request, RequestState
from tracesim.responses.sampling_params import SamplingParams
from tracesim.responses.simulator import TokenizedRecord, TraceSimulator
from tracesim.scheduler import StepPlan, Stride, make_scheduler
from tracesim.timing.arrival_process import ArrivalProcess, ArrivalTimes, parse_arrivals
from tracesim.timing.clock import Clock, parse_clock
from tracesim.timing.timekeeper import Timekeeper
from tracesim.tokenizers.loading import load_tokenizer
from tracesim.trace.reader import read_records
from tracesim.trace.record import TraceRecord


class LLMEngine:
    """Requests in, tokens out, one a request a step; recorded responses take the place of a model.

        engine = LLMEngine.from_engine_args(EngineArgs(sim_trace_path="trace.jsonl"))
        engine.add_request("r2", "Hi", SamplingParams(max_tokens=3))
        while engine.has_unfinished_requests():
            for output in engine.step():
                print(output.request_id, output.outputs[0].text)

    `step_number` is the number of the next step, from 0. `requests` holds every request by id, finished ones
    too, and `counts` what the steps have done so far. `timekeeper` has the time; None without a clock, where
    time is counted in steps.
    """

    def __init__(
        self,
        config: EngineConfig,
        simulator: TraceSimulator,
        *,
        clock: Clock | None = None,
        arrivals: ArrivalProcess | None = None,
        params: SamplingParams | None = None,
    ) -> None:
        """`arrivals` says when the records of a trace arrive: by default when they say so themselves.

        `params` are those of every request that is added without any.
        """
        process = arrivals or ArrivalProcess()
        self.config = config
        self.simulator = simulator
        self.scheduler = make_scheduler(config)
        self.step_number = 0
        self.requests: dict[str, RequestProgress] = {}
        self.counts = RunCounts()
        self._params = params
        self._caching = bool(config.enable_prefix_caching)
        self.timekeeper = None if clock is None else Timekeeper(clock)
        self._arrival_times = ArrivalTimes(process, timed=clock is not None)
        self._arrivals: Arrivals = ClosedArrivals(process.users) if process.users else OpenArrivals()
        self._num_unfinished = 0
        self._last_decode_step = -1
        self._unwatched = False

    @classmethod
    def from_engine_args(cls, args: EngineArgs) -> LLMEngine:
        """An engine with the recordings of `args.sim_trace_path` behind it and no requests yet.

        Raises ConfigError for a setting that does not fit, TraceError when the trace has problems, and
        TokenizerError when the tokenizer cannot be had.
        """
        if not args.use_simulator:
            raise ConfigError(
                "is False; tracesim has no model to run, only recorded responses", setting="use_simulator"
            )
        if args.sim_trace_path is None:
            raise ConfigError(
                "is not set; it names the trace whose responses are replayed", setting="sim_trace_path"
            )
        config = args.create_engine_config()
        path = args.sim_trace_path
        paths = [path] if isinstance(path, (str, os.PathLike)) else path
        records, tokenizer = read_records(paths), load_tokenizer(args.tokenizer)
        simulator = TraceSimulator(records, tokenizer, eos_step=args.eos_step)
        arrivals = parse_arrivals(args.arrivals, args.speedup, args.seed)
        params = SamplingParams(args.max_tokens, args.min_tokens, args.stop, args.include_stop_str_in_output)
        return cls(config, simulator, clock=parse_clock(args.clock), arrivals=arrivals, params=params)

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
        key = prompt if isinstance(prompt, str) else tuple(prompt["prompt_token_ids"])
        (tokenized,) = self.simulator.tokenize([self.simulator.find(key)])
        self._add(tokenized, request_id, params, self._now, priority, keep_prompt=True)
        self.simulator.use(tokenized.record)

    def add_record(self, record: TraceRecord, params: SamplingParams | None = None) -> None:
        """Add the request that `record` recorded, under its own id; it arrives as the engine has it arrive.

        `params` wins over the record's own limits. Raises RequestError when the id is taken or the request
        can never run.
        """
        for _, error in self.add_records([record], params):
            raise error

    def add_records(
        self, records: Sequence[TraceRecord], params: SamplingParams | None = None
    ) -> list[tuple[TraceRecord, RequestError]]:
        """Add many requests as `add_record` does, tokenized together; return which were refused, and why."""
        refused = []
        for tokenized in self.simulator.tokenize(records):
            record = tokenized.record
            try:
                arrival = self._arrival_times.of(record)
                self._add(tokenized, record.id, params, arrival, record.priority or 0, keep_prompt=False)
                self._arrival_times.advance()
            except RequestError as error:
                refused.append((record, error))
        return refused

    def abort_request(self, request_id: str | Iterable[str]) -> None:
        """Drop one request or several, whether waiting, running or still to arrive; others are left alone.

        What they emitted stays in `requests`, with finish_reason "abort". Ids that are unknown or finished
        are passed over, as in vLLM.
        """
        for each in [request_id] if isinstance(request_id, str) else request_id:
            progress = self.requests.get(each)
            if progress is None or progress.finish_reason is not None:
                continue
            if progress.state.status is ARRIVING:
                self._arrivals.remove(progress.state)
                progress.state.status = FINISHED
            else:
                self.scheduler.abort_request(progress.state)
                self._arrivals.leave(1)
                if self.timekeeper is not None:
                    self.timekeeper.stop_decoding(each)
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
        if not self._num_unfinished:
            return []
        step = self._step()
        moved = {token.request_id: None for token in step.emitted}
        moved.update((state.id, None) for state in step.finished)
        return [output_of(self.requests[request_id]) for request_id in moved]

    def run(
        self,
        on_step: Callable[[StepRecord], object] | None = None,
        *,
        write: Callable[[bytes], object] | None = None,
        max_steps: int | None = None,
    ) -> None:
        """Step until every request is finished.

        `on_step` is handed each step's record, `write` the same as a line of JSON (`report.step_to_json`),
        which is faster. With neither, steps in which nothing but tokens moves are taken at once.

        Raises StepLimitError when requests are unfinished after `max_steps` steps, idle ones not counted, and
        StalledError when the schedule can never move again.
        """
        lines = None if write is None else self._lines(write)
        while self._num_unfinished:
            if max_steps is not None and self.counts.steps >= max_steps:
                unfinished = f"{self._num_unfinished} of {len(self.requests)} requests"
                raise StepLimitError(f"{unfinished} are unfinished after {max_steps} steps")
            if on_step is not None:
                on_step(self._record(self._step()))
            elif lines is not None:
                self._write_step(lines)
            else:
                self._run_unwatched(sys.maxsize if max_steps is None else max_steps - self.counts.steps)

    def _step(self) -> EngineStep:
        """One step, with all that it did."""
        self._admit_arrivals()
        plan = self.scheduler.schedule()
        decodes = self.scheduler.decode_batch(plan)
        emitting = plan.emitting(self.scheduler.decoding_requests(plan))
        self._catch_up()
        self.simulator.simulate_prefill(entry.state.id for entry in plan.prefill)
        emitted = self.simulator.simulate_decode(state.id for state in emitting)
        number, finished = self.step_number, self._update(plan)
        return EngineStep(number, plan, decodes, emitted, finished, self._step_time)

    def _run_unwatched(self, limit: int) -> None:
        """A stride, then the step that ended it, `limit` at most: no token is made and no decode listed."""
        self._admit_arrivals()
        self._unwatched = True
        stride = self._stride(limit)
        if stride.steps:
            self._count(stride.steps, stride.num_prefills, stride.batch.num_decodes, stride.finished)
            if self.timekeeper is not None:
                self.timekeeper.pass_stride(stride)
        if stride.steps < limit and not stride.finished and not self._is_arrival_due():
            self._update(self.scheduler.schedule())

    def _stride(self, limit: int) -> Stride:
        """The steps before the next arrival that can be taken at once, `limit` at most."""
        arrival = self._arrivals.next_time
        if arrival is None:
            return self.scheduler.stride(limit)
        if self.timekeeper is None:
            return self.scheduler.stride(min(limit, arrival - self.step_number))
        clock, time = self.timekeeper.clock, arrival - self.timekeeper.now
        return self.scheduler.stride(limit, lambda batch, most: clock.steps_to(time, batch, most))

    def _record(self, step: EngineStep) -> StepRecord:
        return record_of(step, self.scheduler, self.requests, prefix_caching=self._caching)

    def _lines(self, write: Callable[[bytes], object]) -> StepLines:
        return StepLines(write, self.scheduler, self.requests, prefix_caching=self._caching)

    def _write_step(self, lines: StepLines) -> None:
        """One step, written as a line."""
        self._admit_arrivals()
        number, plan = self.step_number, self.scheduler.schedule()
        lines.planned(plan)
        finished = self._update(plan)
        lines.done(number, plan, finished, self._step_time)
        self._unwatched = True

    def _catch_up(self) -> None:
        """Tell the simulator how far requests have come while nobody looked."""
        if self._unwatched:
            for progress in self.requests.values():
                if progress.finish_reason is None:
                    self.simulator.seek(progress.state.id, progress.state.num_output_tokens)
            self._unwatched = False

    @property
    def _now(self) -> int:
        """The time of the next step: in picoseconds or, without a clock, in steps."""
        return self.step_number if self.timekeeper is None else self.timekeeper.now

    @_now.setter
    def _now(self, time: int) -> None:
        """Pass over the time in which there is nothing to do."""
        if self.timekeeper is None:
            self.step_number = time
        else:
            self.timekeeper.now = time

    def _is_arrival_due(self) -> bool:
        return self._arrivals.next_time is not None and self._arrivals.next_time <= self._now

    @property
    def _step_time(self) -> tuple[int, int] | None:
        """When the step that was just run began and how long it took; None without a clock."""
        return None if self.timekeeper is None else self.timekeeper.last_step

    def _admit_arrivals(self) -> None:
        """Hand the scheduler the requests whose time has come; where it has none, that is the next one's."""
        next_time = self._arrivals.next_time
        if next_time is None:
            return
        if not self.scheduler.running and not self.scheduler.num_waiting:
            self._now = max(self._now, next_time)
        now = self._now
        if next_time <= now:
            for state in self._arrivals.take(now):
                self.scheduler.add_request(state)
                self.requests[state.id].arrival_step = self.step_number
                if self.timekeeper is not None:
                    self.timekeeper.arrive(state.id, self._arrivals.arrival_of(state, now))

    def _update(self, plan: StepPlan) -> list[RequestState]:
        """Let a planned step happen; who finished in it."""
        timekeeper = self.timekeeper
        batch = None if timekeeper is None else self.scheduler.batch_counts(plan)
        finished = self.scheduler.update(plan)
        self._book(plan, finished)
        if timekeeper is not None and batch is not None:
            timekeeper.pass_step(plan, batch, finished)
        return finished

    def _book(self, plan: StepPlan, finished: Sequence[RequestState]) -> None:
        if not plan:
            raise StalledError(
                f"step {self.step_number} did nothing: {self.scheduler.num_waiting} requests wait and "
                f"{self.scheduler.num_free_blocks} blocks are free, a bug in the scheduler"
            )
        step, requests = self.step_number, self.requests
        for state in plan.preempted:
            requests[state.id].preempted_after(self._last_decode_step)
        for state in plan.sampled:
            requests[state.id].sampled_at(step)
        self._count(1, len(plan.prefill), plan.num_decodes, finished)

    def _count(
        self, steps: int, num_prefills: int, num_decodes: int, finished: Sequence[RequestState]
    ) -> None:
        """Note steps of one batch, and who finished in the last of them."""
        self.counts.add(num_prefills, num_decodes, steps)
        self.step_number += steps
        last = self.step_number - 1
        if num_decodes:
            self._last_decode_step = last
        for state in finished:
            self.requests[state.id].finish_at(last)
        if finished:
            self._num_unfinished -= len(finished)
            self._arrivals.leave(len(finished))

    def _add(
        self,
        tokenized: TokenizedRecord,
        request_id: str,
        params: SamplingParams | None,
        arrival: int,
        priority: int,
        *,
        keep_prompt: bool,
    ) -> None:
        """Add a request; a prompt's text and token ids are kept where a client or the prefix cache looks."""
        record, num_prompt_tokens = tokenized.record, tokenized.num_prompt_tokens
        longest = self.config.max_model_len
        room = None if longest is None else max(1, longest - num_prompt_tokens)
        response = self.simulator.response_of(tokenized, params or self._params, room)
        request = Request(
            request_id,
            num_prompt_tokens,
            response.num_tokens,
            arrival=arrival,
            priority=priority,
            order=len(self.requests),
            prompt_token_ids=tokenized.prompt_token_ids if keep_prompt or self._caching else None,
            output_token_ids=response.token_ids if self._caching else None,
            hash_ids=record.hash_ids if self._caching else None,
        )
        self.scheduler.check(request)
        self.simulator.adopt(request_id, response)
        state = RequestState(request)
        self._arrivals.add(state)
        prompt = record.prompt if keep_prompt else None
        self.requests[request_id] = RequestProgress(request, state, response, prompt)
        self._num_unfinished += 1
