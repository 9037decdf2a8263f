"""How it is measured: two sides timed in turns, whole processes, and one table of what came out."""

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
"""As an installed command has it: without these, every start would compile tracesim anew."""

_UNITS = (("s", 1), ("ms", 1e-3), ("µs", 1e-6))
_PEAK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


class Ratio(NamedTuple):
    """Of the quickest rounds, and the one in the middle of the ratios round by round."""

    best: float
    median: float


@dataclass(frozen=True)
class Times:
    """Seconds, round by round."""

    rounds: Sequence[float]

    @property
    def best(self) -> float:
        """The quickest round."""
        return min(self.rounds)

    def each(self, count: float) -> Times:
        """What one of `count` took."""
        return Times([seconds / count for seconds in self.rounds])

    def over(self, other: Times) -> Ratio:
        """How many times longer these are."""
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
    """Time one thing and its yardsticks in turns, A B A B ..., so that a busy machine slows all alike.

    A yardstick returns the seconds it took. `measured`, and `check` after it, get what `prepare` returns, if
    it is given; these two are not timed. A first round is thrown away. The times of `measured` come first.
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
    """How long a process takes, its output thrown away. Raises CalledProcessError when it fails."""
    started = time.perf_counter()
    subprocess.run(command, env=_ENVIRON, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def output_of(*command: str) -> str:
    """What a process writes to standard output. Raises CalledProcessError when it fails."""
    return subprocess.run(command, env=_ENVIRON, stdout=subprocess.PIPE, check=True, encoding="utf-8").stdout


def peak_megabytes(*command: str) -> float:
    """The most memory that a process has held. Raises CalledProcessError when it fails.

    A process starts with the peak of the one that starts it; so a small one comes in between.
    """
    peak = int(output_of(sys.executable, "-c", _PEAK, *command))
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6


class _Slot:
    __slots__ = ("cursor", "end", "ids")

    def __init__(self, ids: list[int]) -> None:
        self.ids, self.cursor, self.end = ids, 0, len(ids)


BARE_TOKENS = 256 * 1_000


def bare_loop() -> float:
    """The yardstick Y: what plain Python needs to emit `BARE_TOKENS` one by one, in steps of 256."""
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
    """A line of the table: what was measured, beside what, and how much of it is wanted, if anything is."""

    name: str
    measured: object
    yardstick: str
    ratio: Ratio
    sense: Literal["at least", "at most"] = "at most"
    wanted: float | None = None

    def cells(self) -> list[str]:
        """The line, column by column."""
        cells = [self.name, str(self.measured), self.yardstick, *(f"{ratio:.3g}" for ratio in self.ratio)]
        if self.wanted is None:
            return [*cells, "", ""]
        sign = 1 if self.sense == "at least" else -1
        reached = {sign * ratio >= sign * self.wanted for ratio in self.ratio}
        verdict = "unclear" if len(reached) > 1 else "yes" if reached.pop() else "no"
        return [*cells, f"{self.sense} {self.wanted:.3g}", verdict]


class Table(list[Figure]):
    """All figures of a run, shown at its end. "Unclear" is what only one of the two ratios reaches."""

    HEAD = ("figure", "best", "yardstick", "ratio", "median", "wanted", "reached")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show it: pytest calls this when everything has run."""
        rows = [[*self.HEAD], *(figure.cells() for figure in self)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        terminalreporter.section(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        for row in rows:
            line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            terminalreporter.write_line(line.rstrip())
