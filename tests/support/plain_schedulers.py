"""The schedulers as plain as can be, to hold the calendars, strides and counted blocks of the engine against.

Every step touches every request, every counter is moved by hand, and a KV block is a thing that somebody
holds or that stands in a list. Nothing here is fast, and nothing is shared with the engine but its settings
and what its steps are told in.
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

ENDLESS = sys.maxsize


class Block:
    """A KV block: how many requests hold it, and what it and all before it hold, once it can be found."""

    def __init__(self) -> None:
        self.holders = 0
        self.content: Hashable = None


class PlainRequest:
    """A request and its counters; of a text the characters are the tokens."""

    def __init__(self, record: TraceRecord, order: int, max_model_len: int) -> None:
        self.id = record.id
        self.arrival_step = record.arrival_step
        self.urgency = (record.priority or 0, order)
        self.hash_ids = record.hash_ids
        self.response = record.response
        self.prompt_ids = ids_of(record.prompt, record.prompt_token_ids)
        self.output_ids = ids_of(record.response, record.response_token_ids)
        self.num_prompt_tokens = len(self.prompt_ids) if self.prompt_ids else record.input_length or 0
        recorded = record.output_length or 0 if self.output_ids is None else len(self.output_ids)
        room = max(1, max_model_len - self.num_prompt_tokens)
        self.num_output_tokens = min(recorded, record.max_tokens or ENDLESS, room)
        self.finish_reason = "stop" if self.num_output_tokens == recorded else "length"
        self.num_emitted = 0
        self.num_computed = 0
        self.blocks: list[Block] = []

    @property
    def num_tokens(self) -> int:
        """Tokens of the prompt, and of the output so far."""
        return self.num_prompt_tokens + self.num_emitted

    def content(self, end: int) -> Hashable:
        """What the first `end` tokens are, equal only where they are equal."""
        in_prompt = end <= self.num_prompt_tokens
        if in_prompt and self.hash_ids is not None:
            return ("hash_ids", end, *self.hash_ids[: -(-end // 512)])
        if self.prompt_ids is None or self.output_ids is None:
            return ("of", self.id, end)
        return (*self.prompt_ids, *self.output_ids)[:end]


def ids_of(text: str | None, ids: Sequence[int] | None) -> Sequence[int] | None:
    """The tokens of a text, when they are known."""
    return ids if text is None else [ord(character) for character in text]


class BlockPool:
    """All KV blocks. Those that nobody holds are `free`, the first to be handed out first."""

    def __init__(self, config: EngineConfig, reserved: int) -> None:
        self.block_size = config.block_size
        self.is_endless = config.num_gpu_blocks is None
        self.keeps_content = bool(config.enable_prefix_caching)
        self.free = [Block() for _ in range((config.num_gpu_blocks or 0) - reserved)]
        self.capacity = ENDLESS if self.is_endless else len(self.free)
        self.found: dict[Hashable, list[Block]] = {}

    @property
    def num_free(self) -> int:
        return ENDLESS if self.is_endless else len(self.free)

    def blocks_for(self, num_tokens: int) -> int:
        """Blocks that `num_tokens` tokens fill or begin."""
        return -(-num_tokens // self.block_size)

    def find_prefix(self, request: PlainRequest) -> list[Block]:
        """The longest cached prefix; its blocks were the first to have what they hold. One token is left."""
        prefix: list[Block] = []
        for end in range(self.block_size, request.num_tokens, self.block_size):
            if not (self.keeps_content and (blocks := self.found.get(request.content(end)))):
                break
            prefix.append(blocks[0])
        return prefix

    def needed(self, request: PlainRequest, num_tokens: int, prefix: Sequence[Block] = ()) -> int:
        """Free blocks that it takes to have room for `num_tokens` tokens, those of `prefix` included."""
        new = max(0, self.blocks_for(num_tokens) - len(request.blocks) - len(prefix))
        return new + sum(block.holders == 0 for block in prefix)

    def allocate(self, request: PlainRequest, num_tokens: int, prefix: Sequence[Block] = ()) -> None:
        """Take hold of `prefix` and of new blocks; each that becomes full can be found from now on."""
        for block in prefix:
            if block in self.free:
                self.free.remove(block)
            block.holders += 1
            request.blocks.append(block)
        while len(request.blocks) < self.blocks_for(num_tokens):
            request.blocks.append(self._new_block())
        for number, block in enumerate(request.blocks, 1):
            end = number * self.block_size
            if self.keeps_content and block.content is None and end <= num_tokens:
                block.content = request.content(end)
                self.found.setdefault(block.content, []).append(block)

    def release(self, request: PlainRequest) -> None:
        """Let go of all blocks: the last one first, to the front of the free ones where it was not full."""
        for block in request.blocks:
            block.holders -= 1
        let_go = [block for block in reversed(request.blocks) if block.holders == 0]
        request.blocks = []
        self.free[:0] = [block for block in let_go if block.content is None]
        self.free += [block for block in let_go if block.content is not None]

    def _new_block(self) -> Block:
        block = Block() if self.is_endless else self.free.pop(0)
        block.holders = 1
        if block.content is not None:
            self.found[block.content].remove(block)
            block.content = None
        return block


@dataclass
class Batch:
    """What a step does; `scheduled` says how many tokens of whom, in order."""

    scheduled: dict[PlainRequest, int] = field(default_factory=dict)
    decoded: list[PlainRequest] = field(default_factory=list)
    sampled: list[PlainRequest] = field(default_factory=list)
    cached: list[CachedTokens] = field(default_factory=list)
    preempted: list[str] = field(default_factory=list)
    refused: list[PlainRequest] = field(default_factory=list)


class PlainScheduler:
    """Two lists of requests and the blocks."""

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        self.pool = BlockPool(config, reserved=1 if config.engine == "vllm-v1" else 0)
        self.max_tokens = config.max_num_batched_tokens or ENDLESS
        self.max_model_len = config.max_model_len or ENDLESS
        self.watermark = int(config.watermark * (config.num_gpu_blocks or 0))
        self.by_priority = config.scheduling_policy == "priority"
        self.waiting: list[PlainRequest] = []
        self.running: list[PlainRequest] = []

    def accepts(self, request: PlainRequest) -> bool:
        """Whether a request passes the door."""
        return True

    def schedule(self, batch: Batch) -> None:
        """Say who gets how many tokens in this step. Raises StalledError."""
        raise NotImplementedError

    def preempt(self, victim: PlainRequest, batch: Batch) -> None:
        """Take a running request's place and blocks; it is the first to come back."""
        self.running.remove(victim)
        self.pool.release(victim)
        victim.num_computed = 0
        self.waiting.insert(0, victim)
        batch.preempted.append(victim.id)

    def step(self, number: int) -> StepRecord:
        """One step, from the schedule to its record."""
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
            free_blocks=None if self.pool.is_endless else self.pool.num_free,
            cached=batch.cached if self.config.enable_prefix_caching else None,
        )


