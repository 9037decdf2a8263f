"""Everything that the page and the Perfetto trace show of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tracesim.charts.timeline import Timeline


@dataclass(frozen=True, slots=True)
class ChartData:
    """The data of all charts of a run. Texts are plain; whoever writes them escapes them.

    `run` is what was run and `summary` its figures, both with a title and a value per row; `settings` are by
    name. `num_blocks` is the number of free KV blocks when nothing runs (None: unlimited). `latencies` has by
    name (TTFT, TPOT, ITL, E2E, queue time), in the order in which they are shown, the count of each value in
    the timeline's unit. `queue_time_by_cause` is the sum over all requests, in the timeline's unit.
    `slo_limits` are in seconds, by the name of the latency; without any, `slo_attainment` is None.
    """

    title: str
    timeline: Timeline
    summary: Sequence[tuple[str, str]] = ()
    settings: Mapping[str, object] = field(default_factory=dict)
    num_blocks: int | None = None
    latencies: Mapping[str, Mapping[float, int]] = field(default_factory=dict)
    run: Sequence[tuple[str, str]] = ()
    queue_time_by_cause: Mapping[str, float] = field(default_factory=dict)
    slo_limits: Mapping[str, float] = field(default_factory=dict)
    slo_attainment: float | None = None
    slo_missed: Mapping[str, int] = field(default_factory=dict)
