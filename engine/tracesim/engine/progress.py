"""What the engine knows of its requests and its steps, beside the scheduler's own counters."""

from __future__ import annotations

from dataclasses import dataclass

from tracesim.requests.request import FINISHED_IGNORED, Request, RequestState
from tracesim.responses.recorded_response import RecordedResponse


@dataclass(slots=True)
class RequestProgress:
    """How far one request has come. Steps are None until they happen."""

    request: Request
    state: RequestState
    response: RecordedResponse
    prompt: str | None
    arrival_step: int | None = None
    first_token_step: int | None = None
    last_token_step: int | None = None
    finish_reason: str | None = None
    stop_reason: str | None = None
    _emitted_until: int | None = None

    def sampled_at(self, step: int) -> None:
        """Note that it was scheduled by itself in `step`, and emitted a token if it has any."""
        if self.request.num_output_tokens:
            if self.first_token_step is None:
                self.first_token_step = step
            self._emitted_until = step

    def preempted_after(self, step: int) -> None:
        """Note that it was preempted, and that `step` was the last in which requests decoded."""
        if self._emitted_until is not None:
            self._emitted_until = max(self._emitted_until, step)

    def finish_at(self, step: int) -> None:
        """Note the end: the response's own, or "length" for a request that the scheduler had to ignore."""
        if self.state.status is FINISHED_IGNORED:
            self.finish_reason = "length"
            self.last_token_step = self._emitted_until
        else:
            self.finish_reason, self.stop_reason = self.response.finish_reason, self.response.stop_reason
            self.last_token_step = step if self.request.num_output_tokens else None


@dataclass(slots=True)
class RunCounts:
    """Counters over the steps that did something."""

    steps: int = 0
    prefill_steps: int = 0
    decode_steps: int = 0
    prefill_requests: int = 0
    decode_requests: int = 0
    largest_prefill: int = 0
    largest_decode: int = 0

    def add(self, num_prefills: int, num_decodes: int, steps: int) -> None:
        """Count `steps` steps with batches of these sizes."""
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
