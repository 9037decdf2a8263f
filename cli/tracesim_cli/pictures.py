"""A replay in pictures: its steps are taken down while it runs, and drawn at its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import BinaryIO

from tracesim.clock import PER_SECOND
from tracesim.llm_engine import LLMEngine
from tracesim.outputs import StepRecord
from tracesim.pictures import Picture
from tracesim.report import latency_values, summarize
from tracesim.timeline import Timeline
from tracesim_cli.summary_view import summary_rows


class Pictures:
    """The pictures of one run of `engine`; `page` and `perfetto` are the files to write.

    They are over seconds where there is a clock, else over steps.
    """

    def __init__(self, engine: LLMEngine, page: BinaryIO | None, perfetto: BinaryIO | None) -> None:
        self._engine, self._page, self._perfetto = engine, page, perfetto
        self._num_blocks = engine.scheduler.num_free_blocks
        self._timeline = Timeline("steps" if engine.timekeeper is None else "s")

    def on_step(self, record: StepRecord) -> None:
        """Take down one step."""
        for request_id in (*(entry.id for entry in record.prefill), *(end.id for end in record.finished)):
            if request_id not in self._timeline.requests:
                self._timeline.arrived(request_id, self._arrival(request_id))
        if record.start is None or record.duration is None:
            self._timeline.add(record, record.step, 1.0)
        else:
            self._timeline.add(record, record.start, record.duration)

    def _arrival(self, request_id: str) -> float:
        if self._engine.timekeeper is None:
            return self._engine.requests[request_id].arrival_step or 0
        return self._engine.timekeeper.requests[request_id].arrived / PER_SECOND

    def write(self, settings: Mapping[str, object]) -> None:
        """Draw the run and write the files."""
        picture = Picture(
            title=f"tracesim replay, engine {self._engine.config.engine}",
            timeline=self._timeline,
            summary=summary_rows(summarize(self._engine)),
            settings=settings,
            num_blocks=self._num_blocks,
            latencies=latency_values(self._engine),
        )
        if self._page:
            from tracesim.pictures.html import html_page

            self._page.write(html_page(picture))
        if self._perfetto:
            from tracesim.pictures.perfetto import perfetto_trace

            self._perfetto.writelines(perfetto_trace(picture))
