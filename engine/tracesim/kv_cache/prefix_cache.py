"""Prefix caching as vLLM's V1 does it: blocks keep their contents, and later requests share them."""

from __future__ import annotations

from bisect import insort
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass

from tracesim.kv_cache.block_accounting import NO_PREFIX, KVCache, Prefix
from tracesim.kv_cache.radix_tree import Node, Path, RadixTree
from tracesim.requests.decode_calendar import DecodeCalendar
from tracesim.requests.request import Request, RequestState


class _Run:
    """Cached blocks `start` to `end` of one node, which the same `ref_count` requests hold.

    `released` numbers the release that brought the count down to 0; None while it is not 0. A run can be cut:
    it keeps its beginning, and `rest` is what was cut off. So blocks that once were in a run are now in it,
    in its `rest`, in the `rest` of that, and so on.
    """

    __slots__ = ("end", "node", "ref_count", "released", "rest", "start")

    def __init__(self, node: Node, start: int, end: int) -> None:
        self.node = node
        self.start = start
        self.end = end
        self.ref_count = 1
        self.released: int | None = None
        self.rest: _Run | None = None


@dataclass(slots=True)
class _Part:
    """Blocks `start` to `end` of a cached prefix, all in one run."""

    run: _Run
    start: int
    end: int


class _RequestBlocks:
    """The cached blocks that a request holds: the first `num_cached` of its path.

    `runs` are the runs in which they were when the request acquired or inserted them, one after another.
    """

    __slots__ = ("num_cached", "path", "runs")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.runs: list[_Run] = []
        self.num_cached = 0

    def current_runs(self) -> list[_Run]:
        """Return the runs in which the blocks are now, the last one first; others may have cut `runs`."""
        current: list[_Run] = []
        end = self.num_cached
        for run_then in reversed(self.runs):
            run: _Run | None = run_then
            place = len(current)
            while run is not None and run.start < end:
                current.insert(place, run)
                run = run.rest
            end = run_then.start
        return current


