"""Measuring: code and its references timed in turns, whole processes, and a table of the results."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

_DEVELOPERS_OWN = ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED")
_ENVIRON = {name: value for name, value in os.environ.items() if name not in _DEVELOPERS_OWN}
"""The environment of an installed command; with these variables every start would compile tracesim."""

_UNITS = (("s", 1), ("ms", 1e-3), ("µs", 1e-6))
_PEAK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


class Ratio(NamedTuple):
    """The ratio of the fastest rounds, and the median of the ratios round by round."""

    best: float
    median: float


@dataclass(frozen=True)
class Times:
    """The seconds of each round."""

    rounds: Sequence[float]

    @property
    def best(self) -> float:
        """The fastest round."""
        return min(self.rounds)

    def each(self, count: float) -> Times:
        """Return the times per one of `count`."""
        return Times([seconds / count for seconds in self.rounds])

    def over(self, other: Times) -> Ratio:
        """Return how many times as long these are."""
        in_turn = [mine / theirs for mine, theirs in zip(self.rounds, other.rounds, strict=True)]
        return Ratio(self.best / other.best, statistics.median(in_turn))

    def __str__(self) -> str:
        unit, size = next(((unit, size) for unit, size in _UNITS if self.best >= size), _UNITS[-1])
        return f"{self.best / size:.3g} {unit}"


def in_turns(
    benchmark: BenchmarkFixture,
    measured: Callable[..., object],
    *yardsticks: Callable[[], float],
    prepare: Callable[[], object] | None = None,
    check: Callable[..., object] | None = None,
    rounds: int = 7,
) -> list[Times]:
    """Time `measured` and its yardsticks in turns, A B A B ..., so that a busy machine slows all of them.

    A yardstick returns the seconds it took. `measured`, and `check` after it, are called with what `prepare`
    returns, if it is given; these two are not timed. The first round does not count. The times of `measured`
    are returned first.
    """
    taken: list[list[float]] = [[] for _ in yardsticks]

    def before_each() -> tuple[tuple[object, ...], dict[str, object]]:
        for yardstick, seconds in zip(yardsticks, taken, strict=True):
            seconds.append(yardstick())
        return (prepare(),) if prepare else (), {}

    benchmark.pedantic(  # type: ignore[no-untyped-call]
        measured, setup=before_each, teardown=check, rounds=rounds, warmup_rounds=1
    )
    stats: Any = benchmark.stats
    return [Times(stats.stats.data), *(Times(seconds[1:]) for seconds in taken)]


def seconds_of(*command: str) -> float:
    """Return how long a process takes, without its output. Raises CalledProcessError if it fails."""
    started = time.perf_counter()
    subprocess.run(command, env=_ENVIRON, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def output_of(*command: str) -> str:
    """Return the standard output of a process. Raises CalledProcessError if it fails."""
    return subprocess.run(command, env=_ENVIRON, stdout=subprocess.PIPE, check=True, encoding="utf-8").stdout


def peak_megabytes(*command: str) -> float:
    """Return the peak memory of a process. Raises CalledProcessError if it fails.

    A process inherits the peak of the one that starts it, so it is started by a small one.
    """
    peak = int(output_of(sys.executable, "-c", _PEAK, *command))
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6


class _Slot:
    __slots__ = ("cursor", "end", "ids")

    def __init__(self, ids: list[int]) -> None:
        self.ids, self.cursor, self.end = ids, 0, len(ids)


BARE_TOKENS = 256 * 1_000


def bare_loop() -> float:
    """Return the yardstick Y: the seconds in which plain Python emits `BARE_TOKENS` tokens, 256 per step."""
    running = [_Slot(list(range(BARE_TOKENS // 256))) for _ in range(256)]
    started = time.perf_counter()
    has_ended = False
    while not has_ended:
        step = []
        for slot in running:
            token = slot.ids[slot.cursor]
            slot.cursor += 1
            step.append((slot, token))
            if slot.cursor == slot.end:
                has_ended = True
    return time.perf_counter() - started


@dataclass(frozen=True)
class Figure:
    """A row of the table: what was measured, the reference, their ratio, and the ratio wanted, if any."""

    name: str
    measured: object
    yardstick: str
    ratio: Ratio
    sense: Literal["at least", "at most"] = "at most"
    wanted: float | None = None

    def cells(self) -> list[str]:
        """Return the row, column by column."""
        cells = [self.name, str(self.measured), self.yardstick, *(f"{ratio:.3g}" for ratio in self.ratio)]
        if self.wanted is None:
            return [*cells, "", ""]
        sign = 1 if self.sense == "at least" else -1
        reached = {sign * ratio >= sign * self.wanted for ratio in self.ratio}
        verdict = "unclear" if len(reached) > 1 else "yes" if reached.pop() else "no"
        return [*cells, f"{self.sense} {self.wanted:.3g}", verdict]


class Table(list[Figure]):
    """All figures of a run, shown at its end; "unclear" if only one of the two ratios is reached."""

    HEAD = ("figure", "best", "yardstick", "ratio", "median", "wanted", "reached")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show the table; pytest calls this at the end of the run."""
        rows = [[*self.HEAD], *(figure.cells() for figure in self)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        terminalreporter.section(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        for row in rows:
            line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            terminalreporter.write_line(line.rstrip())
