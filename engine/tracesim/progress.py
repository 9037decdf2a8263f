"""What the engine knows of its requests and its steps, beside the scheduler's own counters."""

from __future__ import annotations

from dataclasses import dataclass

from tracesim.cursor import Cursor
from tracesim.request import Request, RequestState
from tracesim.scheduler import StepPlan


@dataclass(slots=True)
class RequestProgress:
    """How far one request has come. `state` is None before its arrival; steps are None until they happen."""

    request: Request
    cursor: Cursor
    prompt: str | None
    state: RequestState | None = None
    first_token_step: int | None = None
    last_token_step: int | None = None
    finish_reason: str | None = None
    stop_reason: str | None = None

    @property
    def num_output_tokens(self) -> int:
        """Tokens emitted so far."""
        return 0 if self.state is None else self.state.num_output_tokens

    @property
    def num_preemptions(self) -> int:
        """How often it lost its KV cache."""
        return 0 if self.state is None else self.state.num_preemptions

    @property
    def was_admitted(self) -> bool:
        """Whether a scheduler with a prefix cache has looked its prompt up."""
        return self.state is not None and self.state.num_cached_tokens is not None

    @property
    def num_cached_tokens(self) -> int:
        """Prompt tokens that it found in the prefix cache when it was first admitted."""
        return 0 if self.state is None else self.state.num_cached_tokens or 0

    def emitted_at(self, step: int) -> None:
        """Note that a token came out of `step`."""
        if self.first_token_step is None:
            self.first_token_step = step
        self.last_token_step = step

    def finish(self, *, ignored: bool) -> None:
        """Note the end: the cursor's own, or "length" for a request that the scheduler had to ignore."""
        self.finish_reason = "length" if ignored else self.cursor.finish_reason
        self.stop_reason = None if ignored else self.cursor.stop_reason


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

    def add(self, plan: StepPlan) -> None:
        """Count one step."""
        prefills, decodes = len(plan.prefill), len(plan.decode)
        self.steps += 1
        self.prefill_steps += prefills > 0
        self.decode_steps += decodes > 0
        self.prefill_requests += prefills
        self.decode_requests += decodes
        self.largest_prefill = max(self.largest_prefill, prefills)
        self.largest_decode = max(self.largest_decode, decodes)
