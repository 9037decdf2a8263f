"""`LLMEngine`: the loop. A step is schedule, simulate, update."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from tracesim.config import EngineArgs, EngineConfig
from tracesim.engine.intake import RequestIntake
from tracesim.engine.outputs import RequestOutput, output_of
from tracesim.engine.progress import RunCounts
from tracesim.engine.step_json import StepWriter
from tracesim.engine.step_records import StepObserver, StepRecord, StepRecorder
from tracesim.engine.stride_records import StrideRecord, StrideRecorder
from tracesim.engine.waiting_intervals import WaitingIntervals
from tracesim.errors import ConfigError, RequestError, StalledError, StepLimitError
from tracesim.requests.arrival_queue import ArrivalQueue, SessionArrivals
from tracesim.requests.request import ARRIVING, RequestState
from tracesim.responses.sampling_params import SamplingParams
from tracesim.responses.simulator import SimulatedToken, TraceSimulator
from tracesim.scheduler import StepPlan, Stride, make_scheduler
from tracesim.timing.arrival_process import ArrivalProcess, parse_arrivals
from tracesim.timing.async_timekeeper import AsyncTimekeeper
from tracesim.timing.clock import Clock, parse_clock
from tracesim.timing.timekeeper import StepCounter, Timekeeper
from tracesim.tokenizers.loading import load_tokenizer
from tracesim.trace.reader import read_records
from tracesim.trace.record import TraceRecord


class LLMEngine:
    """Requests in, tokens out: one output token per request per step, from recorded responses, not a model.

        engine = LLMEngine.from_engine_args(EngineArgs(sim_trace_path="trace.jsonl"))
        engine.add_request("r2", "Hi", SamplingParams(max_tokens=3))
        while engine.has_unfinished_requests():
            for output in engine.step():
                print(output.request_id, output.outputs[0].text)

    `step_number` is the number of the next step, from 0. `requests` has every request by id, finished ones
    included, `counts` sums up the steps so far, and `waits` has what kept requests waiting. `timekeeper` has
    the times of requests under a clock; it is None without one, where time is counted in steps.
    """

    def __init__(
        self,
        config: EngineConfig,
        simulator: TraceSimulator,
        *,
        clock: Clock | None = None,
        arrivals: ArrivalProcess | None = None,
        params: SamplingParams | None = None,
        queue: ArrivalQueue | None = None,
        replica: int | None = None,
    ) -> None:
        """`arrivals` is how the records of a trace arrive; by default at the times in the trace.

        `params` apply to every request that is added without its own. `queue` has the requests that have not
        arrived; by default the engine makes its own. `replica` numbers the engines of a cluster.
        """
        process = arrivals or ArrivalProcess()
        self.config = config
        self.simulator = simulator
        self.scheduler = make_scheduler(config)
        self.replica = replica
        self.step_number = 0
        self.counts = RunCounts()
        self.waits = WaitingIntervals()
        timekeeper_type = AsyncTimekeeper if config.async_scheduling else Timekeeper
        self.timekeeper = None if clock is None else timekeeper_type(clock)
        self._time = self.timekeeper or StepCounter()
        self._arrivals: ArrivalQueue = SessionArrivals(process.users) if queue is None else queue
        self.intake = RequestIntake(
            config,
            simulator,
            self._arrivals,
            self.scheduler.check,
            process=process,
            time=self._time,
            has_clock=clock is not None,
            params=params,
        )
        self.requests = self.intake.requests
        self._prefix_caching = bool(config.enable_prefix_caching)
        self._last_decode_step = -1
        self._simulator_is_behind = False
        self._stride_recorder: StrideRecorder | None = None
        self._emissions: deque[list[SimulatedToken]] = deque()
        self._observers: Sequence[StepObserver] = ()
        self._follows_steps = False

    @classmethod
    def from_engine_args(cls, args: EngineArgs) -> LLMEngine:
        """Return an engine that answers with the recordings of `args.sim_trace_path`, without requests yet.

        Raises ConfigError for a setting that is not valid, TraceError if the trace has problems, and
        TokenizerError if the tokenizer cannot be loaded.
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
        arrivals = parse_arrivals(args.arrivals, args.speedup, args.seed, args.sessions)
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
        """Add a request that arrives now; its response is the next unused recording of its prompt.

        `prompt` is text, or `{"prompt_token_ids": [...]}` as in vLLM. `params` override the limits of the
        recording itself. Raises UnknownPromptError, which names the nearest prompt, if no recording is left,
        and RequestError if the id is taken or the request can never run.
        """
        self.intake.add_prompt(request_id, prompt, params, priority)

    def add_record(self, record: TraceRecord, params: SamplingParams | None = None) -> None:
        """Add the request that `record` recorded, under its own id; it arrives by the engine's `arrivals`.

        `params` override the record's own limits. Raises RequestError if the id is taken or the request can
        never run.
        """
        for _, error in self.add_records([record], params):
            raise error

    def add_records(
        self, records: Sequence[TraceRecord], params: SamplingParams | None = None
    ) -> list[tuple[TraceRecord, RequestError]]:
        """Add many requests as `add_record` does, tokenized together; return the refused ones."""
        return self.intake.add_records(records, params)

    def abort_request(self, request_id: str | Iterable[str]) -> None:
        """Drop one request or several, whether waiting, running or still to arrive.

        What they emitted stays in `requests`, with finish_reason "abort". Unknown and finished ids are
        ignored, as in vLLM.
        """
        for each in [request_id] if isinstance(request_id, str) else request_id:
            progress = self.requests.get(each)
            if progress is None or progress.finish_reason is not None:
                continue
            if progress.state.status is not ARRIVING:
                self.scheduler.abort_request(progress.state)
                self._time.stop_decoding(each)
            self.intake.on_abort(progress)

    def has_unfinished_requests(self) -> bool:
        """Return whether a request is waiting, running or still to arrive."""
        return self.intake.num_unfinished > 0

    def get_num_unfinished_requests(self) -> int:
        """Return how many requests are waiting, running or still to arrive."""
        return self.intake.num_unfinished

    def step(self) -> list[RequestOutput]:
        """Run one step; return the requests that emitted or finished in it, in the scheduler's order.

        With asynchronous scheduling the output is that of the step before, whose tokens come after this plan.

        If no request runs or waits, time jumps to the next arrival first. Raises StalledError if the
        schedule can never move again.
        """
        self.intake.start()
        if not self.intake.num_unfinished:
            return []
        self.admit_arrivals()
        plan = self.scheduler.schedule()
        self._emissions.append(self._simulate(plan))
        finished = self._update(plan)
        if len(self._emissions) <= self.scheduler.plans_ahead:
            return []
        moved = {token.request_id: token.position + 1 for token in self._emissions.popleft()}
        for state in finished:
            moved.setdefault(state.id, state.num_output_tokens)
        return [output_of(self.requests[request_id], num_tokens) for request_id, num_tokens in moved.items()]

    def run(
        self,
        on_step: Callable[[StepRecord], object] | None = None,
        *,
        write: Callable[[bytes], object] | None = None,
        on_stride: Callable[[StrideRecord], object] | None = None,
        max_steps: int | None = None,
    ) -> None:
        """Step until every request is finished.

        `on_step` is called with the record of each step; `write`, which is faster, with its line of JSON (see
        `step_json`). With neither of them, steps in which nothing but tokens changes are taken at once.
        `on_stride` is called with a record for each stride and for each other step: in a run that makes step
        records, for each step.

        What these functions raise ends the run after that step. Raises StepLimitError if requests are
        unfinished after `max_steps` steps, idle ones not counted, and StalledError if the schedule can never
        move again.
        """
        self.follow(on_step, write=write, on_stride=on_stride)
        self.intake.start()
        while self.intake.num_unfinished:
            steps_left = sys.maxsize if max_steps is None else max_steps - self.counts.steps
            if steps_left <= 0:
                unfinished = f"{self.intake.num_unfinished} of {len(self.requests)} requests"
                raise StepLimitError(f"{unfinished} are unfinished after {max_steps} steps")
            self.admit_arrivals()
            if self._follows_steps or self._take_stride(steps_left):
                self._step()
        while self.scheduler.awaits_output:  # what is left is computed in vain
            self._step()

    def follow(
        self,
        on_step: Callable[[StepRecord], object] | None = None,
        *,
        write: Callable[[bytes], object] | None = None,
        on_stride: Callable[[StrideRecord], object] | None = None,
    ) -> None:
        """Let functions follow the steps from here on, as `run` describes it."""
        of_steps: StepObserver | None = None
        if on_step is not None:
            of_steps = StepRecorder(
                on_step,
                self.scheduler,
                self.requests,
                prefix_caching=self._prefix_caching,
                replica=self.replica,
            )
        elif write is not None:
            of_steps = StepWriter(
                write,
                self.scheduler,
                self.requests,
                prefix_caching=self._prefix_caching,
                replica=self.replica,
            )
        of_strides = None
        if on_stride is not None:
            of_strides = StrideRecorder(on_stride, self.scheduler, self.requests, replica=self.replica)
        self._observers = [each for each in (of_steps, of_strides) if each is not None]
        self._follows_steps = of_steps is not None
        self._stride_recorder = of_strides
        self.scheduler.records_strides = of_strides is not None
        self._simulator_is_behind = True

    @property
    def engines(self) -> Sequence[LLMEngine]:
        """The engine, as the only one of its run; a cluster has several."""
        return (self,)

    @property
    def now(self) -> int:
        """The time, in steps or in the clock's units: when the next step is planned, if there is one."""
        return self._time.now

    @property
    def next_step_time(self) -> int | None:
        """When the next step is planned, in steps or in the clock's units; None if nothing is left to do."""
        now, next_time = self._time.now, self._arrivals.next_time
        if not self._is_idle:
            return now
        return None if next_time is None else max(now, next_time)

    def advance(self, limit: int = sys.maxsize) -> None:
        """Take at least one step, and at most `limit`: those up to the next one that changes something.

        Where records are made of each step, that is one.
        """
        self.admit_arrivals()
        if self._follows_steps or self._take_stride(limit):
            self._step()

    def earliest_finish(self, least_output: int) -> int:
        """Return a time before which no request finishes, whatever happens.

        None of the requests so far has fewer than `least_output` output tokens.
        """
        steps = self.scheduler.least_steps(least_output)
        if self._arrivals.next_time is not None:
            steps = min(steps, max(1, least_output))
        return self._time.earliest_end(self.next_step_time or 0, steps)

    @property
    def _is_idle(self) -> bool:
        """Whether no step could do anything, before a request arrives."""
        scheduler = self.scheduler
        return not scheduler.running and not scheduler.num_waiting and not scheduler.awaits_output

    def _step(self) -> None:
        """Run one step that the observers follow."""
        plan = self.scheduler.schedule()
        for observer in self._observers:
            observer.on_plan(self.step_number, plan)
        finished = self._update(plan)
        for observer in self._observers:
            observer.on_update(plan, finished, self._time.last_step)

    def admit_arrivals(self) -> None:
        """Pass arrived requests to the scheduler; if it has none, jump to the next arrival first."""
        next_time = self._arrivals.next_time
        if next_time is None:
            return
        if next_time > self._time.now and self._is_idle:
            self.step_number += self._time.skip_to(next_time)
        if next_time <= self._time.now:
            for state in self._arrivals.pop_due(self._time.now):
                self.scheduler.add_request(state)
                self.requests[state.id].arrival_step = self.step_number
                self._time.arrive(state)

    def _take_stride(self, limit: int) -> bool:
        """Take up to `limit` steps at once if possible; return whether the next has to be scheduled."""
        arrival = self._arrivals.no_arrival_before
        if arrival is None:
            stride = self.scheduler.stride(limit)
        else:
            stride = self.scheduler.stride(limit, partial(self._time.steps_before, arrival))
        if stride is None:
            return True
        self._pass_stride(stride)
        steps = stride.steps
        if stride.then is not None:
            stride = stride.then
            self._pass_stride(stride)
            steps += stride.steps
        arrival = self._arrivals.no_arrival_before
        has_arrival = arrival is not None and arrival <= self._time.now
        has_ended = stride.ends_requests or stride.discarded
        return steps < limit and not has_ended and not has_arrival

    def _pass_stride(self, stride: Stride) -> None:
        """Let the steps of a stride happen."""
        if stride.waiting_for != self.waits.cause:
            self.waits.begin(self._time.next_start, stride.waiting_for)
        number = self.step_number
        self._time.pass_stride(stride)
        self.counts.discarded_tokens += len(stride.discarded)
        self._count(stride.steps, stride.num_prefills, stride.batch.num_decodes, stride.finished)
        if self._stride_recorder is not None:
            self._stride_recorder.on_stride(number, stride, self._time.last_step)

    def _simulate(self, plan: StepPlan) -> list[SimulatedToken]:
        """Let the simulator book the prefill of a plan and emit its tokens."""
        if self._simulator_is_behind:
            for progress in self.requests.values():
                if progress.finish_reason is None:
                    self.simulator.seek(progress.state.id, progress.state.num_output_tokens)
            self._simulator_is_behind = False
        self.simulator.simulate_prefill(entry.state.id for entry in plan.prefill)
        emitting = plan.emitting(self.scheduler.decoding_requests(plan))
        return self.simulator.simulate_decode(state.id for state in emitting)

    def _update(self, plan: StepPlan) -> list[RequestState]:
        """Let the step of a plan happen; return who finished in it."""
        does_something = bool(plan)
        if not does_something and not self.scheduler.awaits_output:
            raise StalledError(
                f"step {self.step_number} does nothing, although {self.scheduler.num_waiting} requests wait "
                f"and {self.scheduler.num_free_blocks} blocks are free: a bug in the scheduler"
            )
        if plan.waiting_for != self.waits.cause:
            self.waits.begin(self._time.next_start, plan.waiting_for)
        self._time.start_step(plan, self.scheduler)
        finished = self.scheduler.update(plan)
        self._time.end_step(plan, finished)
        for state in plan.preempted:
            self.requests[state.id].preempted_after(self._last_decode_step)
        for state in plan.unsampled:
            self.requests[state.id].scheduled_at(self.step_number)
        for state in plan.sampled:
            self.requests[state.id].sampled_at(self.step_number)
        if plan.discarded:
            self.counts.discarded_tokens += len(plan.discarded)
        self._count(int(does_something), len(plan.prefill), plan.num_decodes, finished)
        return finished

    def _count(
        self, steps: int, num_prefills: int, num_decodes: int, finished: Sequence[RequestState]
    ) -> None:
        """Count steps that had the same batch, and note who finished in the last of them."""
        self.counts.add(num_prefills, num_decodes, steps)
        self.step_number += steps or 1  # an empty plan is a step, too, but nothing happens in it
        last = self.step_number - 1
        if num_decodes:
            self._last_decode_step = last
        if finished:
            for state in finished:
                self.requests[state.id].finish_at(last - self.scheduler.plans_ahead)
            self.intake.on_finish(finished, self._time.now)
