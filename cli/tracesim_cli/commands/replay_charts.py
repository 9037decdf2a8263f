"""Charts of a replay: its steps are recorded while it runs, and drawn at its end."""

from __future__ import annotations

from typing import BinaryIO

from tracesim.charts.timeline_recorder import TimelineRecorder
from tracesim.engine.llm_engine import LLMEngine
from tracesim_cli.commands.replay_sinks import RunFigures, Sink
from tracesim_cli.views.summary_view import summary_rows


class ChartSink(Sink):
    """A page of charts, a trace for Perfetto, or both, of a run of `engine` that has not begun."""

    def __init__(self, engine: LLMEngine, page: BinaryIO | None, perfetto: BinaryIO | None) -> None:
        self._engine, self._page, self._perfetto = engine, page, perfetto
        self._recorder = TimelineRecorder(engine)
        self.on_step = self._recorder.on_step

    def finish(self, figures: RunFigures) -> None:
        """Draw the run and write the files."""
        title = f"tracesim replay, engine {self._engine.config.engine}"
        rows = summary_rows(figures.summary, figures.metrics)
        run = [(name, " ".join(words)) for name, words in figures.settings.rows()]
        settings = figures.settings.config()
        if profiles := figures.settings.profiles:
            settings["profiles"] = ", ".join(each.name for each in profiles)
        data = self._recorder.chart_data(title, rows, settings, run)
        if self._page:
            from tracesim.charts.html import html_page

            self._page.write(html_page(data))
        if self._perfetto:
            from tracesim.charts.perfetto import perfetto_trace

            self._perfetto.writelines(perfetto_trace(data))
