"""Records a run of the engine for its charts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from tracesim.analysis.metrics import latency_of
from tracesim.analysis.report import times_of_finished
from tracesim.charts.chart_data import ChartData
from tracesim.charts.timeline import Timeline
from tracesim.engine.llm_engine import LLMEngine
from tracesim.engine.step_records import StepRecord
from tracesim.timing.clock import PER_SECOND


class TimelineRecorder:
    """Records the steps of a run: create it before the first step, and call `engine.run(recorder.on_step)`.

    Times are in seconds from the first arrival with a clock, and in steps without one.
    """

    def __init__(self, engine: LLMEngine) -> None:
        self._engine = engine
        self._num_blocks = engine.scheduler.num_free_blocks
        self._timeline = Timeline("steps" if engine.timekeeper is None else "s")

    def on_step(self, record: StepRecord) -> None:
        """Record one step."""
        timekeeper = self._engine.timekeeper
        if timekeeper is None or record.start is None or record.duration is None:
            self._timeline.add(record, record.step, 1.0)
        else:
            self._timeline.add(record, record.start - timekeeper.start / PER_SECOND, record.duration)

    def chart_data(
        self,
        title: str,
        summary: Sequence[tuple[str, str]] = (),
        settings: Mapping[str, object] | None = None,
        run: Sequence[tuple[str, str]] = (),
    ) -> ChartData:
        """Return the data of the charts for the run so far, with what `ChartData` has beside them to show.

        The latencies are those of the requests that finished, but ITL has the times between all tokens.
        """
        timekeeper = self._engine.timekeeper
        for request_id, progress in self._engine.requests.items():
            if timekeeper is not None and request_id in timekeeper.requests:
                arrived = timekeeper.requests[request_id].arrived - timekeeper.start
                self._timeline.arrived(request_id, arrived / PER_SECOND)
            elif timekeeper is None and progress.arrival_step is not None:
                self._timeline.arrived(request_id, progress.arrival_step)
        latencies: dict[str, Mapping[float, int]] = {}
        if timekeeper is not None:
            finished = times_of_finished(self._engine, timekeeper)
            done = [latency_of(times, tokens) for times, tokens in finished]
            latencies = {
                "TTFT": _counted([each.ttft for each in done]),
                "TPOT": _counted([each.tpot for each in done]),
                "ITL": {gap / PER_SECOND: count for gap, count in timekeeper.gaps.counts().items()},
                "E2E": _counted([each.e2e for each in done]),
                "queue time": _counted([each.queue_time for each in done]),
            }
        blocks = self._num_blocks
        return ChartData(title, self._timeline, summary, settings or {}, blocks, latencies, run)


def _counted(values: Sequence[float | None]) -> Counter[float]:
    return Counter(value for value in values if value is not None)
