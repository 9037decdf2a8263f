"""What was measured on a server: requests with their times, or steps with their durations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class MeasuredRequest(NamedTuple):
    """A request that finished. Times are in seconds of one clock, whatever its zero is.

    `last_token` is `first_token` where it emitted a single token. `id` is None if the file has none, and
    `number` counts the requests of the file from 0, with those that failed.
    """

    number: int
    id: str | None
    prompt_tokens: int
    output_tokens: int
    arrival: float
    first_token: float
    last_token: float


class MeasuredStep(NamedTuple):
    """A step that took `seconds`. The tokens in the KV cache are None where the file does not have them.

    `num_prefills` counts the requests of its prompt tokens.
    """

    prefill_tokens: int
    num_prefills: int
    num_decodes: int
    context_tokens: int | None
    prefill_context_tokens: int | None
    seconds: float


@dataclass(frozen=True, slots=True)
class MeasuredRun:
    """One run of a server, measured: by its requests, by its steps in the order of time, or by both.

    Requests are in the order of the file. `name` names the file, and the part of it where it has several
    runs; `kind` is the tool that wrote it. With `is_remote` the times are a client's: they include the
    network and what a server does before its queue. `num_skipped` requests failed, or have no times. `usage`
    is the fraction of the KV blocks in use after each step, where the file has that and not the tokens in
    them. `host_seconds` was added to the duration of each step, as the file does not have the host's part of
    it. `places` says of requests, by their numbers, at
    which steps they were followed: how many steps were over when the first one with the request began, and
    when its first and its last token came.
    """

    name: str
    kind: str
    requests: Sequence[MeasuredRequest] = ()
    steps: Sequence[MeasuredStep] = ()
    usage: Sequence[float] = ()
    is_remote: bool = False
    num_skipped: int = 0
    host_seconds: float | None = None
    places: Mapping[int, tuple[int, int, int]] = field(default_factory=dict)
