"""Prefix caching as vLLM's V1 does it: what blocks hold is found, and shared by later requests."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from tracesim.kv_cache.block_accounting import NO_PREFIX, KVCache, Prefix
from tracesim.kv_cache.radix_tree import Node, Path, RadixTree
from tracesim.requests.decode_calendar import DecodeCalendar
from tracesim.requests.request import RequestState


class _Run:
    """Blocks `start` to `end`, in one node, that are always held, and let go, together.

    `release` is where it waits to be handed out; None while it is held.
    """

    __slots__ = ("end", "holders", "node", "release", "start")

    def __init__(self, node: Node, start: int, end: int, holders: dict[_Holding, None]) -> None:
        self.node = node
        self.start = start
        self.end = end
        self.holders = holders
        self.release: list[_Run] | None = None


class _Holding:
    """What a request holds that can be found: runs, with `num_found` blocks in all; and its way."""

    __slots__ = ("num_found", "path", "runs")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.runs: list[_Run] = []
        self.num_found = 0


class _Part(NamedTuple):
    """Blocks `start` to `end` of a node, all in one run."""

    node: Node
    start: int
    end: int


class PrefixCache(KVCache):
    """KV blocks that keep what they hold after they are freed, until they are handed out again.

    A block can be found from when it is full. Blocks that can be found and that nobody holds wait in a queue
    to be handed out, after all other free blocks, the least recently used first and of one request's the
    last first. Of equal blocks the one that could be found first is found. These are the rules of `BlockPool`
    and `FullAttentionManager` in vLLM 0.32. Nothing depends on which block is which, so blocks are counted as
    in `KVCache`, and those that move together are one run. The queue has a list for each request that let go
    of runs, in their order, from whose end they are handed out.
    """

    def __init__(self, num_blocks: int | None, block_size: int, *, reserved: int = 0) -> None:
        super().__init__(num_blocks, block_size, reserved=reserved)
        self._tree = RadixTree(block_size, self._split_node)
        self._holdings: dict[RequestState, _Holding] = {}
        self._runs: dict[Node, list[_Run]] = {}
        self._queue: deque[list[_Run]] = deque()
        self._num_queued = 0
        self._knows_outputs = False

    def find_prefix(self, state: RequestState) -> Prefix:
        """The longest cached prefix; at least the last token is always left to compute."""
        usable = (state.num_tokens - 1) // self.block_size
        path = self._holding(state).path
        parts: list[_Part] = []
        num_blocks = num_held = 0
        while num_blocks < usable:
            node, end = path.place(num_blocks)
            run, found_end = self._first_run(node, num_blocks)
            if run is None:
                break
            end = min(end, found_end, usable)
            parts.append(_Part(node, num_blocks, end))
            num_held += end - num_blocks if run.holders else 0
            num_blocks = end
        return Prefix(num_blocks, num_held, parts) if parts else NO_PREFIX

    def allocate(self, state: RequestState, num_tokens: int, prefix: Prefix = NO_PREFIX) -> None:
        """Take hold of `prefix` and of new blocks; from now each block that is full can be found."""
        super().allocate(state, num_tokens, prefix)
        holding = self._holding(state)
        for part in prefix.parts:
            self._acquire(holding, part)
        self._evict()
        self._insert(state, num_tokens)

    def try_allocate(self, state: RequestState, num_tokens: int) -> bool:
        """Give a running request room, if there is; from now each block that is full can be found."""
        if not super().try_allocate(state, num_tokens):
            return False
        self._evict()
        self._insert(state, num_tokens)
        return True

    def allocate_decodes(self, calendar: DecodeCalendar, num_served: int = 0) -> None:
        """Give all that decode room. Outputs that equal nothing else are published when they are let go."""
        super().allocate_decodes(calendar, num_served)
        self._evict()
        if self._knows_outputs:
            for state in calendar.beginning(1):
                self._insert(state, state.current_num_tokens)

    def allocate_ticks(
        self,
        calendar: DecodeCalendar,
        limit: int,
        prefilling: RequestState | None = None,
        chunk: int = 0,
        spare: int = 0,
    ) -> int:
        """Give room for several ticks; where outputs can be found, those in which nobody fills a block."""
        if self._knows_outputs:
            limit = calendar.ticks_to_beginning(limit + 1) - 1
        if limit <= 0:
            return 0
        ticks = super().allocate_ticks(calendar, limit, prefilling, chunk, spare)
        self._evict()
        if prefilling is not None and ticks:
            self._insert(prefilling, prefilling.num_computed_tokens + ticks * chunk)
        return ticks

    def take_rest(self) -> int:
        """Hand out every free block, so that nothing of the queue is left; how many they were."""
        taken = super().take_rest()
        self._evict()
        return taken

    def release(self, state: RequestState, num_scheduled: int = 0) -> None:
        """Let go of all blocks of a request; what they hold can still be found."""
        self._insert(state, state.num_computed_tokens + num_scheduled)
        super().release(state, num_scheduled)
        holding = self._holding(state)
        release: list[_Run] = []
        for run in holding.runs:
            del run.holders[holding]
            size = run.end - run.start
            if run.holders:
                self.num_free_blocks -= size
            else:
                release.append(run)
                run.release = release
                self._num_queued += size
        if release:
            self._queue.append(release)
        holding.runs = []
        holding.num_found = 0

    def finish(self, state: RequestState, num_scheduled: int = 0) -> None:
        """The same, and drop what was remembered of the request."""
        self.release(state, num_scheduled)
        del self._holdings[state]

    def num_blocks_held(self, states: Sequence[RequestState]) -> int:
        """How many blocks these requests hold in all; those that they share count once."""
        shared = {run for state in states for run in self._holding(state).runs}
        own = sum(self.blocks_for(s.current_num_computed_tokens) - self._holding(s).num_found for s in states)
        return own + sum(run.end - run.start for run in shared)

    def _holding(self, state: RequestState) -> _Holding:
        holding = self._holdings.get(state)
        if holding is None:
            holding = self._holdings[state] = _Holding(self._tree.path_of(state.request))
            self._knows_outputs = self._knows_outputs or state.request.output_token_ids is not None
        return holding

    def _first_run(self, node: Node, block: int) -> tuple[_Run | None, int]:
        """The run in which a block is found, and up to where the blocks after it are found there too."""
        end = None
        for run in self._runs.get(node, ()):
            if run.start <= block < run.end:
                return run, run.end if end is None else min(end, run.end)
            if run.start > block:
                end = run.start if end is None else min(end, run.start)
        return None, 0

    def _acquire(self, holding: _Holding, part: _Part) -> None:
        run, _ = self._first_run(part.node, part.start)
        assert run is not None, f"{part} was found and is gone"
        if run.start < part.start:
            run = self._split(run, part.start)
        if part.end < run.end:
            self._split(run, part.end)
        if run.release is not None:
            run.release.remove(run)
            run.release = None
            self._num_queued -= run.end - run.start
        run.holders[holding] = None
        holding.runs.append(run)
        holding.num_found += run.end - run.start

    def _split(self, run: _Run, at: int) -> _Run:
        """Cut a run in two; the second half is the new one, and the first to be handed out."""
        rest = _Run(run.node, at, run.end, dict(run.holders))
        run.end = at
        rest.release = run.release
        lists = [self._runs[run.node], *(holder.runs for holder in run.holders)]
        for runs in lists if run.release is None else (*lists, run.release):
            runs.insert(runs.index(run) + 1, rest)
        return rest

    def _split_node(self, first: Node, rest: Node) -> None:
        """Part the runs of a node that was cut in two where `rest` now starts."""
        for run in list(self._runs.get(rest, ())):
            if run.start < rest.start < run.end:
                self._split(run, rest.start)
        runs = self._runs.pop(rest, ())
        for node in (first, rest):
            its = [run for run in runs if (run.start < rest.start) is (node is first)]
            for run in its:
                run.node = node
            if its:
                self._runs[node] = its

    def _evict(self) -> None:
        """Forget as much of the queue as is no longer free: what was last let go, last."""
        excess = self._num_queued - self.num_free_blocks
        while excess > 0:
            release = self._queue[0]
            if not release:
                self._queue.popleft()
                continue
            run = release[-1]
            size = min(excess, run.end - run.start)
            run.end -= size
            excess -= size
            self._num_queued -= size
            if run.start == run.end:
                release.pop()
                self._remove(run)

    def _insert(self, state: RequestState, num_tokens: int) -> None:
        """Let the blocks that a request's first `num_tokens` tokens fill be found."""
        num_full = num_tokens // self.block_size
        holding = self._holding(state)
        found = holding.num_found
        while found < num_full:
            node, end = holding.path.place(found)
            end = min(end, num_full)
            runs = self._runs.setdefault(node, [])
            if _may_grow(runs, holding, found):
                runs[0].end = end
            else:
                run = _Run(node, found, end, {holding: None})
                holding.runs.append(run)
                runs.append(run)
            found = holding.num_found = end

    def _remove(self, run: _Run) -> None:
        runs = self._runs[run.node]
        runs.remove(run)
        if not runs:
            del self._runs[run.node]


def _may_grow(runs: Sequence[_Run], holding: _Holding, block: int) -> bool:
    """Whether the only run of a node ends before `block` and is the holder's prefilling."""
    run = runs[0] if len(runs) == 1 else None
    return run is not None and run.end == block and len(run.holders) == 1 and holding in run.holders
