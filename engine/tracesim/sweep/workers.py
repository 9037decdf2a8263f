"""Where points are replayed: in this process, or in a pool of processes on this machine.

All kinds of workers have one interface, `Workers`, and a replay has the same outcome in all of them; the kind
that uses a Ray cluster is in `ray_workers`.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import pickle
import signal
import sys
import tempfile
import threading
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Final, Protocol

from tracesim.errors import TracesimError
from tracesim.sweep.points import describe
from tracesim.sweep.replay_point import Outcome, Replay, replay_point
from tracesim.sweep.shared_trace import SharedTrace

MAX_LOSSES: Final = 5
"""How often in a row workers may be lost without any result between."""


class WorkersLostError(TracesimError):
    """Processes that replay points end before they have a result, again and again."""

    def __init__(self, replay: Replay) -> None:
        super().__init__(
            f"processes that replay points were killed {MAX_LOSSES} times in a row, the last one at "
            f"{describe(replay.point.varied) or 'the only point'}; is the memory used up? Try fewer --jobs"
        )


class Workers(Protocol):
    """Replays points, several at a time. A replay is known by its number, which the caller gives it.

    `num_workers` is the number of replays at a time. Close the workers when they are not needed any more;
    what they still do then is lost.
    """

    num_workers: int

    def submit(self, number: int, replay: Replay) -> None:
        """Take on a replay."""

    def next_outcome(self) -> tuple[int, Outcome]:
        """Wait for any of the replays that were taken on; return its number and its outcome.

        Raises WorkersLostError if processes end before they have a result, again and again.
        """

    def close(self) -> None:
        """End the workers."""


class ThisProcess:
    """Replays points in this process, one after another."""

    num_workers = 1

    def __init__(self, trace: SharedTrace) -> None:
        self._trace = trace
        self._replays: deque[tuple[int, Replay]] = deque()

    def submit(self, number: int, replay: Replay) -> None:
        """Take on a replay."""
        self._replays.append((number, replay))

    def next_outcome(self) -> tuple[int, Outcome]:
        """Replay the next point and return its outcome."""
        number, replay = self._replays.popleft()
        return number, replay_point(self._trace, replay)

    def close(self) -> None:
        """Do nothing."""


class ProcessPool:
    """Replays points in processes of their own, and again where a process was killed.

    Where a process may fork safely, which is on Linux while it has a single thread, the processes share the
    memory of the trace with this one. Elsewhere each reads it from one temporary file.
    """

    def __init__(self, trace: SharedTrace, num_workers: int) -> None:
        self.num_workers = num_workers
        self._trace = trace
        self._file: Path | None = None
        self._losses = 0
        self._executor: ProcessPoolExecutor | None = None
        self._others = set(multiprocessing.active_children())
        self._replays: dict[Future[Outcome], tuple[int, Replay]] = {}

    def submit(self, number: int, replay: Replay) -> None:
        """Take on a replay."""
        if self._executor is None:
            self._executor = self._open()
        try:
            future = self._executor.submit(_replay, replay)
        except BrokenProcessPool as error:  # `next_outcome` finds out, and repeats the replay
            future = Future()
            future.set_exception(error)
        self._replays[future] = number, replay

    def next_outcome(self) -> tuple[int, Outcome]:
        """Wait for the next outcome of any replay."""
        while True:
            done, _ = wait(self._replays, return_when=FIRST_COMPLETED)
            future = next(iter(done))
            number, replay = self._replays[future]
            if not isinstance(future.exception(), BrokenProcessPool):
                del self._replays[future]
                self._losses = 0
                return number, future.result()
            self._losses += 1
            if self._losses == MAX_LOSSES:
                raise WorkersLostError(replay)
            self._repeat_lost()

    def close(self) -> None:
        """End the processes, also in the middle of a replay, and remove the temporary file."""
        if self._executor is not None:
            for process in set(multiprocessing.active_children()) - self._others if self._replays else ():
                process.kill()
            self._executor.shutdown(cancel_futures=True)
        if self._file is not None:
            self._file.unlink(missing_ok=True)
        gc.unfreeze()

    def _open(self) -> ProcessPoolExecutor:
        """Return an executor whose processes have the trace."""
        if sys.platform == "linux" and threading.active_count() == 1:
            gc.collect()
            gc.freeze()  # so that collections in the processes do not copy the memory that they share
            return ProcessPoolExecutor(
                self.num_workers, multiprocessing.get_context("fork"), _start_worker, (self._trace,)
            )
        if self._file is None:
            descriptor, name = tempfile.mkstemp(prefix="tracesim-sweep-", suffix=".pickle")
            self._file = Path(name)
            with os.fdopen(descriptor, "wb") as file:
                pickle.dump(self._trace, file, pickle.HIGHEST_PROTOCOL)
        return ProcessPoolExecutor(
            self.num_workers, multiprocessing.get_context("spawn"), _start_worker, (self._file,)
        )

    def _repeat_lost(self) -> None:
        """Take on again, in new processes, every replay that has no outcome because processes ended."""
        assert self._executor is not None
        self._executor.shutdown()
        self._executor = None
        lost = [
            (future, *taken)
            for future, taken in self._replays.items()
            if not future.done() or isinstance(future.exception(), BrokenProcessPool)
        ]
        for future, number, replay in lost:
            del self._replays[future]
            self.submit(number, replay)


_shared: list[SharedTrace] = []
"""The trace of this process, if it is one of a pool."""


def _start_worker(trace: SharedTrace | Path) -> None:
    """Prepare a process of a pool: it has the trace, leaves Ctrl-C to its parent, and ends with it."""
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if isinstance(trace, Path):
        with trace.open("rb") as file:
            trace = pickle.load(file)
        gc.freeze()
    assert isinstance(trace, SharedTrace)
    _shared[:] = [trace]


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _replay(replay: Replay) -> Outcome:
    return replay_point(_shared[0], replay)
