"""The table as it happens, in rows: what every view does, and the view that draws nothing else.

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
from typing import Any, Final, Protocol, TextIO

from tracesim.engine.step_records import StepRecord
from tracesim.engine.stride_records import StrideRecord
from tracesim_cli.terminal.display import Display
from tracesim_cli.terminal.lines import Fragment, print_lines
from tracesim_cli.views.folding import FoldedRow, RowFolder

REFRESH_SECONDS: Final = 1 / 12


class Table(Protocol):
    """What draws rows."""

    def header_fragments(self) -> list[Fragment]:
        """Return the line of column titles."""
        ...

    def row_fragments(self, row: Any, /) -> list[Fragment]:
        """Return the line of a row."""
        ...


class StepView(ABC):
    """A view that shows a run in a `with` block or until `finish` is called.

    It takes steps by `on_step` and strides by `on_stride`, which are None where it does not need them. If it
    takes both, then first the record of a step, then that of its stride.
    """

    def __init__(
        self,
        make_table: Callable[[int], Table],
        *,
        folds: bool,
        delay: float,
        clock: Callable[[], float],
    ) -> None:
        self.on_step: Callable[[StepRecord], object] | None = None if folds else self._take_step
        self.on_stride: Callable[[StrideRecord], object] | None = self._take_stride if folds else None
        self._make_table = make_table
        self._folder = RowFolder()
        self._folds = folds
        self._delay = delay
        self._clock = clock
        self._buffer: list[Any] = []
        self._drawn_at = float("-inf")
        self._closed = False

    def __enter__(self) -> StepView:
        try:
            with _deferred_signals():
                self._open()
            self._handle_stops()
        except BaseException:
            self._abandon()
            raise
        return self

    def flush(self) -> None:
        """Draw the rows in the buffer."""
        with _deferred_signals():
            rows, self._buffer = self._buffer, []
            self._draw(rows)
            self._drawn_at = self._clock()

    def finish(self) -> None:
        """Draw the rows that are left and restore the terminal."""
        if self._closed:
            return
        try:
            if self._folds:
                self._buffer += self._folder.end()
            if self._buffer:
                self.flush()
        finally:
            self._closed = True
            try:
                with _deferred_signals():
                    self._close()
            finally:
                self._restore_signals()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, OSError):  # it may be the stream that failed: write nothing more to it
            self._abandon()
        else:
            self.finish()

    @abstractmethod
    def _take_step(self, record: StepRecord) -> None: ...

    @abstractmethod
    def _take_stride(self, record: StrideRecord) -> None: ...

    def _is_due(self) -> bool:
        """Return whether the rows in the buffer must be drawn before the next row comes."""
        return self._clock() + self._delay - self._drawn_at >= REFRESH_SECONDS

    def _abandon(self) -> None:
        self._closed = True
        self._buffer.clear()
        with suppress(OSError):
            self._close()
        self._restore_signals()

    @abstractmethod
    def _handle_stops(self) -> None: ...

    @abstractmethod
    def _restore_signals(self) -> None: ...

    @abstractmethod
    def _open(self) -> None: ...

    @abstractmethod
    def _draw(self, rows: Sequence[Any]) -> None: ...

    @abstractmethod
    def _close(self) -> None: ...


class RowView(StepView):
    """Rows alone, without redraws and panel."""

    def __init__(
        self,
        stream: TextIO,
        display: Display,
        make_table: Callable[[int], Table],
        *,
        folds: bool,
        delay: float,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(make_table, folds=folds, delay=delay, clock=clock)
        self._stream = stream
        self._display = display
        self._table = make_table(display.width)

    def _take_step(self, record: StepRecord) -> None:
        self._show(record)

    def _take_stride(self, record: StrideRecord) -> None:
        for row in self._folder.add(record):
            self._show(row)

    def _show(self, row: StepRecord | FoldedRow) -> None:
        self._buffer.append(row)
        if self._is_due():
            self.flush()
        if self._delay:
            time.sleep(self._delay)

    def _open(self) -> None:
        self._write([self._table.header_fragments()])

    def _draw(self, rows: Sequence[Any]) -> None:
        self._write([self._table.row_fragments(row) for row in rows])

    def _close(self) -> None:
        pass

    def _handle_stops(self) -> None:
        pass

    def _restore_signals(self) -> None:
        pass

    def _write(self, rows: Sequence[Sequence[Fragment]]) -> None:
        print_lines(self._stream, self._display, rows)
        self._stream.flush()


@contextmanager
def _deferred_signals() -> Iterator[None]:
    """Defer Ctrl-C and Ctrl-Z to the end of the block, so that no row is lost or torn; not a second."""
    handlers: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        numbers = [signal.SIGINT, *([signal.SIGTSTP, signal.SIGCONT] if hasattr(signal, "SIGTSTP") else [])]
        handlers = {number: signal.getsignal(number) for number in numbers}
        handlers = {number: handler for number, handler in handlers.items() if callable(handler)}
    deferred: dict[int, FrameType | None] = {}

    def defer(number: int, frame: FrameType | None) -> None:
        if number in deferred:
            del deferred[number]
            handlers[number](number, frame)
        deferred[number] = frame

    for number in handlers:
        signal.signal(number, defer)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number, frame in deferred.items():
            handlers[number](number, frame)
