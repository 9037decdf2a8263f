"""Prefix caching as vLLM's V1 does it: what blocks hold is found, and shared by later requests."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from tracesim.decode_calendar import DecodeCalendar, by_admission
from tracesim.kv_cache import NO_PREFIX, KVCache, Prefix
from tracesim.prefix_units import PrefixUnits, Units
from tracesim.request import RequestState


class _Run:
    """Blocks `start` to `end` of a unit, next to each other and always held, and let go, together."""

    __slots__ = ("end", "holders", "start", "unit")

    def __init__(self, unit: int, start: int, end: int, holders: list[_Holding]) -> None:
        self.unit = unit
        self.start = start
        self.end = end
        self.holders = holders


class _Holding:
    """What a request holds that can be found: runs, with `num_found` blocks in all; and its units."""

    __slots__ = ("num_found", "runs", "units")

    def __init__(self, units: Units) -> None:
        self.units = units
        self.runs: list[_Run] = []
        self.num_found = 0


class _Part(NamedTuple):
    """Blocks `start` to `end` of a unit, all in one run."""

    unit: int
    start: int
    end: int


class PrefixCache(KVCache):
    """KV blocks that keep what they hold after they are freed, until they are handed out again.

    A block can be found from when it is full. Blocks that can be found and that nobody holds wait in a queue
    to be handed out, after all other free blocks, the least recently used first and of one request's the
    last first. Of equal blocks the one that could be found first is found. These are the rules of `BlockPool`
    and `FullAttentionManager` in vLLM 0.32. Nothing depends on which block is which, so blocks are counted as
    in `KVCache`, and those that move together are one run.
    """

    def __init__(self, num_blocks: int | None, block_size: int, *, reserved: int = 0) -> None:
        super().__init__(num_blocks, block_size, reserved=reserved)
        self._units = PrefixUnits(block_size)
        self._holdings: dict[RequestState, _Holding] = {}
        self._runs: dict[int, list[_Run]] = {}
        self._queue: OrderedDict[_Run, None] = OrderedDict()
        self._num_queued = 0
        self._knows_outputs = False

    def find_prefix(self, state: RequestState) -> Prefix:
        """The longest cached prefix; at least the last token is always left to compute."""
        usable = (state.num_tokens - 1) // self.block_size
        units = self._holding(state).units
        parts: list[_Part] = []
        num_blocks = num_held = 0
        while num_blocks < usable:
            unit, offset, end = units.place(num_blocks)
            run, found_end = self._first_run(unit, offset)
            if run is None:
                break
            end = min(end, found_end, offset + usable - num_blocks)
            parts.append(_Part(unit, offset, end))
            num_blocks += end - offset
            num_held += end - offset if run.holders else 0
        return Prefix(num_blocks, num_held, parts) if parts else NO_PREFIX

    def allocate(self, state: RequestState, num_tokens: int, prefix: Prefix = NO_PREFIX) -> None:
        """Take hold of `prefix` and of new blocks; from now each block that is full can be found."""
        super().allocate(state, num_tokens, prefix)
        holding = self._holding(state)
        for part in prefix.parts:
            self._take_hold(holding, part)
        self._hand_out()
        self._publish(state, num_tokens)

    def try_allocate(self, state: RequestState, num_tokens: int) -> bool:
        """Give a running request room, if there is; from now each block that is full can be found."""
        if not super().try_allocate(state, num_tokens):
            return False
        self._hand_out()
        self._publish(state, num_tokens)
        return True

    def allocate_decodes(self, calendar: DecodeCalendar) -> None:
        """Give all that decode room. Outputs that equal nothing else are published when they are let go."""
        super().allocate_decodes(calendar)
        self._hand_out()
        if self._knows_outputs:
            for state in calendar.beginning(1):
                self._publish(state, state.current_num_tokens)

    def allocate_ticks(
        self,
        calendar: DecodeCalendar,
        limit: int,
        alone: RequestState | None = None,
        chunk: int = 0,
        spare: int = 0,
    ) -> int:
        """Give room for several ticks; where outputs can be found, those in which nobody fills a block."""
        if self._knows_outputs:
            limit = calendar.ticks_to_beginning(limit + 1) - 1
        if limit <= 0:
            return 0
        ticks = super().allocate_ticks(calendar, limit, alone, chunk, spare)
        self._hand_out()
        if alone is not None and ticks:
            self._publish(alone, alone.num_computed_tokens + ticks * chunk)
        return ticks

    def takers(self, calendar: DecodeCalendar) -> Sequence[RequestState]:
        """Who begins a block; where outputs can be found, also who fills one and begins another next."""
        if not self._knows_outputs or self.block_size == 1:
            return calendar.beginning()
        return sorted([*calendar.beginning(), *calendar.beginning(1)], key=by_admission)

    def release(self, state: RequestState, num_scheduled: int = 0) -> None:
        """Let go of all blocks of a request; what they hold can still be found."""
        self._publish(state, state.num_computed_tokens + num_scheduled)
        super().release(state, num_scheduled)
        holding = self._holding(state)
        for run in reversed(holding.runs):
            run.holders.remove(holding)
            size = run.end - run.start
            if run.holders:
                self.free -= size
            else:
                self._queue[run] = None
                self._num_queued += size
        holding.runs = []
        holding.num_found = 0

    def forget(self, state: RequestState) -> None:
        """Drop what was remembered of a request; what its blocks hold can still be found."""
        self._holdings.pop(state, None)

    def num_blocks_held(self, states: Sequence[RequestState]) -> int:
        """How many blocks these requests hold in all; those that they share count once."""
        shared = {run for state in states for run in self._holding(state).runs}
        own = sum(self.blocks_for(s.current_num_computed_tokens) - self._holding(s).num_found for s in states)
        return own + sum(run.end - run.start for run in shared)

    def _holding(self, state: RequestState) -> _Holding:
        holding = self._holdings.get(state)
        if holding is None:
            holding = self._holdings[state] = _Holding(self._units.of(state.request))
            self._knows_outputs = self._knows_outputs or state.request.output_token_ids is not None
        return holding

    def _first_run(self, unit: int, offset: int) -> tuple[_Run | None, int]:
        """The run in which a block is found, and up to where the blocks after it are found there too."""
        end = None
        for run in self._runs.get(unit, ()):
            if run.start <= offset < run.end:
                return run, run.end if end is None else min(end, run.end)
            if run.start > offset:
                end = run.start if end is None else min(end, run.start)
        return None, 0

    def _take_hold(self, holding: _Holding, part: _Part) -> None:
        run, _ = self._first_run(part.unit, part.start)
        assert run is not None, f"{part} was found and is gone"
        if run.start < part.start:
            run = self._split(run, part.start)
        if part.end < run.end:
            self._split(run, part.end)
        if not run.holders:
            del self._queue[run]
            self._num_queued -= run.end - run.start
        run.holders.append(holding)
        holding.runs.append(run)
        holding.num_found += run.end - run.start

    def _split(self, run: _Run, at: int) -> _Run:
        """Cut a run in two; the second half is the new one, and the first to be handed out."""
        rest = _Run(run.unit, at, run.end, list(run.holders))
        run.end = at
        runs = self._runs[run.unit]
        runs.insert(runs.index(run) + 1, rest)
        for holder in rest.holders:
            holder.runs.insert(holder.runs.index(run) + 1, rest)
        if not rest.holders:
            queue = list(self._queue)
            queue.insert(queue.index(run), rest)
            self._queue = OrderedDict.fromkeys(queue)
        return rest

    def _hand_out(self) -> None:
        """Forget as much of the queue as is no longer free: what was last let go, last."""
        excess = self._num_queued - self.free
        while excess > 0:
            run = next(iter(self._queue))
            size = min(excess, run.end - run.start)
            run.end -= size
            excess -= size
            self._num_queued -= size
            if run.start == run.end:
                del self._queue[run]
                self._unpublish(run)

    def _publish(self, state: RequestState, num_tokens: int) -> None:
        """Let the blocks that a request's first `num_tokens` tokens fill be found."""
        num_full = num_tokens // self.block_size
        holding = self._holding(state)
        found = holding.num_found
        if found >= num_full:
            return
        place, all_runs = holding.units.place, self._runs
        while found < num_full:
            unit, offset, end = place(found)
            end = min(end, offset + num_full - found)
            found += end - offset
            runs = all_runs.get(unit)
            if runs is not None and _may_grow(runs, holding, offset):
                runs[0].end = end
                continue
            run = _Run(unit, offset, end, [holding])
            holding.runs.append(run)
            if runs is None:
                all_runs[unit] = [run]
            else:
                runs.append(run)
        holding.num_found = num_full

    def _unpublish(self, run: _Run) -> None:
        runs = self._runs[run.unit]
        runs.remove(run)
        if not runs:
            del self._runs[run.unit]


def _may_grow(runs: Sequence[_Run], holding: _Holding, offset: int) -> bool:
    """Whether the only run of a unit ends before `offset` and is the holder's alone."""
    return len(runs) == 1 and runs[0].end == offset and runs[0].holders == [holding]
