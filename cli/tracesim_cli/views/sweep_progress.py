"""The progress of a sweep on a terminal: a bar with the time that is left, removed at the end."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from tracesim.sweep.results_file import Result
from tracesim.sweep.run import Progress
from tracesim_cli.terminal.display import choose_display, open_console
from tracesim_cli.terminal.exit_codes import print_message
from tracesim_cli.terminal.text import counted

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress


class SweepProgress:
    """Shows how far a sweep is. What is counted are `things`, "points" or "searches".

    A sweep that is interrupted prints how much is in the file of its results.
    """

    def __init__(self, things: str, results: Path | None, *, quiet: bool) -> None:
        """With `quiet` nothing is shown."""
        self._things, self._results, self._quiet = things, results, quiet
        self._started = time.monotonic()
        self._last = Progress(0, 0, 0, 0)
        self._bar: RichProgress | None = None

    def __enter__(self) -> SweepProgress:
        display = choose_display(os.environ, sys.stderr)
        if display.live and not self._quiet:
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
            from rich.progress import Progress as RichProgress

            # Without its thread, as a process forks safely only while it has a single one.
            self._bar = RichProgress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[left]}"),
                console=open_console(sys.stderr),
                auto_refresh=False,
                redirect_stdout=False,
                redirect_stderr=False,
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task(self._things, total=None, left="")
        return self

    def on_result(self, result: Result, progress: Progress) -> None:
        """Take note of a result."""
        self._last = progress
        if self._bar is None:
            return
        left = ""
        done_now = progress.replayed if self._things == "points" else progress.done
        if done_now:
            seconds = (time.monotonic() - self._started) / done_now * (progress.total - progress.done)
            left = f"{int(seconds) // 60}:{int(seconds) % 60:02} left"
        self._bar.update(self._task, total=progress.total, completed=progress.done, left=left, refresh=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        known, replayed = self._last.known, self._last.replayed
        if isinstance(error, (KeyboardInterrupt, SystemExit, OSError)) and self._results is not None:
            kept = counted(known + replayed, "result")
            print_message(f"{kept} so far: {self._results}; the same command continues from there")
        elif error is None and known and not self._quiet:
            print_message(f"{known:,} of {known + replayed:,} results were in {self._results} already")
