"""The schedulers in their simplest form, the model against which tests compare the engine.

Every step visits every request, every counter is updated explicitly, and a KV block is an object. Nothing
here is fast, and the engine shares nothing with it but the settings and the types of step records.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from tracesim import (
    CachedTokens,
    EmittedToken,
    EngineArgs,
    EngineConfig,
    FinishedRequest,
    LaunchedFigures,
    ScheduledTokens,
    StalledError,
    StepRecord,
    TraceRecord,
    WaitingFor,
)
from tracesim.scheduler import Cause

UNLIMITED = sys.maxsize
PER_SECOND = 10**15


class Block:
    """A KV block: how many requests hold it and, once it is inserted, the contents up to its end."""

    def __init__(self) -> None:
        self.ref_count = 0
        self.content: Hashable = None


class PlainRequest:
    """A request and its counters; the tokens of a text are its characters.

    The client gets `num_output_tokens`. The engine, which knows no stop strings, would emit `num_core_tokens`
    and then end the request: with `is_limited` it knows that ahead. `num_emitted` are the tokens that the
    engine knows, `num_in_flight` those that it has not got yet.
    """

    def __init__(self, record: TraceRecord, order: int, max_model_len: int) -> None:
        self.id = record.id
        self.arrival_step = record.arrival_step
        self.arrival = round((record.arrival_time or 0) * 10**12) * (PER_SECOND // 10**12)
        self.urgency = (record.priority or 0, order)
        self.hash_ids = record.hash_ids
        self.hash_block_size = record.hash_block_size or 512
        self.prompt_ids = ids_of(record.prompt, record.prompt_token_ids)
        self.output_ids = ids_of(record.response, record.response_token_ids)
        self.num_prompt_tokens = len(self.prompt_ids) if self.prompt_ids else record.input_length or 0
        recorded = record.output_length or 0 if self.output_ids is None else len(self.output_ids)
        limit = min(record.max_tokens or UNLIMITED, max(1, max_model_len - self.num_prompt_tokens))
        self.num_core_tokens = self.num_output_tokens = min(recorded, limit)
        self.is_limited = self.num_core_tokens == limit
        self.finish_reason = "stop" if self.num_output_tokens == recorded else "length"
        self.stop_reason: str | None = None
        self.text = record.response
        self._find_stop_string([record.stop] if isinstance(record.stop, str) else record.stop or ())
        self.is_finished = False
        self.num_emitted = 0
        self.num_in_flight = 0
        self.num_computed = 0
        self.was_preempted = False
        self.blocks: list[Block] = []

    def _find_stop_string(self, stops: Sequence[str]) -> None:
        """Stop at the first token, within the limits, that completes a stop string, and cut the text."""
        for end in range(1, self.num_output_tokens + 1):
            for stop in stops:
                if self.text is not None and self.text[:end].endswith(stop):
                    self.num_output_tokens, self.finish_reason, self.stop_reason = end, "stop", stop
                    self.text = self.text[: end - len(stop)]
                    return

    @property
    def num_known(self) -> int:
        """Tokens of the prompt, and those of the output that the engine knows."""
        return self.num_prompt_tokens + self.num_emitted

    @property
    def num_tokens(self) -> int:
        """Tokens of the prompt and of the output so far, with those in flight."""
        return self.num_known + self.num_in_flight

    def content(self, end: int) -> Hashable:
        """Return a name for the first `end` tokens, equal for equal tokens only."""
        in_prompt = end <= self.num_prompt_tokens
        if in_prompt and self.hash_ids is not None:
            size = self.hash_block_size
            return ("hash_ids", size, end, *self.hash_ids[: -(-end // size)])
        if self.prompt_ids is None or self.output_ids is None:
            return ("unknown", self.id, end)
        return (*self.prompt_ids, *self.output_ids)[:end]


def ids_of(text: str | None, ids: Sequence[int] | None) -> Sequence[int] | None:
    """Return the tokens of a text, or the given ids; None if only the length is known."""
    return ids if text is None else [ord(character) for character in text]


class BlockPool:
    """All KV blocks. Those that no request holds are `free`, in the order in which they are allocated."""

    def __init__(self, config: EngineConfig, reserved: int) -> None:
        self.block_size = config.block_size
        self.is_unlimited = config.num_gpu_blocks is None
        self.caches = bool(config.enable_prefix_caching)
        self.free = [Block() for _ in range((config.num_gpu_blocks or 0) - reserved)]
        self.capacity = UNLIMITED if self.is_unlimited else len(self.free)
        self.inserted: dict[Hashable, list[Block]] = {}

    @property
    def num_free(self) -> int:
        return UNLIMITED if self.is_unlimited else len(self.free)

    def blocks_for(self, num_tokens: int) -> int:
        """Return how many blocks `num_tokens` tokens take."""
        return -(-num_tokens // self.block_size)

    def match_prefix(self, request: PlainRequest) -> list[Block]:
        """Return the longest cached prefix that leaves a token to compute; of equal blocks, the oldest."""
        prefix: list[Block] = []
        for end in range(self.block_size, request.num_tokens, self.block_size):
            if not (self.caches and (blocks := self.inserted.get(request.content(end)))):
                break
            prefix.append(blocks[0])
        return prefix

    def needed(self, request: PlainRequest, num_tokens: int, prefix: Sequence[Block] = ()) -> int:
        """Return how many free blocks `num_tokens` tokens need, those that `prefix` has of them included."""
        new = max(0, self.blocks_for(num_tokens) - len(request.blocks) - len(prefix))
        return new + sum(block.ref_count == 0 for block in prefix)

    def allocate(self, request: PlainRequest, num_tokens: int, prefix: Sequence[Block] = ()) -> None:
        """Acquire `prefix` and allocate new blocks; insert each block that known tokens fill now."""
        for block in prefix:
            if block in self.free:
                self.free.remove(block)
            block.ref_count += 1
            request.blocks.append(block)
        while len(request.blocks) < self.blocks_for(num_tokens):
            request.blocks.append(self._new_block())
        self.insert(request, min(num_tokens, request.num_known))

    def insert(self, request: PlainRequest, num_tokens: int) -> None:
        """Insert each block that the first `num_tokens` tokens of a request fill."""
        for number, block in enumerate(request.blocks, 1):
            end = number * self.block_size
            if self.caches and block.content is None and end <= num_tokens:
                block.content = request.content(end)
                self.inserted.setdefault(block.content, []).append(block)

    def release(self, request: PlainRequest) -> None:
        """Release all blocks, the last one first: cached blocks are allocated last, all others first."""
        for block in request.blocks:
            block.ref_count -= 1
        freed = [block for block in reversed(request.blocks) if block.ref_count == 0]
        request.blocks = []
        self.free[:0] = [block for block in freed if block.content is None]
        self.free += [block for block in freed if block.content is not None]

    def _new_block(self) -> Block:
        """Allocate the first free block, and evict what it contains."""
        block = Block() if self.is_unlimited else self.free.pop(0)
        block.ref_count = 1
        if block.content is not None:
            self.inserted[block.content].remove(block)
            block.content = None
        return block


@dataclass
class Batch:
    """What a step does; `scheduled` has the number of tokens of each request, in order."""

    scheduled: dict[PlainRequest, int] = field(default_factory=dict)
    decoded: list[PlainRequest] = field(default_factory=list)
    sampled: list[PlainRequest] = field(default_factory=list)
    cached: list[CachedTokens] = field(default_factory=list)
    preempted: list[str] = field(default_factory=list)
    preempted_for: list[str] = field(default_factory=list)
    waiting_for: WaitingFor | None = None
    entries: dict[PlainRequest, ScheduledTokens] = field(default_factory=dict)
    launched: LaunchedFigures | None = None
    number: int = 0
    start: int | None = None
    duration: int | None = None
    refused: list[PlainRequest] = field(default_factory=list)


class PlainScheduler:
    """A list of waiting requests, a list of running ones, and the blocks."""

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        self.pool = BlockPool(config, reserved=1 if config.engine == "vllm-v1" else 0)
        self.max_tokens = config.max_num_batched_tokens or UNLIMITED
        self.max_model_len = config.max_model_len or UNLIMITED
        self.watermark = int(config.watermark * (config.num_gpu_blocks or 0))
        self.by_priority = config.scheduling_policy == "priority"
        self.waiting: list[PlainRequest] = []
        self.running: list[PlainRequest] = []
        self.aborts_due: dict[PlainRequest, int] = {}

    def accepts(self, request: PlainRequest) -> bool:
        """Return whether the engine accepts a request at all."""
        return True

    def schedule(self, batch: Batch) -> None:
        """Fill in which requests get how many tokens in this step. Raises StalledError."""
        raise NotImplementedError

    @property
    def first_waiting(self) -> PlainRequest:
        """The request that is next to be admitted."""
        return min(self.waiting, key=lambda each: each.urgency) if self.by_priority else self.waiting[0]

    def wait(self, batch: Batch, cause: Cause, needs: int | None = None, free: int | None = None) -> None:
        """Note why the first waiting request is not admitted."""
        batch.waiting_for = WaitingFor(self.first_waiting.id, cause, needs, free)

    def preempt(self, victim: PlainRequest, needy: PlainRequest, batch: Batch) -> None:
        """Stop a running request, as `needy` needs its blocks; it is the first to run again."""
        self.running.remove(victim)
        self.pool.release(victim)
        victim.num_computed = victim.num_in_flight = 0
        victim.was_preempted = True
        self.waiting.insert(0, victim)
        batch.preempted.append(victim.id)
        batch.preempted_for.append(needy.id)
        self.wait(batch, "preemption")

    def plan(self, number: int) -> Batch:
        """Plan step `number`; its tokens count as computed from now on."""
        batch = Batch(number=number)
        self.schedule(batch)
        for request, tokens in batch.scheduled.items():
            batch.entries[request] = ScheduledTokens(request.id, request.num_computed, tokens)
            request.num_computed = min(request.num_computed + tokens, request.num_tokens)
        for request in batch.sampled:
            request.num_in_flight += 1
        if self.config.async_scheduling:
            batch.launched = LaunchedFigures(len(self.running), len(self.waiting), self.num_free)
        return batch

    def take_in(self, batch: Batch) -> StepRecord:
        """Take in the output of a batch, after the aborts that have come before it; return the record."""
        self.apply_aborts()
        discarded = [request.id for request in batch.scheduled if request.is_finished]
        emitted, finished, stopped = [], [], []
        for request in batch.sampled:
            if request not in self.running and request not in self.waiting:
                continue
            self.add_token(request)
            ends_in_core = request.num_emitted == request.num_core_tokens
            if not request.is_finished:
                if request.num_output_tokens:
                    emitted.append(emitted_token(request))
                request.is_finished = request.num_emitted == request.num_output_tokens
                finished += [request] if request.is_finished else []
                stopped += [request] if request.is_finished and not ends_in_core else []
            if ends_in_core:
                self.remove(request)
        for request in stopped:
            if self.config.stop_delay:
                self.aborts_due[request] = self.config.stop_delay
            else:
                self.remove(request)
        ends = [FinishedRequest(request.id, "length", None) for request in batch.refused]
        ends += [
            FinishedRequest(request.id, request.finish_reason, request.stop_reason) for request in finished
        ]
        discards = self.config.async_scheduling or self.config.stop_delay
        return StepRecord(
            step=batch.number,
            prefill=[entry for request, entry in batch.entries.items() if request not in batch.decoded],
            decode=[entry for request, entry in batch.entries.items() if request in batch.decoded],
            emitted=emitted,
            finished=ends,
            preempted=batch.preempted,
            running=len(self.running),
            waiting=len(self.waiting),
            free_blocks=self.num_free,
            cached=batch.cached if self.config.enable_prefix_caching else None,
            rejected=[request.id for request in batch.refused if not request.was_preempted],
            discarded=discarded if discards else None,
            launched=batch.launched,
            preempted_for=batch.preempted_for,
            waiting_for=batch.waiting_for,
            start=None if batch.start is None else batch.start / PER_SECOND,
            duration=None if batch.duration is None else batch.duration / PER_SECOND,
        )

    def add_token(self, request: PlainRequest) -> None:
        """Count a token that has come; an empty response ends with one that does not count."""
        request.num_emitted += 1 if request.num_core_tokens else 0
        if request in self.running:
            request.num_in_flight -= 1
            if self.config.async_scheduling:
                self.pool.insert(request, request.num_computed - request.num_in_flight)

    def apply_aborts(self) -> None:
        """Remove the requests whose aborts come before the next output."""
        for request in list(self.aborts_due):
            self.aborts_due[request] -= 1
            if not self.aborts_due[request]:
                self.remove(request)

    def remove(self, request: PlainRequest) -> None:
        """Remove a request, wherever it is, and release its blocks."""
        self.aborts_due.pop(request, None)
        if request in self.running:
            self.running.remove(request)
        else:
            self.waiting.remove(request)
        self.pool.release(request)

    @property
    def num_free(self) -> int | None:
        """Free blocks, None if they are unlimited."""
        return None if self.pool.is_unlimited else self.pool.num_free


def emitted_token(request: PlainRequest) -> EmittedToken:
    """Return the token that a request emitted last."""
    position = request.num_emitted - 1
    token_id = None if request.output_ids is None else request.output_ids[position]
    text = None if request.text is None else request.text[position : position + 1]
    return EmittedToken(request.id, token_id, text)


class PlainPrefillFirst(PlainScheduler):
    """`simple` and `vllm-v0`: prefill whole prompts while any fits, else let all running requests decode."""

    def schedule(self, batch: Batch) -> None:
        self._prefill(batch)
        if not batch.scheduled:
            self._decode(batch)

    def _prefill(self, batch: Batch) -> None:
        pool, longest = self.pool, min(self.max_tokens, self.max_model_len)
        while self.waiting:
            request = self.waiting[0]
            tokens, needed = request.num_tokens, pool.blocks_for(request.num_tokens)
            if tokens > longest or needed > pool.capacity - self.watermark:
                batch.refused.append(self.waiting.pop(0))
                continue
            budget = self.max_tokens - sum(batch.scheduled.values())
            batch.waiting_for = None
            if len(self.running) >= self.config.max_num_seqs:
                self.wait(batch, "max_num_seqs")
            elif tokens > budget:
                self.wait(batch, "token_budget", tokens, budget)
            elif needed > pool.num_free:
                self.wait(batch, "kv_blocks", needed, pool.num_free)
            elif needed + self.watermark > pool.num_free:
                self.wait(batch, "watermark", needed + self.watermark, pool.num_free)
            if batch.waiting_for:
                break
            self.running.append(self.waiting.pop(0))
            pool.allocate(request, tokens)
            batch.scheduled[request] = tokens
            if self.config.engine == "vllm-v0":
                batch.sampled.append(request)

    def _decode(self, batch: Batch) -> None:
        for request in list(self.running):
            while request in self.running and self.pool.num_free < self._blocks_wanted(request):
                victim = self.running[-1]
                if len(self.running) == 1 and victim.num_computed == victim.num_tokens:
                    raise StalledError(f"{victim.id} would be prefilled and preempted again and again")
                self.preempt(victim, request, batch)
            if request in self.running:
                self.pool.allocate(request, request.num_tokens)
                batch.scheduled[request] = 1
                batch.decoded.append(request)
                batch.sampled.append(request)

    def _blocks_wanted(self, request: PlainRequest) -> int:
        """Return how many blocks must be free: none if the last one is full and has all tokens, else one."""
        last_block_is_full = request.num_computed % self.config.block_size == 0
        has_all_tokens = request.num_computed == request.num_tokens
        return 0 if last_block_is_full and has_all_tokens else 1


class PlainTokenBudget(PlainScheduler):
    """`vllm-v1`: one token budget per step, for running requests first and then for waiting ones."""

    def accepts(self, request: PlainRequest) -> bool:
        most = request.num_prompt_tokens + max(0, request.num_output_tokens - 1)
        allows_output = request.num_prompt_tokens < self.max_model_len
        has_blocks = self.pool.blocks_for(most) <= self.pool.capacity
        fits_in_steps = self.config.enable_chunked_prefill or most <= self.max_tokens
        return allows_output and has_blocks and bool(fits_in_steps)

    def schedule(self, batch: Batch) -> None:
        is_only_request = len(self.running) + len(self.waiting) <= 1
        chunk = UNLIMITED if is_only_request else self.config.long_prefill_token_threshold or UNLIMITED
        self._schedule_running(batch, chunk)
        while self.waiting and not batch.preempted and self._try_admit(batch, chunk):
            pass
        for request, tokens in batch.scheduled.items():
            if request.num_computed + tokens == request.num_tokens:
                batch.sampled.append(request)
                if tokens == 1 and request.num_computed >= request.num_prompt_tokens:
                    batch.decoded.append(request)

    def _budget(self, batch: Batch) -> int:
        return self.max_tokens - sum(batch.scheduled.values())

    def _schedule_running(self, batch: Batch, chunk: int) -> None:
        for request in list(self.running):
            if request not in self.running:
                continue
            is_last_in_flight = request.num_emitted + request.num_in_flight == request.num_core_tokens
            if request.num_in_flight and request.is_limited and is_last_in_flight:
                continue
            tokens = min(request.num_tokens - request.num_computed, chunk, self._budget(batch))
            if not tokens:
                break
            while self.pool.needed(request, request.num_computed + tokens) > self.pool.num_free:
                victim = self.running[-1]
                if self.by_priority:
                    victim = max(self.running, key=lambda each: each.urgency)
                batch.scheduled.pop(victim, None)
                self.preempt(victim, request, batch)
                if victim is request:
                    return
            self.pool.allocate(request, request.num_computed + tokens)
            batch.scheduled[request] = tokens

    def _try_admit(self, batch: Batch, chunk: int) -> bool:
        request = self.first_waiting
        prefix, budget = self.pool.match_prefix(request), self._budget(batch)
        computed = len(prefix) * self.config.block_size
        wanted = min(request.num_tokens - computed, chunk)
        if not budget:
            self.wait(batch, "token_budget")
            return False
        if len(self.running) >= self.config.max_num_seqs:
            self.wait(batch, "max_num_seqs")
            return False
        if wanted > budget and not self.config.enable_chunked_prefill:
            self.wait(batch, "chunked_prefill_off", wanted, budget)
            return False
        tokens = min(wanted, budget)
        must_fit = request.num_tokens if self.config.scheduler_reserve_full_isl else computed + tokens
        must_stay_free = self.watermark if self.running else 0
        needed, free = self.pool.needed(request, must_fit, prefix), self.pool.num_free
        if needed + must_stay_free > free:
            if needed > free:
                self.wait(batch, "kv_blocks", needed, free)
            else:
                self.wait(batch, "watermark", needed + must_stay_free, free)
            return False
        self.pool.allocate(request, computed + tokens, prefix)
        self.waiting.remove(request)
        self.running.append(request)
        request.num_computed = computed
        batch.scheduled[request] = tokens
        if computed:
            batch.cached.append(CachedTokens(request.id, computed))
        return True


class PlainClock(Protocol):
    """Turns a batch, in prompt tokens, decodes and the context tokens of both, into femtoseconds."""

    def __call__(
        self, prefill_tokens: int, num_decodes: int, context_tokens: int, prefill_context_tokens: int
    ) -> int: ...


def plain_steps(
    records: Iterable[TraceRecord], clock: PlainClock | None = None, users: int = 0, **settings: Any
) -> list[StepRecord]:
    """Return all steps of a run, or those before it stalls; see `plain_run`."""
    return plain_run(records, clock, users, **settings).steps()


def plain_run(
    records: Iterable[TraceRecord], clock: PlainClock | None = None, users: int = 0, **settings: Any
) -> PlainRun:
    """Return a run that is still to happen, without the requests that the engine refuses.

    The records have token ids, lengths, or texts, whose characters are the tokens. Under a `clock` they
    arrive at their `arrival_time`; or `users` send one after another, whenever theirs before has finished.
    """
    config = EngineArgs(**settings).create_engine_config()
    scheduler = PlainTokenBudget(config) if config.engine == "vllm-v1" else PlainPrefillFirst(config)
    requests = (PlainRequest(r, order, scheduler.max_model_len) for order, r in enumerate(records))
    return PlainRun(scheduler, list(filter(scheduler.accepts, requests)), clock, users)


class PlainRun:
    """The loop: plans batches, one ahead with asynchronous scheduling, and takes their outputs in.

    `causes` has why requests wait, by the number of the plan, empty plans included.

    Without a clock, time is the number of the step. Under one, batch n is planned at s(n), when the output of
    the batch before it is there, or asynchronously of the one before that, and ends at e(n):

        s(n) = max(s(n - 1), e(n - 1))                         s(n) = max(s(n - 1), e(n - 2)), asynchronously
        e(n) = max(s(n), e(n - 1)) + duration(n)               an empty batch takes no time
    """

    def __init__(
        self, scheduler: PlainScheduler, requests: list[PlainRequest], clock: PlainClock | None, users: int
    ) -> None:
        self.scheduler = scheduler
        self.clock = clock
        self.idle_users = users
        self.is_closed = users > 0
        self.to_arrive = requests if self.is_closed else sorted(requests, key=self.arrival_of)
        self.in_flight: list[Batch] = []
        self.is_async = bool(scheduler.config.async_scheduling)
        self.number = 0
        self.causes: dict[int, Cause] = {}
        self.now = 0
        self.ends = [0, 0]

    def arrival_of(self, request: PlainRequest) -> int:
        """Return when a request arrives: its step or, under a clock, femtoseconds."""
        return request.arrival_step if self.clock is None else request.arrival

    def steps(self) -> list[StepRecord]:
        """Run to the end, or until it stalls."""
        steps: list[StepRecord] = []
        with suppress(StalledError):
            while self.to_arrive or not self.is_idle():
                self.admit()
                self.in_flight.append(self.plan())
                if len(self.in_flight) > self.is_async or not self.in_flight[0].scheduled:
                    batch = self.in_flight.pop(0)
                    record = self.scheduler.take_in(batch)
                    self.idle_users += len(record.finished)
                    if batch.scheduled or batch.preempted or batch.refused:
                        steps.append(record)
        return steps

    def is_idle(self) -> bool:
        """Return whether no request is there and no output is due; that of an empty batch changes nothing."""
        is_output_due = any(batch.entries or batch.preempted for batch in self.in_flight)
        return not (self.scheduler.waiting or self.scheduler.running or is_output_due)

    def admit(self) -> None:
        """Let requests arrive; where there is nothing to do before, wait for the next one."""
        has_clock = self.clock is not None
        if self.is_idle():
            self.in_flight.clear()
        if self.to_arrive and self.is_idle() and not self.is_closed:
            arrival = self.arrival_of(self.to_arrive[0])
            if has_clock:
                self.now = max(self.now, arrival)
            else:
                self.number = max(self.number, arrival)
        now = self.now if has_clock else self.number
        while self.to_arrive and (
            self.idle_users > 0 if self.is_closed else self.arrival_of(self.to_arrive[0]) <= now
        ):
            self.idle_users -= 1
            self.scheduler.waiting.append(self.to_arrive.pop(0))

    def plan(self) -> Batch:
        """Plan the next batch and, under a clock, find out when it runs and when the next one is planned."""
        batch = self.scheduler.plan(self.number)
        if batch.waiting_for:
            self.causes[self.number] = batch.waiting_for.cause
        self.number += 1
        if self.clock is not None:
            decodes = [batch.entries[request] for request in batch.decoded]
            others = [entry for request, entry in batch.entries.items() if request not in batch.decoded]
            duration = self.clock(
                sum(entry.tokens for entry in others),
                len(decodes),
                sum(entry.computed for entry in decodes),
                sum(sum(range(entry.computed, entry.computed + entry.tokens)) for entry in others),
            )
            batch.start = max(self.now, self.ends[-1])
            batch.duration = duration if batch.entries else 0
            self.ends = [self.ends[-1], batch.start + batch.duration]
            self.now = max(self.now, self.ends[-2 if self.is_async else -1])
        return batch
