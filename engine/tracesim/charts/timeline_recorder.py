"""Records a run of the engine for its charts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import ulp

from tracesim.analysis.metrics import Metrics, Slo, latency_of
from tracesim.analysis.report import times_of_finished
from tracesim.charts.chart_data import ChartData
from tracesim.charts.timeline import Timeline
from tracesim.engine.llm_engine import LLMEngine
from tracesim.engine.progress import RequestProgress
from tracesim.engine.stride_records import StrideRecord
from tracesim.timing.clock import PER_SECOND
from tracesim.timing.timekeeper import Timekeeper

Rows = Sequence[tuple[str, str]]


class TimelineRecorder:
    """Records a run: create it before the first step, and call `engine.run(on_stride=recorder.on_stride)`.

    Times are in seconds from the first arrival with a clock, and in steps without one.
    """

    def __init__(self, engine: LLMEngine) -> None:
        self._engine = engine
        self._num_blocks = engine.scheduler.num_free_blocks
        self._timeline = Timeline("steps" if engine.timekeeper is None else "s")
        self._end = 0.0

    def on_stride(self, record: StrideRecord) -> None:
        """Record one stride."""
        timekeeper = self._engine.timekeeper
        if timekeeper is None or record.start is None or record.duration is None:
            self._timeline.add(record, record.step, record.step + record.steps)
        else:
            start = record.start - timekeeper.start / PER_SECOND
            if abs(start - self._end) <= 2 * ulp(record.start):
                start = self._end  # which is rounded, as both times are: the strides meet
            self._end = start + record.duration
            self._timeline.add(record, start, self._end)

    def chart_data(
        self,
        title: str,
        summary: Rows = (),
        settings: Mapping[str, object] | None = None,
        run: Rows = (),
        *,
        metrics: Metrics | None = None,
        slo: Slo | None = None,
        queue_time_by_cause: Mapping[str, float] | None = None,
    ) -> ChartData:
        """Return the data of the charts for the run so far, with what `ChartData` has beside them to show.

        The latencies are those of the requests that finished, but ITL has the times between all tokens.
        """
        engine, timeline = self._engine, self._timeline
        timekeeper = engine.timekeeper
        for progress in engine.requests.values():
            self._describe(progress)
        if timekeeper is None:
            timeline.causes = engine.waits.changes
            latencies = _latencies_in_steps(engine.requests.values())
        else:
            origin = timekeeper.start
            timeline.causes = [((time - origin) / PER_SECOND, cause) for time, cause in engine.waits.changes]
            latencies = _latencies_in_seconds(engine, timekeeper)
        return ChartData(
            title,
            timeline,
            summary=summary,
            settings=settings or {},
            num_blocks=self._num_blocks,
            latencies=latencies,
            run=run,
            queue_time_by_cause=queue_time_by_cause or {},
            slo_limits={} if slo is None else slo.limits(),
            slo_attainment=None if metrics is None else metrics.slo_attainment,
            slo_missed=(metrics and metrics.slo_missed) or {},
        )

    def _describe(self, progress: RequestProgress) -> None:
        """Add what the engine knows of a request that has arrived."""
        if progress.arrival_step is None:
            return
        request_id, timekeeper = progress.request.id, self._engine.timekeeper
        request = self._timeline.request(request_id, 0.0)
        if timekeeper is None:
            request.arrival = progress.arrival_step
            first_token = progress.first_token_step
            request.first_token = None if first_token is None else first_token + 1.0
        else:
            times, origin = timekeeper.requests[request_id], timekeeper.start
            request.arrival = (times.arrived - origin) / PER_SECOND
            if times.first_token is not None:
                request.first_token = (times.first_token - origin) / PER_SECOND
        request.prompt_tokens = progress.request.num_prompt_tokens
        request.cached_tokens = progress.state.num_cached_tokens or 0
        request.output_tokens = progress.state.num_output_tokens
        request.finish_reason, request.stop_reason = progress.finish_reason, progress.stop_reason


def _latencies_in_seconds(engine: LLMEngine, timekeeper: Timekeeper) -> dict[str, Mapping[float, int]]:
    done = [latency_of(times, tokens) for times, tokens in times_of_finished(engine, timekeeper)]
    return {
        "TTFT": _counted(each.ttft for each in done),
        "TPOT": _counted(each.tpot for each in done),
        "ITL": {gap / PER_SECOND: count for gap, count in timekeeper.gaps.counts().items()},
        "E2E": _counted(each.e2e for each in done),
        "queue time": _counted(each.queue_time for each in done),
    }


def _latencies_in_steps(requests: Iterable[RequestProgress]) -> dict[str, Mapping[float, int]]:
    """Return the latencies as `metrics` defines them, where each step takes one."""
    ttft: list[float] = []
    tpot: list[float] = []
    e2e: list[float] = []
    queue_time: list[float] = []
    for each in requests:
        arrival, first, last = each.arrival_step, each.first_token_step, each.last_token_step
        if each.finish_reason in (None, "abort") or each.is_rejected or arrival is None:
            continue
        if each.scheduled_step is not None:
            queue_time.append(each.scheduled_step - arrival)
        if first is not None and last is not None:
            ttft.append(first + 1 - arrival)
            e2e.append(last + 1 - arrival)
            if each.state.num_output_tokens > 1:
                tpot.append((last - first) / (each.state.num_output_tokens - 1))
    return {
        name: Counter(values)
        for name, values in (("TTFT", ttft), ("TPOT", tpot), ("E2E", e2e), ("queue time", queue_time))
    }


def _counted(values: Iterable[float | None]) -> Counter[float]:
    return Counter(value for value in values if value is not None)
