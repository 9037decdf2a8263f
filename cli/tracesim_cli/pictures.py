"""A replay in pictures: its steps are taken down while it runs, and drawn at its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import BinaryIO

from tracesim.llm_engine import LLMEngine
from tracesim.outputs import StepRecord
from tracesim.pictures import Picture
from tracesim.report import summarize
from tracesim.timeline import Timeline
from tracesim_cli.summary_view import summary_rows


def by_step_number(record: StepRecord) -> tuple[float, float]:
    """When a step starts and how long it takes, where steps are all the time there is."""
    return record.step, 1.0


class Pictures:
    """The pictures of one run of `engine`, to be made before its first step.

    `page` and `perfetto` are the files to write. `timing` gives a step's start and duration.
    """

    def __init__(
        self,
        engine: LLMEngine,
        page: BinaryIO | None,
        perfetto: BinaryIO | None,
        timing: Callable[[StepRecord], tuple[float, float]] = by_step_number,
    ) -> None:
        self._engine, self._page, self._perfetto, self._timing = engine, page, perfetto, timing
        self._num_blocks = engine.scheduler.num_free_blocks
        self._timeline = Timeline("steps")
        for progress in engine.requests.values():
            self._timeline.arrived(progress.request.id, progress.request.arrival_step)

    def on_step(self, record: StepRecord) -> None:
        """Take down one step."""
        self._timeline.add(record, *self._timing(record))

    def write(self, settings: Mapping[str, object]) -> None:
        """Draw the run and write the files."""
        picture = Picture(
            title=f"tracesim replay, engine {self._engine.config.engine}",
            timeline=self._timeline,
            summary=summary_rows(summarize(self._engine)),
            settings=settings,
            num_blocks=self._num_blocks,
        )
        if self._page:
            from tracesim.pictures.html import html_page

            self._page.write(html_page(picture))
        if self._perfetto:
            from tracesim.pictures.perfetto import perfetto_trace

            self._perfetto.writelines(perfetto_trace(picture))
