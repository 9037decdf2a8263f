"""Charts of a replay: its strides are recorded while it runs, and drawn at its end."""

from __future__ import annotations

from typing import BinaryIO

from tracesim.charts.timeline_recorder import TimelineRecorder
from tracesim.engine.llm_engine import LLMEngine
from tracesim_cli.commands.replay_sinks import RunFigures, Sink
from tracesim_cli.terminal.status import status_line
from tracesim_cli.views.summary_view import summary_rows


class ChartSink(Sink):
    """A page of charts, a trace for Perfetto, or both, of a run of `engine` that has not begun."""

    def __init__(
        self, engine: LLMEngine, page: BinaryIO | None, perfetto: BinaryIO | None, *, quiet: bool = False
    ) -> None:
        """With `quiet` nothing is printed on standard error."""
        self._engine, self._page, self._perfetto, self._quiet = engine, page, perfetto, quiet
        self._recorder = TimelineRecorder(engine)
        self.on_stride = self._recorder.on_stride

    def finish(self, figures: RunFigures) -> None:
        """Draw the run and write the files, with a line of progress on a terminal."""
        with status_line("drawing the charts", is_shown=not self._quiet):
            self._draw(figures)

    def _draw(self, figures: RunFigures) -> None:
        settings = figures.settings.config()
        if profiles := figures.settings.profiles:
            settings["profiles"] = ", ".join(each.name for each in profiles)
        data = self._recorder.chart_data(
            f"tracesim replay, engine {self._engine.config.engine}",
            summary_rows(figures.summary, figures.metrics),
            settings,
            [(name, " ".join(words)) for name, words in figures.settings.rows()],
            metrics=figures.metrics,
            slo=figures.slo,
            queue_time_by_cause=figures.summary.queue_time_by_cause,
        )
        if self._page:
            from tracesim.charts.html import page_to_html
            from tracesim.charts.replay_page import replay_page

            self._page.write(page_to_html(replay_page(data)))
        if self._perfetto:
            from tracesim.charts.perfetto import perfetto_trace

            self._perfetto.writelines(perfetto_trace(data))
