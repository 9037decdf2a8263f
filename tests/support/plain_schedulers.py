"""The schedulers in their simplest form, the model against which tests compare the engine.

Every step visits every request, every counter is updated explicitly, and a KV block is an object. Nothing
here is fast, and the engine shares nothing with it but the settings and the types of step records.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tracesim import (
    CachedTokens,
    EmittedToken,
    EngineArgs,
    EngineConfig,
    FinishedRequest,
    ScheduledTokens,
    StalledError,
    StepRecord,
    TraceRecord,
)

UNLIMITED = sys.maxsize


class Block:
    """A KV block: how many requests hold it and, once it is inserted, the contents up to its end."""

    def __init__(self) -> None:
        self.ref_count = 0
        self.content: Hashable = None


class PlainRequest:
    """A request and its counters; the tokens of a text are its characters."""

    def __init__(self, record: TraceRecord, order: int, max_model_len: int) -> None:
        self.id = record.id
        self.arrival_step = record.arrival_step
        self.urgency = (record.priority or 0, order)
        self.hash_ids = record.hash_ids
        self.hash_block_size = record.hash_block_size or 512
        self.response = record.response
        self.prompt_ids = ids_of(record.prompt, record.prompt_token_ids)
        self.output_ids = ids_of(record.response, record.response_token_ids)
        self.num_prompt_tokens = len(self.prompt_ids) if self.prompt_ids else record.input_length or 0
        recorded = record.output_length or 0 if self.output_ids is None else len(self.output_ids)
        limit = max(1, max_model_len - self.num_prompt_tokens)
        self.num_output_tokens = min(recorded, record.max_tokens or UNLIMITED, limit)
        self.finish_reason = "stop" if self.num_output_tokens == recorded else "length"
        self.num_emitted = 0
        self.num_computed = 0
        self.was_preempted = False
        self.blocks: list[Block] = []

    @property
    def num_tokens(self) -> int:
        """Tokens of the prompt and of the output so far."""
        return self.num_prompt_tokens + self.num_emitted

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
        """Acquire `prefix` and allocate new blocks; insert each block that is full now."""
        for block in prefix:
            if block in self.free:
                self.free.remove(block)
            block.ref_count += 1
            request.blocks.append(block)
        while len(request.blocks) < self.blocks_for(num_tokens):
            request.blocks.append(self._new_block())
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

    def accepts(self, request: PlainRequest) -> bool:
        """Return whether the engine accepts a request at all."""
        return True

    def schedule(self, batch: Batch) -> None:
        """Fill in which requests get how many tokens in this step. Raises StalledError."""
        raise NotImplementedError

    def preempt(self, victim: PlainRequest, batch: Batch) -> None:
        """Stop a running request and release its blocks; it is the first to run again."""
        self.running.remove(victim)
        self.pool.release(victim)
        victim.num_computed = 0
        victim.was_preempted = True
        self.waiting.insert(0, victim)
        batch.preempted.append(victim.id)

    def step(self, number: int) -> StepRecord:
        """Run one step and return its record."""
        batch = Batch()
        self.schedule(batch)
        entries = {
            request: ScheduledTokens(request.id, request.num_computed, tokens)
            for request, tokens in batch.scheduled.items()
        }
        for request, tokens in batch.scheduled.items():
            request.num_computed = min(request.num_computed + tokens, request.num_tokens)
        emitted = [emit(r) for r in batch.sampled if r.num_emitted < r.num_output_tokens]
        finished = [r for r in batch.sampled if r.num_emitted == r.num_output_tokens]
        for request in finished:
            self.running.remove(request)
            self.pool.release(request)
        ends = [FinishedRequest(request.id, "length", None) for request in batch.refused]
        ends += [FinishedRequest(request.id, request.finish_reason, None) for request in finished]
        return StepRecord(
            step=number,
            prefill=[entry for request, entry in entries.items() if request not in batch.decoded],
            decode=[entry for request, entry in entries.items() if request in batch.decoded],
            emitted=emitted,
            finished=ends,
            preempted=batch.preempted,
            running=len(self.running),
            waiting=len(self.waiting),
            free_blocks=None if self.pool.is_unlimited else self.pool.num_free,
            cached=batch.cached if self.config.enable_prefix_caching else None,
            rejected=[request.id for request in batch.refused if not request.was_preempted],
        )


def emit(request: PlainRequest) -> EmittedToken:
    """Emit the next token of a request and return it."""
    position = request.num_emitted
    request.num_emitted += 1
    token_id = None if request.output_ids is None else request.output_ids[position]
    text = None if request.response is None else request.response[position]
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
            may_run = len(self.running) < self.config.max_num_seqs
            has_budget = tokens <= self.max_tokens - sum(batch.scheduled.values())
            if not may_run or not has_budget or needed > pool.num_free - self.watermark:
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
                self.preempt(victim, batch)
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
                if tokens == 1 and request.num_emitted:
                    batch.decoded.append(request)

    def _budget(self, batch: Batch) -> int:
        return self.max_tokens - sum(batch.scheduled.values())

    def _schedule_running(self, batch: Batch, chunk: int) -> None:
        for request in list(self.running):
            if request not in self.running:
                continue
            tokens = min(request.num_tokens - request.num_computed, chunk, self._budget(batch))
            if not tokens:
                break
            while self.pool.needed(request, request.num_computed + tokens) > self.pool.num_free:
                victim = self.running[-1]
                if self.by_priority:
                    victim = max(self.running, key=lambda each: each.urgency)
                batch.scheduled.pop(victim, None)
                self.preempt(victim, batch)
                if victim is request:
                    return
            self.pool.allocate(request, request.num_computed + tokens)
            batch.scheduled[request] = tokens

    def _try_admit(self, batch: Batch, chunk: int) -> bool:
        request = min(self.waiting, key=lambda each: each.urgency) if self.by_priority else self.waiting[0]
        prefix, budget = self.pool.match_prefix(request), self._budget(batch)
        computed = len(prefix) * self.config.block_size
        wanted = min(request.num_tokens - computed, chunk)
        if not budget or len(self.running) >= self.config.max_num_seqs:
            return False
        if wanted > budget and not self.config.enable_chunked_prefill:
            return False
        tokens = min(wanted, budget)
        must_fit = request.num_tokens if self.config.scheduler_reserve_full_isl else computed + tokens
        must_stay_free = self.watermark if self.running else 0
        if self.pool.needed(request, must_fit, prefix) + must_stay_free > self.pool.num_free:
            return False
        self.pool.allocate(request, computed + tokens, prefix)
        self.waiting.remove(request)
        self.running.append(request)
        request.num_computed = computed
        batch.scheduled[request] = tokens
        if computed:
            batch.cached.append(CachedTokens(request.id, computed))
        return True


def plain_steps(records: Iterable[TraceRecord], **settings: Any) -> list[StepRecord]:
    """Return all steps of a run, or those before it stalls, without the requests that the engine refuses.

    The records have token ids, lengths, or texts, whose characters are the tokens; none has stop strings.
    """
    config = EngineArgs(**settings).create_engine_config()
    scheduler = PlainTokenBudget(config) if config.engine == "vllm-v1" else PlainPrefillFirst(config)
    requests = (PlainRequest(r, order, scheduler.max_model_len) for order, r in enumerate(records))
    to_arrive = sorted(filter(scheduler.accepts, requests), key=lambda request: request.arrival_step)
    steps: list[StepRecord] = []
    number = 0
    with suppress(StalledError):
        while to_arrive or scheduler.waiting or scheduler.running:
            if not scheduler.waiting and not scheduler.running:
                number = max(number, to_arrive[0].arrival_step)
            while to_arrive and to_arrive[0].arrival_step <= number:
                scheduler.waiting.append(to_arrive.pop(0))
            steps.append(scheduler.step(number))
            number += 1
    return steps