class PrefixCache(KVCache):
    """KV blocks that keep their contents after they are freed, until they are allocated again.

    The rules are those of `BlockPool` and `FullAttentionManager` in vLLM 0.32. A full block is inserted,
    which means that requests can find it. Of several blocks with the same contents the one inserted first is
    found. Cached blocks that are free are evicted only when no other free block is left: first those of
    the earliest release, and of one release the last blocks of the request first.

    Which of the blocks it is does not matter, so they are counted as in `KVCache`, and cached blocks that
    are acquired and released together are one run. These hold after every method:

    - The runs of a node are in the order of insertion, where they overlap.
    - A run's `ref_count` is the number of requests that hold it: those whose `current_runs` it is among.
    - `_evictable` is a sorted queue with every run whose `ref_count` is 0, as (`released`, -`start`, run). An
      entry with another `released` than the run now has is out of date, and so is one whose run is empty.
    - `_num_evictable`, the number of blocks in these runs, is at most `num_free_blocks`.
    """

    def __init__(self, num_blocks: int | None, block_size: int, *, reserved: int = 0) -> None:
        super().__init__(num_blocks, block_size, reserved=reserved)
        self._tree = RadixTree(block_size, self._split_node)
        self._request_blocks: dict[RequestState, _RequestBlocks] = {}
        self._runs: dict[Node, list[_Run]] = defaultdict(list)
        self._evictable: deque[tuple[int, int, _Run]] = deque()
        self._num_evictable = 0
        self._num_releases = 0
        self._outputs_are_known = False

    def match_prefix(self, state: RequestState) -> Prefix:
        """Return the longest cached prefix; it leaves at least the last token to be computed."""
        return self._match(self._blocks_of(state).path, state.num_tokens)

    def num_cached_tokens(self, request: Request) -> int:
        """Return how many tokens of a prompt are cached; at least its last token is not counted."""
        return self._match(self._tree.find(request), request.num_prompt_tokens).num_blocks * self.block_size

    def _match(self, path: Path, num_tokens: int) -> Prefix:
        """Return the cached beginning of a path; it leaves at least the last of `num_tokens` tokens."""
        usable = (num_tokens - 1) // self.block_size
        parts: list[_Part] = []
        num_blocks = num_in_use = 0
        while num_blocks < usable:
            node, end = path.node_at(num_blocks)
            end = min(end, usable)
            for run in self._runs.get(node, ()):
                if run.start <= num_blocks < run.end:
                    end = min(end, run.end)
                    break
                if run.start > num_blocks:
                    end = min(end, run.start)  # from there on this run is found, as it was inserted before
            else:
                break
            parts.append(_Part(run, num_blocks, end))
            num_in_use += end - num_blocks if run.ref_count else 0
            num_blocks = end
        return Prefix(num_blocks, num_in_use, parts) if parts else NO_PREFIX

    def allocate(self, state: RequestState, num_tokens: int, prefix: Prefix = NO_PREFIX) -> None:
        """Acquire `prefix` and allocate new blocks; those that `num_tokens` tokens fill are inserted."""
        super().allocate(state, num_tokens, prefix)
        blocks = self._blocks_of(state)
        for part in prefix.parts:
            self._acquire(blocks, part)
        self._evict()
        self._insert(state, num_tokens)

    def try_allocate(self, state: RequestState, num_tokens: int) -> bool:
        """Allocate what a running request needs, if it is free; the blocks that get full are inserted."""
        if not super().try_allocate(state, num_tokens):
            return False
        self._evict()
        self._insert(state, self._num_insertable(state, num_tokens))
        return True

    def allocate_decodes(self, calendar: DecodeCalendar, num_served: int = 0) -> None:
        """Allocate blocks for all decodes. Output blocks that equal no others are inserted when released."""
        super().allocate_decodes(calendar, num_served)
        self._evict()
        self._insert_outputs(calendar)

    def allocate_ticks(
        self,
        calendar: DecodeCalendar,
        limit: int,
        prefilling: RequestState | None = None,
        chunk: int = 0,
        spare: int = 0,
    ) -> int:
        """Allocate the blocks of the next ticks; where outputs are known, of those that fill no block."""
        if self._outputs_are_known:
            limit = self._ticks_without_insertion(calendar, limit)
        if limit <= 0:
            return 0
        ticks = super().allocate_ticks(calendar, limit, prefilling, chunk, spare)
        self._evict()
        if prefilling is not None and ticks:
            self._insert(prefilling, prefilling.num_computed_tokens + ticks * chunk)
        return ticks

    def allocate_all_free(self) -> int:
        """Allocate every free block, cached or not; return how many they were."""
        allocated = super().allocate_all_free()
        self._evict()
        return allocated

    def release(self, state: RequestState, num_scheduled: int = 0, num_known: int | None = None) -> None:
        """Release a request's blocks: those that no other one holds are free, and full ones stay cached."""
        num_tokens = state.num_computed_tokens + num_scheduled
        self._insert(state, num_tokens if num_known is None else min(num_tokens, num_known))
        blocks = self._blocks_of(state)
        self._num_releases += 1
        num_still_in_use = 0
        for run in blocks.current_runs():
            run.ref_count -= 1
            if run.ref_count:
                num_still_in_use += run.end - run.start
            else:
                run.released = self._num_releases
                self._evictable.append((run.released, -run.start, run))
                self._num_evictable += run.end - run.start
        blocks.runs = []
        blocks.num_cached = 0
        self._free(self.blocks_for(num_tokens) - num_still_in_use)

    def finish(self, state: RequestState, num_scheduled: int = 0, num_known: int | None = None) -> None:
        """Release the blocks of a request that will not run again; see `release`."""
        self.release(state, num_scheduled, num_known)
        del self._request_blocks[state]

    def num_blocks_in_use(self, states: Sequence[RequestState]) -> int:
        """Return how many blocks these requests hold; one that several of them share counts once."""
        all_blocks = [self._blocks_of(state) for state in states]
        cached = {run for blocks in all_blocks for run in blocks.current_runs()}
        num_cached = sum(run.end - run.start for run in cached)
        return num_cached + super().num_blocks_in_use(states) - sum(each.num_cached for each in all_blocks)

    def _num_insertable(self, state: RequestState, num_tokens: int) -> int:
        """Return how many of the first `num_tokens` tokens of a running request may be inserted now."""
        return num_tokens

    def _insert_outputs(self, calendar: DecodeCalendar) -> None:
        """Insert the blocks that get full in the step that was just allocated for all decodes."""
        if self._outputs_are_known:
            for state in calendar.requests_needing_block(1):
                self._insert(state, state.current_num_tokens)

    def _ticks_without_insertion(self, calendar: DecodeCalendar, limit: int) -> int:
        """Return for how many ticks, at most `limit`, no output block is to be inserted."""
        return calendar.ticks_without_block(limit + 1) - 1

    def _blocks_of(self, state: RequestState) -> _RequestBlocks:
        """Return the cached blocks of a request, kept from its first `match_prefix` until it finishes."""
        blocks = self._request_blocks.get(state)
        if blocks is None:
            blocks = self._request_blocks[state] = _RequestBlocks(
                self._tree.path_of(state.request, state.next_turn)
            )
            self._outputs_are_known = self._outputs_are_known or state.request.output_token_ids is not None
        return blocks

    def _acquire(self, blocks: _RequestBlocks, part: _Part) -> None:
        """Let a request hold the blocks of `part`, which it has matched, as the next ones of its path."""
        run, start, end = part.run, part.start, part.end
        while run.end <= start:
            assert run.rest is not None, f"blocks {start} to {end} were evicted since they were matched"
            run = run.rest
        if run.start < start:
            run = self._cut(run, start)
        if end < run.end:
            self._cut(run, end)
        if run.released is not None:
            run.released = None
            self._num_evictable -= end - start
        run.ref_count += 1
        blocks.runs.append(run)
        blocks.num_cached = end

    def _insert(self, state: RequestState, num_tokens: int) -> None:
        """Insert the blocks that a request's first `num_tokens` tokens fill, except those inserted before."""
        num_full = num_tokens // self.block_size
        blocks = self._blocks_of(state)
        while (start := blocks.num_cached) < num_full:
            node, end = blocks.path.node_at(start)
            end = min(end, num_full)
            runs, last = self._runs[node], blocks.runs[-1] if blocks.runs else None
            if last and runs == [last] and last.end == start and last.ref_count == 1 and last.rest is None:
                last.end = end
            else:
                run = _Run(node, start, end)
                runs.append(run)
                blocks.runs.append(run)
            blocks.num_cached = end

    def _cut(self, run: _Run, at: int) -> _Run:
        """Cut a run in two and return the second half, in the same state as the first."""
        rest = _Run(run.node, at, run.end)
        rest.ref_count, rest.released, rest.rest = run.ref_count, run.released, run.rest
        run.end, run.rest = at, rest
        runs = self._runs[run.node]
        runs.insert(runs.index(run) + 1, rest)
        if rest.released is not None:
            insort(self._evictable, (rest.released, -at, rest))
        return rest

    def _evict(self) -> None:
        """Evict as many cached blocks as were allocated since the last time."""
        excess = self._num_evictable - self.num_free_blocks
        while excess > 0:
            released, _, run = self._evictable[0]
            size = min(excess, run.end - run.start)
            if run.released != released or not size:
                self._evictable.popleft()
                continue
            run.end -= size
            excess -= size
            self._num_evictable -= size
            if run.start == run.end:
                self._runs[run.node].remove(run)

    def _split_node(self, upper: Node, lower: Node) -> None:
        """Divide the runs of a node that was split; it is `lower` now."""
        for run in [run for run in self._runs[lower] if run.start < lower.start < run.end]:
            self._cut(run, lower.start)
        runs = self._runs[lower]
        self._runs[upper] = [run for run in runs if run.start < lower.start]
        self._runs[lower] = [run for run in runs if run.start >= lower.start]
        for run in self._runs[upper]:
            run.node = upper
