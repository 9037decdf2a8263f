"""`TraceRecord`: what one line of a trace is read into."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class TraceRecord(NamedTuple):
    """One recorded request. A field that the trace does not have is None; `arrival_step` is then 0.

    Prompt and response are each given as text, as token ids, or as both; or both lengths stand for them.
    `hash_ids` has one id for every `hash_block_size` prompt tokens (None: 512). `arrival_time` and `delay`
    are in seconds; at most one of `arrival_step` and `arrival_time` is given. Requests with one `session_id`
    are the turns of one conversation; `after` has the ids of the requests that must finish before this one
    is sent, and `delay` is the time between that and this request.

    `line` counts from 1: the line of the file or, in a format that is one JSON document, the item. This is a
    named tuple because one is made for every line of a trace.
    """

    id: str
    prompt: str | None
    response: str | None
    prompt_token_ids: Sequence[int] | None
    response_token_ids: Sequence[int] | None
    input_length: int | None
    output_length: int | None
    hash_ids: Sequence[int] | None
    hash_block_size: int | None
    max_tokens: int | None
    min_tokens: int | None
    stop: tuple[str, ...] | None
    priority: int | None
    arrival_step: int
    arrival_time: float | None
    session_id: str | None
    after: tuple[str, ...] | None
    delay: float | None
    file: str
    line: int
