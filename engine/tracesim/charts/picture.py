"""A run in pictures: a page for a browser, and a trace for Perfetto. Both are made of a `Picture`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tracesim.charts.timeline import Timeline


@dataclass(frozen=True, slots=True)
class Picture:
    """All that is to be shown of a run. Its texts are plain, and are escaped where they go.

    `summary` has a title and a value a row, `settings` are by name. `num_blocks` is how many KV blocks are
    free when nothing runs; None when they are endless. `latencies` say by name (TTFT, TPOT, ITL, E2E,
    queue time), in the order they are to be shown, how often each value came, in the timeline's unit.
    """

    title: str
    timeline: Timeline
    summary: Sequence[tuple[str, str]] = ()
    settings: Mapping[str, object] = field(default_factory=dict)
    num_blocks: int | None = None
    latencies: Mapping[str, Mapping[float, int]] = field(default_factory=dict)
