"""The table of steps as they happen: above a live footer on a terminal, in rows alone elsewhere.

Rows are buffered and drawn together about twelve times a second, so that the terminal does not slow down the
engine. No row is dropped: buffered rows are drawn at the end, after an error, and after Ctrl-C.
"""

from __future__ import annotations

import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, TextIO

from tracesim.engine.step_records import StepRecord
from tracesim_cli.terminal.display import Display, open_console
from tracesim_cli.terminal.lines import Fragment, print_lines, rich_text
from tracesim_cli.terminal.text import clip, counted
from tracesim_cli.views.step_table import StepTable

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.text import Text

REFRESH_SECONDS = 1 / 12

_SHOW_CURSOR = "\x1b[?25h"
_ONE_LINE_FROM = 90
_MAX_BAR = 40


def open_view(
    stream: TextIO,
    display: Display,
    *,
    requests: int,
    blocks: int | None = None,
    delay: float = 0.0,
    clock: Callable[[], float] = time.monotonic,
) -> StepView:
    """Return the view for a run of `requests` requests with `blocks` KV cache blocks (None: unlimited).

    `delay` is the pause in seconds that the caller makes after each step.
    """
    if not display.live:
        table = StepTable(display.width, finite_blocks=blocks is not None)
        return RowView(stream, table, display, delay=delay, clock=clock)
    return LiveView(open_console(stream), Footer(requests, blocks), delay=delay, clock=clock)


