"""The table as it happens on a terminal: rows above a live panel, and keys to pause and to step.

Elsewhere there are rows alone.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, Final, Literal, TextIO

from tracesim.engine.llm_engine import LLMEngine
from tracesim.engine.step_records import StepRecord
from tracesim.engine.stride_records import StrideRecord
from tracesim_cli.terminal.display import Display, open_console
from tracesim_cli.terminal.exit_codes import StoppedByUserError
from tracesim_cli.terminal.keys import Key, KeySource, open_keys
from tracesim_cli.terminal.lines import Fragment, clip_line
from tracesim_cli.terminal.live_region import LiveRegion
from tracesim_cli.terminal.text import counted
from tracesim_cli.views.event_table import EventTable
from tracesim_cli.views.legend import legend_lines, signs_of
from tracesim_cli.views.panel import lanes_that_fit, panel_lines
from tracesim_cli.views.row_view import REFRESH_SECONDS, RowView, StepView, Table
from tracesim_cli.views.snapshot import RunMonitor
from tracesim_cli.views.step_table import StepTable

ECHO_CELLS: Final = 3
"""Cells at the end of the panel's lines that stay free for the ^C that a terminal echoes."""

Line = Sequence[Fragment]
Pace = Literal["run", "step", "event", "paused"]


def open_view(
    stream: TextIO,
    display: Display,
    engine: LLMEngine,
    *,
    folds: bool = False,
    delay: float = 0.0,
    clock: Callable[[], float] = time.monotonic,
    keys: KeySource | None = None,
) -> StepView:
    """Return the view for a run of `engine`, with a row for each step or, if it `folds`, for each event.

    `delay` is a pause in seconds after each row. `keys` are by default those of the terminal.
    """

    def make_table(width: int) -> Table:
        kind = EventTable if folds else StepTable
        has_clock = engine.timekeeper is not None
        return kind(
            width,
            finite_blocks=engine.config.num_gpu_blocks is not None,
            has_clock=has_clock,
            has_replicas=engine.replica is not None,
        )

    console = open_console(stream) if display.live else None
    if console is None or console.legacy_windows:
        return RowView(stream, display, make_table, folds=folds, delay=delay, clock=clock)
    region = LiveRegion(console)
    return LiveView(region, make_table, engine, keys or open_keys(), folds=folds, delay=delay, clock=clock)


class LiveView(StepView):
    """Rows on a terminal above a panel that is redrawn with them, and keys to pause and to step."""

    def __init__(
        self,
        region: LiveRegion,
        make_table: Callable[[int], Table],
        engine: LLMEngine,
        keys: KeySource,
        *,
        folds: bool,
        delay: float,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(make_table, folds=folds, delay=delay, clock=clock)
        self.on_stride = self._take_stride
        self._region = region
        self._engine = engine
        self._keys = keys
        self._monitor = RunMonitor(engine, clock)
        self._pace: Pace = "run"
        self._size = region.size
        self._table = make_table(self._size[0])
        self._recent: deque[Any] = deque(maxlen=200)
        self._old_handlers: dict[int, Any] = {}

    def _take_stride(self, record: StrideRecord) -> None:
        self._monitor.count(record)
        rows = self._folder.add(record)
        if self._folds:
            for row in rows:
                self._buffer.append(row)
                self._rest()
        else:
            self._rest()
        if self._pace == "step" or (self._pace == "event" and self._folder.at_event):
            self._pace = "paused"
        if self._is_paused or self._is_due():
            self._update()

    def _take_step(self, record: StepRecord) -> None:
        self._buffer.append(record)  # `_take_stride` draws it, when the panel knows the step, too

    def _update(self) -> None:
        """Draw, take in what was typed and, while the user pauses the run, wait."""
        self.flush()
        self._obey(self._keys.wait(0))
        if self._is_paused:
            self.flush()
            while self._is_paused:
                self._obey(self._keys.wait(REFRESH_SECONDS))
                if self._region.size != self._size:
                    self.flush()
            self._monitor.pause()

    def _rest(self) -> None:
        """Wait as long after a row as the user wants, unless a key asks to go on."""
        if not self._delay or self._pace != "run":
            return
        self._update()
        end = self._clock() + self._delay
        while (left := end - self._clock()) > 0 and self._pace == "run":
            self._obey(self._keys.wait(min(left, REFRESH_SECONDS)))
            if self._region.size != self._size:
                self.flush()
        if self._is_paused:
            self._update()

    @property
    def _is_paused(self) -> bool:
        return self._pace == "paused"

    def _obey(self, typed: Sequence[Key]) -> None:
        for key in typed:
            if key == "quit":
                engine = self._engine
                unfinished = engine.get_num_unfinished_requests()
                raise StoppedByUserError(
                    f"ended by the user after {counted(engine.counts.steps, 'step')}, with {unfinished:,} of "
                    f"{counted(len(engine.requests), 'request')} unfinished"
                )
            if key == "space":
                self._pace = "run" if self._is_paused else "paused"
            else:
                self._pace = "step" if key == "right" else "event"

    def _open(self) -> None:
        self._keys.begin()
        legend = legend_lines(self._size[0], signs_of(self._engine, folds=self._folds))
        self._region.open()
        self._region.draw([*legend, [], self._table.header_fragments()], [])
        self.flush()

    def _draw(self, rows: Sequence[Any]) -> None:
        size = self._region.size
        self._recent.extend(rows)
        if size != self._size:
            self._size = size
            self._table = self._make_table(size[0])
            lines = [self._table.header_fragments(), *map(self._table.row_fragments, self._recent)]
            self._region.repaint(lines, self._panel())
        else:
            self._region.draw([self._table.row_fragments(row) for row in rows], self._panel())

    def _panel(self) -> Sequence[Line]:
        """Return what is below the rows, on a part of the screen: the row that may grow, and the panel."""
        width, height = self._size
        lanes = lanes_that_fit(width - ECHO_CELLS, height, len(self._engine.requests))
        panel: list[Line] = []
        if self._folds:
            pending = self._folder.pending
            panel.append([] if pending is None else clip_line(self._table.row_fragments(pending), width - 1))
        panel += panel_lines(
            self._monitor.snapshot(lanes[0] * lanes[1]),
            width - ECHO_CELLS,
            lanes,
            has_keys=self._keys.is_active,
            is_paused=self._is_paused,
        )
        return panel[: max(1, height - 2)]

    def _close(self) -> None:
        """Remove the panel, and restore the cursor and the keyboard, even if a write fails."""
        try:
            self._region.close()
        finally:
            self._keys.restore()

    def _handle_stops(self) -> None:
        """Restore the terminal while Ctrl-Z stops the process."""
        if not hasattr(signal, "SIGTSTP") or threading.current_thread() is not threading.main_thread():
            return
        if signal.getsignal(signal.SIGTSTP) == signal.SIG_DFL:
            self._old_handlers[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, self._stop)
        self._old_handlers[signal.SIGCONT] = signal.signal(signal.SIGCONT, self._continue)

    def _restore_signals(self) -> None:
        for number, handler in self._old_handlers.items():
            signal.signal(number, handler)
        self._old_handlers.clear()

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._region.close()
        self._keys.restore()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)  # the process stops here, until it is continued
        signal.signal(signal.SIGTSTP, self._stop)
        self._continue()

    def _continue(self, _number: int = 0, _frame: FrameType | None = None) -> None:
        self._monitor.pause()
        self._keys.begin()
        self._region.open()
        self._drawn_at = float("-inf")
