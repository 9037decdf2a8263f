"""A replay in pictures: its steps are taken down while it runs, and drawn at its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import BinaryIO

from tracesim.analysis.metrics import Metrics
from tracesim.analysis.report import Summary
from tracesim.charts.timeline_recorder import TimelineRecorder
from tracesim.engine.llm_engine import LLMEngine
from tracesim_cli.views.summary_view import summary_rows


class Pictures:
    """The pictures of one run of `engine`, to be made before its first step, and the files they go to.

    `on_step` takes down each step.
    """

    def __init__(self, engine: LLMEngine, page: BinaryIO | None, perfetto: BinaryIO | None) -> None:
        self._engine, self._page, self._perfetto = engine, page, perfetto
        self._recording = TimelineRecorder(engine)
        self.on_step = self._recording.on_step

    def write(self, settings: Mapping[str, object], summary: Summary, metrics: Metrics | None) -> None:
        """Draw the run and write the files."""
        title = f"tracesim replay, engine {self._engine.config.engine}"
        picture = self._recording.picture(title, summary_rows(summary, metrics), settings)
        if self._page:
            from tracesim.charts.html import html_page

            self._page.write(html_page(picture))
        if self._perfetto:
            from tracesim.charts.perfetto import perfetto_trace

            self._perfetto.writelines(perfetto_trace(picture))
