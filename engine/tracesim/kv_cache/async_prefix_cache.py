"""The prefix cache of asynchronous scheduling, where the newest output token is not known yet."""

from __future__ import annotations

from collections.abc import Collection

from tracesim.kv_cache.prefix_cache import PrefixCache
from tracesim.requests.decode_calendar import DecodeCalendar
from tracesim.requests.request import RequestState


class AsyncPrefixCache(PrefixCache):
    """A prefix cache that inserts output blocks one plan later than `PrefixCache`.

    The token that fills a block is in flight when the block is planned, so the block is inserted when the
    next one begins. `without_token_in_flight` are decoding requests that the plan before skipped: all their
    tokens are known.
    """

    without_token_in_flight: Collection[RequestState] = ()

    def insert(self, state: RequestState, num_tokens: int) -> None:
        """Insert the blocks that the first `num_tokens` tokens of a request fill."""
        self._insert(state, num_tokens)

    def _num_insertable(self, state: RequestState, num_tokens: int) -> int:
        is_in_flight = state.is_decoding and state not in self.without_token_in_flight
        return num_tokens - 1 if is_in_flight else num_tokens

    def _insert_outputs(self, calendar: DecodeCalendar) -> None:
        if self._outputs_are_known:
            for state in calendar.requests_needing_block():
                self._insert(state, state.current_num_tokens - 1)
        for state in self.without_token_in_flight:
            if state.is_decoding:
                self._insert(state, state.current_num_tokens)

    def _ticks_without_insertion(self, calendar: DecodeCalendar, limit: int) -> int:
        return calendar.ticks_without_block(limit)
