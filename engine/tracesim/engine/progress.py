"""What the engine keeps about its requests and its steps, in addition to the scheduler's counters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from tracesim.requests.request import FINISHED_IGNORED, Request, RequestState
from tracesim.responses.recorded_response import RecordedResponse

REJECTED = "rejected"
"""The `finish_reason` of a request that the scheduler could never run."""

UNSENT = "unsent"
"""The `finish_reason` of a request that never arrived, as one for which it waits did not finish."""


@dataclass(slots=True)
class RequestProgress:
    """One request: its data, the scheduler's counters, its response, and the steps at which things happened.

    `replica` is the number of the replica that has the request, None without replicas. `arrival_step`,
    `scheduled_step` (the first that computes any of the prompt), `first_token_step` and
    `last_token_step` are None until they happen, and so are the reasons. `prompt` is the text; it is kept
    only where a client gets it back.
    """

    request: Request
    state: RequestState
    response: RecordedResponse
    prompt: str | None
    arrival_step: int | None = None
    scheduled_step: int | None = None
    first_token_step: int | None = None
    last_token_step: int | None = None
    finish_reason: str | None = None
    stop_reason: str | None = None
    replica: int | None = None
    _last_emission: int | None = None

    def scheduled_at(self, step: int) -> None:
        """Note that `step` computed a part of the prompt."""
        if self.scheduled_step is None:
            self.scheduled_step = step

    def sampled_at(self, step: int) -> None:
        """Note that the request emitted a token in `step` while it was scheduled individually."""
        if self.scheduled_step is None:
            self.scheduled_step = step
        if self.request.num_output_tokens:
            if self.first_token_step is None:
                self.first_token_step = step
            self._last_emission = step

    def preempted_after(self, last_decode_step: int) -> None:
        """Note a preemption; if the request was decoding, it emitted its last token in `last_decode_step`."""
        if self._last_emission is not None:
            self._last_emission = max(self._last_emission, last_decode_step)

    @property
    def is_rejected(self) -> bool:
        """Whether the request ended because it could never run. Its tokens count in no figure."""
        return self.finish_reason == REJECTED

    @property
    def can_run(self) -> bool:
        """Whether the request was neither rejected nor unsent, so that its tokens count."""
        return self.finish_reason not in (REJECTED, UNSENT)

    @property
    def cached_session_tokens(self) -> int:
        """How many of the prompt tokens that were in the prefix cache an earlier turn of the session had."""
        return min(self.state.num_cached_tokens or 0, self.request.num_session_tokens)

    @property
    def vllm_finish_reason(self) -> str | None:
        """The reason that vLLM gives: "length" for a rejected request, too."""
        return "length" if self.is_rejected else self.finish_reason

    def finish_at(self, step: int) -> None:
        """Note the end: as the response ends, or as a request that the scheduler cannot run, or not again."""
        if self.state.status is FINISHED_IGNORED:
            self.finish_reason = REJECTED if self.state.is_rejected else "length"
            self.last_token_step = self._last_emission
        else:
            self.finish_reason, self.stop_reason = self.response.finish_reason, self.response.stop_reason
            self.last_token_step = step if self.request.num_output_tokens else None


@dataclass(slots=True)
class RunCounts:
    """Counts over the steps in which something happened; idle steps are not among them.

    `prefill_requests` and `decode_requests` are sums over steps, `largest_prefill` and `largest_decode` the
    most requests in one step. `discarded_tokens` were computed in vain, after the end of their requests.
    """

    steps: int = 0
    prefill_steps: int = 0
    decode_steps: int = 0
    prefill_requests: int = 0
    decode_requests: int = 0
    largest_prefill: int = 0
    largest_decode: int = 0
    discarded_tokens: int = 0

    def add(self, num_prefills: int, num_decodes: int, steps: int) -> None:
        """Count `steps` steps, each with `num_prefills` and `num_decodes` requests in its batch."""
        self.steps += steps
        if num_prefills:
            self.prefill_steps += steps
            self.prefill_requests += steps * num_prefills
            if num_prefills > self.largest_prefill:
                self.largest_prefill = num_prefills
        if num_decodes:
            self.decode_steps += steps
            self.decode_requests += steps * num_decodes
            if num_decodes > self.largest_decode:
                self.largest_decode = num_decodes


def sum_of_counts(parts: Sequence[RunCounts]) -> RunCounts:
    """Return the counts of several engines together."""
    if len(parts) == 1:
        return parts[0]
    return RunCounts(
        **{
            each.name: (max if each.name.startswith("largest") else sum)(
                [getattr(part, each.name) for part in parts]
            )
            for each in fields(RunCounts)
        }
    )