class StepView(ABC):
    """A view that shows every step given to `on_step`, in a `with` block or until `finish` is called."""

    def __init__(self, *, delay: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._delay = delay
        self._clock = clock
        self._buffer: list[StepRecord] = []
        self._drawn_at = float("-inf")
        self._closed = False

    def __enter__(self) -> StepView:
        try:
            with _deferred_interrupt():
                self._open()
        except BaseException:
            self._abandon()
            raise
        return self

    def on_step(self, record: StepRecord) -> None:
        """Take a step, and draw the buffer if the next redraw is due before the next step."""
        self._buffer.append(record)
        if self._clock() + self._delay - self._drawn_at >= REFRESH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Draw the steps in the buffer."""
        with _deferred_interrupt():
            records, self._buffer = self._buffer, []
            self._draw(records)
            self._drawn_at = self._clock()

    def finish(self) -> None:
        """Draw the steps in the buffer and restore the terminal."""
        if self._closed:
            return
        try:
            if self._buffer:
                self.flush()
        finally:
            self._closed = True
            with _deferred_interrupt():
                self._close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, OSError):  # it may be the stream that failed: write nothing more to it
            self._abandon()
        else:
            self.finish()

    def _abandon(self) -> None:
        self._closed = True
        self._buffer.clear()
        with suppress(OSError):
            self._close()

    @abstractmethod
    def _open(self) -> None: ...

    @abstractmethod
    def _draw(self, records: Sequence[StepRecord]) -> None: ...

    @abstractmethod
    def _close(self) -> None: ...


class RowView(StepView):
    """Rows alone, without redraws and footer."""

    def __init__(
        self,
        stream: TextIO,
        table: StepTable,
        display: Display,
        *,
        delay: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(delay=delay, clock=clock)
        self._stream = stream
        self._table = table
        self._display = display

    def _open(self) -> None:
        self._write([self._table.header_fragments()])

    def _draw(self, records: Sequence[StepRecord]) -> None:
        self._write([self._table.row_fragments(record) for record in records])

    def _close(self) -> None:
        pass

    def _write(self, rows: Sequence[Sequence[Fragment]]) -> None:
        print_lines(self._stream, self._display, rows)
        self._stream.flush()


class LiveView(StepView):
    """Rows on a terminal, in colour, above a footer that is redrawn with them."""

    def __init__(
        self,
        console: Console,
        footer: Footer,
        *,
        delay: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        from rich.live import Live

        super().__init__(delay=delay, clock=clock)
        self._console = console
        self._footer = footer
        self._width = 0
        self._live = Live(
            footer,
            console=console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def on_step(self, record: StepRecord) -> None:
        """Take a step and count it in the footer."""
        self._footer.count(record)
        super().on_step(record)

    def _open(self) -> None:
        self._footer.start(self._clock)
        self._live.start()
        self._draw([])

    def _draw(self, records: Sequence[StepRecord]) -> None:
        """Print rows and footer in one write, with new column titles if the width has changed."""
        from rich.segment import Segment, Segments

        lines: list[list[Fragment]] = []
        if self._width != self._console.width:
            self._width = self._console.width
            self._table = StepTable(self._width, finite_blocks=self._footer.blocks is not None)
            lines.append(self._table.header_fragments())
        lines += map(self._table.row_fragments, records)
        segments: list[Segment] = []  # without Rich's `Text`, whose wrapping takes longest and is not needed
        for line in lines:
            for text, style in line:
                segments.append(Segment(text, self._console.get_style(style) if style else None))
            segments.append(Segment.line())
        self._console.print(Segments(segments), crop=False)

    def _close(self) -> None:
        """Remove the footer and show the cursor, even if Rich fails at its last write."""
        try:
            self._live.stop()
        except BaseException:
            with suppress(OSError):
                self._console.file.write(_SHOW_CURSOR)
                self._console.file.flush()
            raise


class Footer:
    """The line below the rows: the progress of the run, and what its engine has."""

    def __init__(self, requests: int, blocks: int | None) -> None:
        self.blocks = blocks
        self._requests = requests
        self._finished = 0
        self._steps = 0
        self._last: StepRecord | None = None
        self._clock: Callable[[], float] = time.monotonic
        self._started_at = self._clock()

    def start(self, clock: Callable[[], float]) -> None:
        """Start to measure the speed with `clock`."""
        self._clock = clock
        self._started_at = clock()

    def count(self, record: StepRecord) -> None:
        """Count a step."""
        self._last = record
        self._steps += 1
        self._finished += len(record.finished)

    def lines(self, width: int) -> list[list[Fragment]]:
        """Return the footer for a terminal of `width` cells, in two lines if the terminal is narrow."""
        progress = f" {self._finished:,}/{counted(self._requests, 'request')}"
        if width < _ONE_LINE_FROM:
            bar = self._bar(width - len(progress))
            return [[*bar, (clip(progress, width), "")], [(self._engine_state(width), "dim")]]
        state = self._engine_state(width - len(progress) - 2)
        bar = self._bar(width - len(progress) - len(state) - 2)
        return [[*bar, (progress, ""), (f"  {state}", "dim")]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        for line in self.lines(options.max_width - 3):  # without the cells of the ^C that a terminal echoes
            yield rich_text([*line, ("\n", "")])

    def _engine_state(self, width: int) -> str:
        """Return running and waiting requests, KV cache usage and speed, shortened if `width` is small."""
        running, waiting = (self._last.running, self._last.waiting) if self._last else (0, self._requests)
        elapsed = self._clock() - self._started_at
        speed = f"{self._steps / elapsed:,.0f} steps/s" if elapsed > 0 else "- steps/s"
        blocks = share = "unlimited"
        if self.blocks is not None:
            free = self._last.free_blocks if self._last else None
            used = 0 if free is None else self.blocks - free
            blocks, share = f"{used:,}/{counted(self.blocks, 'block')}", f"{used / self.blocks:.0%}"
        long = f"running {running:,}  waiting {waiting:,}  KV cache {blocks}  {speed}"
        short = f"run {running:,}  wait {waiting:,}  KV {share}  {speed}"
        return long if len(long) <= width else clip(short, width)

    def _bar(self, width: int) -> list[Fragment]:
        length = max(0, min(width, _MAX_BAR))
        done = length * self._finished // self._requests if self._requests else length
        return [("━" * done, "green"), ("━" * (length - done), "dim")]


@contextmanager
def _deferred_interrupt() -> Iterator[None]:
    """Defer a Ctrl-C to the end of the block, so that no row is lost or torn, but not a second one."""
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler) or threading.current_thread() is not threading.main_thread():
        yield
        return
    deferred: list[FrameType | None] = []

    def defer(number: int, frame: FrameType | None) -> None:
        if deferred:
            deferred.clear()
            handler(number, frame)
        deferred.append(frame)

    signal.signal(signal.SIGINT, defer)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if deferred:
            handler(signal.SIGINT, deferred[0])
