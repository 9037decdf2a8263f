"""Small traces and points for tests of sweeps."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from factories import a_record
from tracesim.sweep.points import Point, grid, make_points
from tracesim.sweep.shared_trace import SharedTrace, share_trace

SETTINGS: dict[str, Any] = {
    "engine": "vllm-v1",
    "clock": "linear:base=10ms,prefill=100us,decode=1ms",
    "num_gpu_blocks": 400,
}


def a_shared_trace(requests: int = 40, seed: int = 1) -> SharedTrace:
    """Return a trace of lengths, of prompts up to 200 tokens and answers up to 40."""
    generator = random.Random(seed)
    return share_trace(
        a_record(
            f"r{number}",
            input_length=generator.randint(1, 200),
            output_length=generator.randint(1, 40),
            arrival_time=number * 0.05,
        )
        for number in range(requests)
    )


def some_points(**varied: Sequence[Any]) -> list[Point]:
    """Return the grid of these values, for an engine that a small trace fills."""
    return make_points(grid(varied), settings=SETTINGS)
