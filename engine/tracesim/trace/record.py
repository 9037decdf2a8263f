"""What a trace is read into: one `TraceRecord` a request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class TraceRecord(NamedTuple):
    """One recorded request. What the trace does not say is None, but `arrival_step` is 0.

    `arrival_time` is in seconds; only one of the two arrivals is ever given. `line` counts from 1: lines, or
    in a format that is one JSON document its items.

    Prompt and response are each given as text, as token ids or as both; or both lengths stand for them.
    `hash_ids` has one id for each 512 prompt tokens. A named tuple, as it is made for every line of a trace.
    """

    id: str
    prompt: str | None
    response: str | None
    prompt_token_ids: Sequence[int] | None
    response_token_ids: Sequence[int] | None
    input_length: int | None
    output_length: int | None
    hash_ids: Sequence[int] | None
    max_tokens: int | None
    min_tokens: int | None
    stop: tuple[str, ...] | None
    priority: int | None
    arrival_step: int
    arrival_time: float | None
    file: str
    line: int