def emit(request: PlainRequest) -> EmittedToken:
    """The next token of a request."""
    at = request.num_emitted
    request.num_emitted += 1
    token_id = None if request.output_ids is None else request.output_ids[at]
    return EmittedToken(request.id, token_id, None if request.response is None else request.response[at])


class PlainPrefillFirst(PlainScheduler):
    """`simple` and `vllm-v0`: whole prompts while any fits, else a token for all that run."""

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
            has_seat = len(self.running) < self.config.max_num_seqs
            has_budget = tokens <= self.max_tokens - sum(batch.scheduled.values())
            if not has_seat or not has_budget or needed > pool.num_free - self.watermark:
                break
            self.running.append(self.waiting.pop(0))
            pool.allocate(request, tokens)
            batch.scheduled[request] = tokens
            if self.config.engine == "vllm-v0":
                batch.sampled.append(request)

    def _decode(self, batch: Batch) -> None:
        for request in list(self.running):
            while request in self.running and self.pool.num_free < self._wants_to_see(request):
                victim = self.running[-1]
                if len(self.running) == 1 and victim.num_computed == victim.num_tokens:
                    raise StalledError(f"{victim.id} would be prefilled and preempted for ever")
                self.preempt(victim, batch)
            if request in self.running:
                self.pool.allocate(request, request.num_tokens)
                batch.scheduled[request] = 1
                batch.decoded.append(request)
                batch.sampled.append(request)

    def _wants_to_see(self, request: PlainRequest) -> int:
        """Free blocks before a decode: one, but for a full last block that nothing is to be put after."""
        last_block_is_full = request.num_computed % self.config.block_size == 0
        nothing_to_append = request.num_computed == request.num_tokens
        return 0 if last_block_is_full and nothing_to_append else 1


class PlainTokenBudget(PlainScheduler):
    """`vllm-v1`: one token budget a step, for running requests first and then for waiting ones."""

    def accepts(self, request: PlainRequest) -> bool:
        most = request.num_prompt_tokens + max(0, request.num_output_tokens - 1)
        has_room = request.num_prompt_tokens < self.max_model_len
        has_blocks = self.pool.blocks_for(most) <= self.pool.capacity
        return has_room and has_blocks and bool(self.config.enable_chunked_prefill or most <= self.max_tokens)

    def schedule(self, batch: Batch) -> None:
        alone = len(self.running) + len(self.waiting) <= 1
        chunk = ENDLESS if alone else self.config.long_prefill_token_threshold or ENDLESS
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
        prefix, budget = self.pool.find_prefix(request), self._budget(batch)
        computed = len(prefix) * self.config.block_size
        wanted = min(request.num_tokens - computed, chunk)
        if not budget or len(self.running) >= self.config.max_num_seqs:
            return False
        if wanted > budget and not self.config.enable_chunked_prefill:
            return False
        tokens = min(wanted, budget)
        must_fit = request.num_tokens if self.config.scheduler_reserve_full_isl else computed + tokens
        left_free = self.watermark if self.running else 0
        if self.pool.needed(request, must_fit, prefix) + left_free > self.pool.num_free:
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
    """All steps of a run, up to where its schedule stalls; requests that do not pass the door are left out.

    The records have token ids, lengths, or texts, whose characters are tokens; none has stop strings.
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
