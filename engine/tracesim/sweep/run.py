"""Sweeps and searches, run by workers: what is replayed next, what is known already, and what is kept."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Final, Generic, TypeAlias, TypeVar

from tracesim.analysis.metrics import Slo
from tracesim.errors import ConfigError, brief
from tracesim.limits import MAX_FACTOR
from tracesim.sweep.points import Point
from tracesim.sweep.replay_point import Outcome, Replay
from tracesim.sweep.results_file import Result, ResultsFile, key_of
from tracesim.sweep.search import Ladder, find_last
from tracesim.sweep.shared_trace import SharedTrace
from tracesim.sweep.workers import ProcessPool, ThisProcess, Workers
from tracesim.timing.arrival_process import parse_arrivals

T = TypeVar("T")

Search: TypeAlias = "Generator[Replay, Outcome, T]"
"""Replays that depend on the outcomes of those before: yields a replay, receives its outcome."""

OnResult: TypeAlias = "Callable[[Result, Progress], object]"

SEEDS: Final = (0, 1, 2)
"""The seeds of a search in which chance has a part, if none are given."""

_FIRST_FACTOR: Final = 1.2
"""The factor between the first two rates that a search tries."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How much of a sweep is done: points or, of a search, configurations with their seeds.

    `known` of the replays so far were in the results file, and `replayed` were not.
    """

    done: int
    total: int
    known: int
    replayed: int


@dataclass(frozen=True, slots=True)
class Found:
    """The highest rate of arrivals, or the least number of replicas, at which the objective holds.

    `by_seed` has the value of each seed: None where no value holds, and an infinite rate where the objective
    is met with all requests at once. `mean` is None if a value is. `error` is why a point cannot be replayed.
    """

    point: Point
    by_seed: Mapping[int, float | None]
    error: str | None = None

    @property
    def mean(self) -> float | None:
        """The mean over the seeds."""
        values = [value for value in self.by_seed.values() if value is not None]
        return fmean(values) if values and len(values) == len(self.by_seed) else None

    @property
    def spread(self) -> tuple[float, float] | None:
        """The lowest and the highest value over the seeds."""
        values = [value for value in self.by_seed.values() if value is not None]
        return (min(values), max(values)) if values else None


def open_workers(trace: SharedTrace, jobs: int | None = None) -> Workers:
    """Return workers on this machine: as many processes as `jobs`, by default one for each core.

    One job is done in this process.
    """
    if jobs is None:
        jobs = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return ThisProcess(trace) if jobs == 1 else ProcessPool(trace, jobs)


def run_sweep(
    trace: SharedTrace,
    points: Sequence[Point],
    *,
    slo: Slo | None = None,
    skip_invalid: bool = False,
    workers: Workers | None = None,
    results: str | os.PathLike[str] | None = None,
    on_result: OnResult | None = None,
) -> list[Result]:
    """Replay every point, and return the results in the order of the points.

    `results` is a file from which a sweep that was interrupted continues; see `ResultsFile`. `on_result` is
    called with each result as it comes. `workers` replay the points, by default a process for each core, and
    are closed by whoever opened them. Raises WorkersLostError, and what `ResultsFile` raises.
    """
    searches = [_replay_once(Replay(point, slo, None, skip_invalid)) for point in points]
    outcomes = _run(trace, searches, workers, results, on_result)
    return [Result(replay, outcome, trace.sha256) for replay, outcome in outcomes]


def find_max_rate(
    trace: SharedTrace,
    points: Sequence[Point],
    *,
    slo: Slo,
    attainment: float = 0.99,
    precision: float = 0.01,
    seeds: Sequence[int] | None = None,
    skip_invalid: bool = False,
    workers: Workers | None = None,
    results: str | os.PathLike[str] | None = None,
    on_result: OnResult | None = None,
) -> list[Found]:
    """Return for each configuration the highest rate of arrivals at which the objective holds.

    It holds if the fraction `attainment` of all requests meets `slo` and the queue does not only grow. Rates
    are a factor of `1 + precision` apart, and equal for all configurations. With equal seeds the gaps between
    arrivals are equal up to that factor, in all rates and configurations, so that differences are not chance;
    the differences between seeds are. The rest is as in `run_sweep`; raises ConfigError, too.
    """
    _check_objective(points, attainment)
    for point in points:
        point.but(rate=1.0)
    if not 0.001 <= precision <= 1:
        raise ConfigError(f"is {brief(precision)}; must be from 0.1% to 100%", setting="precision")
    return _find(
        lambda replay: _search_rate(replay, Ladder(precision)),
        trace,
        points,
        Replay(points[0], slo, attainment, skip_invalid),
        seeds or _default_seeds([point.but(rate=1.0) for point in points]),
        workers,
        results,
        on_result,
    )


def find_min_replicas(
    trace: SharedTrace,
    points: Sequence[Point],
    *,
    slo: Slo,
    attainment: float = 0.99,
    most: int = 1024,
    seeds: Sequence[int] | None = None,
    skip_invalid: bool = False,
    workers: Workers | None = None,
    results: str | os.PathLike[str] | None = None,
    on_result: OnResult | None = None,
) -> list[Found]:
    """Return for each configuration the least number of replicas at which the objective holds.

    At most `most` are tried. The arrivals are those of the configuration. The rest is as in `find_max_rate`.
    """
    _check_objective(points, attainment)
    return _find(
        lambda replay: _search_replicas(replay, most),
        trace,
        points,
        Replay(points[0], slo, attainment, skip_invalid),
        seeds or _default_seeds(points),
        workers,
        results,
        on_result,
    )


def _default_seeds(points: Sequence[Point]) -> Sequence[int]:
    """Return the seeds of a search that has none: several if chance has a part in any of the points."""
    has_chance = any(
        parse_arrivals(point.args.arrivals).is_random or point.args.router == "random" for point in points
    )
    return SEEDS if has_chance else SEEDS[:1]


def _find(
    search: Callable[[Replay], Search[float | str | None]],
    trace: SharedTrace,
    points: Sequence[Point],
    replay: Replay,
    seeds: Sequence[int],
    workers: Workers | None,
    results: str | os.PathLike[str] | None,
    on_result: OnResult | None,
) -> list[Found]:
    """Search in each point with each seed, as `replay` does it."""
    searches = [search(replace(replay, point=point.but(seed=seed))) for point in points for seed in seeds]
    values = _run(trace, searches, workers, results, on_result)
    found = []
    for index, point in enumerate(points):
        own = values[index * len(seeds) : (index + 1) * len(seeds)]
        error = next((value for value in own if isinstance(value, str)), None)
        by_seed = {seed: value for seed, value in zip(seeds, own, strict=True) if not isinstance(value, str)}
        found.append(Found(point, by_seed if error is None else {}, error))
    return found


def _check_objective(points: Sequence[Point], attainment: float) -> None:
    """Raise ConfigError if an objective cannot be searched for in these points."""
    if not 0 < attainment <= 1:
        raise ConfigError(f"is {brief(attainment)}; must be over 0 and at most 100%", setting="attainment")
    for point in points:
        if point.args.clock == "steps":
            raise ConfigError("is steps; a search needs seconds: give a clock, or a profile", setting="clock")


def _replay_once(replay: Replay) -> Search[tuple[Replay, Outcome]]:
    outcome = yield replay
    return replay, outcome


def _search_rate(replay: Replay, ladder: Ladder) -> Search[float | str | None]:
    """Search for the highest rate of one point and seed; return an error as text."""
    point = replay.point
    outcome = yield Replay(point.but(arrivals="asap"), replay.slo, None, replay.skip_invalid)
    if outcome.figures is None:
        return outcome.error
    throughput, attained = outcome.figures["request_throughput"], outcome.figures.get("slo_attainment", 0)
    assert replay.attainment is not None
    if attained >= replay.attainment:
        return math.inf
    if not throughput:
        return None
    lowest, highest = (ladder.place(rate) for rate in (throughput * 1e-6, min(throughput * 1e6, MAX_FACTOR)))
    places = find_last(ladder.place(throughput), max(1, ladder.place(_FIRST_FACTOR)), lowest, highest)
    found = yield from _try_places(
        places, lambda place: replace(replay, point=point.but(rate=ladder.rate(place)))
    )
    return ladder.rate(found) if isinstance(found, int) else found


def _search_replicas(replay: Replay, most: int) -> Search[float | str | None]:
    """Search for the least number of replicas of one point and seed; return an error as text."""
    places = find_last(-1, 1, -most, -1)
    found = yield from _try_places(
        places, lambda place: replace(replay, point=replay.point.but(replicas=-place))
    )
    return -found if isinstance(found, int) else found


def _try_places(
    places: Generator[int, bool, int | None], replay_at: Callable[[int], Replay]
) -> Search[int | str | None]:
    """Replay at each place that a search asks for; return the last one that holds, or an error as text."""
    try:
        place = next(places)
        while True:
            outcome = yield replay_at(place)
            if outcome.error:
                return outcome.error
            place = places.send(outcome.verdict == "met")
    except StopIteration as end:
        last: int | None = end.value
        return last


def _run(
    trace: SharedTrace,
    searches: Sequence[Search[T]],
    workers: Workers | None,
    path: str | os.PathLike[str] | None,
    on_result: OnResult | None,
) -> list[T]:
    """Run the searches to their ends and return what each returns."""
    with ExitStack() as stack:
        if workers is None:
            workers = open_workers(trace)
            stack.callback(workers.close)
        file = None if path is None else stack.enter_context(ResultsFile(path, trace.sha256))
        driver = _Driver(trace, searches, workers, file, on_result)
        driver.run()
        if file is not None:
            file.finish(result for results in driver.results for result in results)
        return driver.returned()


class _Driver(Generic[T]):
    """Gives workers the next replays of searches, and searches the outcomes."""

    def __init__(
        self,
        trace: SharedTrace,
        searches: Sequence[Search[T]],
        workers: Workers,
        file: ResultsFile | None,
        on_result: OnResult | None,
    ) -> None:
        self.results: list[list[Result]] = [[] for _ in searches]
        self._replays: dict[int, Replay] = {}
        self._trace, self._searches, self._workers = trace, searches, workers
        self._file, self._on_result = file, on_result
        self._returned: dict[int, T] = {}
        self._num_known = self._num_replayed = self._num_submitted = 0

    def run(self) -> None:
        """Run the searches in order, two replays for each worker at a time, so that none has to wait."""
        waiting: Iterator[int] = iter(range(len(self._searches)))
        limit = 2 * self._workers.num_workers
        while True:
            while self._num_submitted < limit and (number := next(waiting, None)) is not None:
                self._advance(number, None)
            if not self._num_submitted:
                return
            number, outcome = self._workers.next_outcome()
            self._num_submitted -= 1
            self._num_replayed += 1
            self._advance(number, outcome)

    def returned(self) -> list[T]:
        """Return what the searches returned, in their order."""
        return [self._returned[number] for number in range(len(self._searches))]

    def _advance(self, number: int, outcome: Outcome | None) -> None:
        """Give a search an outcome and submit its next replay, unless the outcome of that is known."""
        known = {} if self._file is None else self._file.known
        while (replay := self._next_replay(number, outcome)) is not None:
            outcome = known.get(key_of(replay)) if known else None
            if outcome is None:
                self._workers.submit(number, replay)
                self._num_submitted += 1
                return
            self._num_known += 1

    def _next_replay(self, number: int, outcome: Outcome | None) -> Replay | None:
        """Keep the outcome of a search's last replay and return its next replay; None at its end."""
        result = None
        if outcome is not None:
            result = Result(self._replays.pop(number), outcome, self._trace.sha256)
            self.results[number].append(result)
            if self._file is not None:
                self._file.add(result)
        search, replay = self._searches[number], None
        try:
            replay = self._replays[number] = next(search) if outcome is None else search.send(outcome)
        except StopIteration as end:
            self._returned[number] = end.value
        if result is not None and self._on_result is not None:
            done, total = len(self._returned), len(self._searches)
            self._on_result(result, Progress(done, total, self._num_known, self._num_replayed))
        return replay
