"""A clock fitted to the first part of a measurement, and scored on the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tracesim.calibration.replayed_run import ReplayedRun
from tracesim.calibration.scoring import (
    METRICS,
    Errors,
    Latencies,
    errors_of,
    latencies_of,
    latency_errors,
)
from tracesim.calibration.step_runs import StepRun
from tracesim.config import EngineConfig
from tracesim.errors import MeasurementError
from tracesim.measured.measurements import MeasuredRun
from tracesim.requests.batch import Batch
from tracesim.timing.calibration import (
    DEFAULT_SHAPE,
    Fit,
    Span,
    costs_of,
    fit_latencies,
    fit_steps,
    with_costs,
)
from tracesim.timing.clock import PER_SECOND, Clock
from tracesim.tokenizers.interface import Tokenizer
from tracesim.trace.record import TraceRecord

MIN_REQUESTS: Final = 20
MIN_STEPS: Final = 50
"""Fewer requests or steps are refused: half of them are fitted, and half must be left to score."""

MOST_FITTED: Final = 1000
"""So many requests of a run are fitted at most, the last ones of the first part: more take only time."""

_FEW_PREFILLS: Final = 20


@dataclass(frozen=True, slots=True)
class Calibration:
    """A fitted clock and how far it can be trusted.

    `unit` is requests or steps: `num_fitted` were fitted, and `num_scored`, which the fit has not seen, are
    scored. `latencies` has the errors of E2E, TTFT and TPOT of the scored requests, and `steps` those of the
    durations of the scored steps; either may be missing. `overhead` is the time, in seconds, that requests
    spend outside the engine where a client measured them: predictions have it, and the clock does not.
    `pairs` has predicted and measured values, in seconds, of each latency, or of "step".
    """

    clock: Clock
    kind: str
    unit: str
    num_fitted: int
    num_scored: int
    latencies: Mapping[str, Errors] = field(default_factory=dict)
    steps: Errors | None = None
    overhead: float = 0.0
    warnings: Sequence[str] = ()
    pairs: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)

    @property
    def errors(self) -> Mapping[str, Errors]:
        """All errors, those of the durations of steps by the name "step"."""
        return {**self.latencies, **({"step": self.steps} if self.steps else {})}


@dataclass(frozen=True, slots=True)
class Task:
    """What to calibrate by: the engine that was measured, its trace, the shape of the clock, and the split.

    `shape` is None for one of which only weak assumptions are made; otherwise its proportions are kept.
    `part` is the fraction, in time, that is fitted. `on_replay` is called before each replay with its number.
    """

    config: EngineConfig
    records: Sequence[TraceRecord] | None = None
    tokenizer: Tokenizer | None = None
    shape: Clock | None = None
    part: float = 0.5
    on_replay: Callable[[int], object] = lambda _: None


def calibrate(runs: Sequence[MeasuredRun], task: Task) -> Calibration:
    """Return the clock of the server that was measured in these runs.

    Raises MeasurementError if there is too little, if some runs have steps and others requests, or if the
    trace of the task is not what was sent.
    """
    with_steps = [run for run in runs if run.steps]
    if with_steps and len(with_steps) < len(runs):
        other = next(run for run in runs if not run.steps)
        message = f"has requests, and {with_steps[0].name} has steps; calibrate by one or the other"
        raise MeasurementError(other.name, None, message)
    return _by_steps(runs, task) if with_steps else _by_requests(runs, task)


def _by_requests(runs: Sequence[MeasuredRun], task: Task) -> Calibration:
    for run in runs:
        if len(run.requests) < MIN_REQUESTS:
            skipped = f" and {run.num_skipped:,} that failed" if run.num_skipped else ""
            message = (
                f"has {len(run.requests):,} requests with times{skipped}; at least {MIN_REQUESTS} are needed"
            )
            raise MeasurementError(run.name, None, message)
    halves = [_Half(ReplayedRun(task.config, run, task.records, task.tokenizer), run, task) for run in runs]
    shape = task.shape or DEFAULT_SHAPE
    num_replays = 0

    def predict(clock: Clock) -> list[float]:
        nonlocal num_replays
        num_replays += 1
        task.on_replay(num_replays)
        return [value for half in halves for value in half.fitted_values(clock)]

    measured = [value for half in halves for value in half.measured_values]
    tolerance = [value for half in halves for value in half.tolerances]

    def spans(clock: Clock) -> list[Span]:
        return [span for half in halves for span in half.spans(clock)]

    fit = fit_latencies(shape, predict, measured, tolerance, spans, keeps_shape=task.shape is not None)
    predicted: list[Latencies] = []
    scored: list[Latencies] = []
    for half in halves:
        predicted += half.predict_scored(fit.clock)
        scored += half.scored
    overheads = [half.overhead for half in halves]
    return Calibration(
        fit.clock,
        runs[0].kind,
        "requests",
        sum(half.num_fitted for half in halves),
        len(scored),
        latency_errors(predicted, scored),
        overhead=sum(overheads) / len(overheads),
        warnings=[*_warnings_of_requests(halves, task.config), *_warnings_of_fit(fit)],
        pairs=_pairs(predicted, scored),
    )


class _Half:
    """The requests of a run that are fitted, which arrived first, and those that are scored.

    A latency that is no fault of the clock differs by about a step: a request arrives somewhere in one.
    """

    def __init__(self, replayed: ReplayedRun, run: MeasuredRun, task: Task) -> None:
        self.run, self.replayed = run, replayed
        latencies = [latencies_of(request) for request in replayed.measured]
        split = min(max(1, round(len(latencies) * task.part)), len(latencies) - 1)
        self._begin = max(0, split - MOST_FITTED)
        self._split = split
        self._fitted = latencies[self._begin : split]
        self.num_fitted = len(self._fitted)
        self.scored = latencies[split:]
        self.overhead = 0.0
        tpots = sorted(each.tpot for each in self._fitted if each.tpot)
        if not tpots:
            message = "has no request with two output tokens in the part that is fitted, and so no TPOT"
            raise MeasurementError(run.name, None, message)
        step = tpots[len(tpots) // 2]
        self.measured_values = _values(self._fitted, self._fitted)
        self.tolerances = [
            tolerance
            for each in self._fitted
            for value, tolerance in ((each.e2e, step), (each.ttft, step), (each.tpot, 0.0))
            if value
        ]
        # Requests that arrive when all that is fitted has ended cannot matter to it, even if it takes longer.
        fitted = replayed.measured[self._begin : split]
        first = replayed.measured[0].arrival
        self._last_arrival = first + 1.2 * (max(each.last_token for each in fitted) - first)

    def is_idle(self) -> bool:
        """Return whether fewer than two requests are there at once, on average."""
        requests = self.replayed.measured
        time = max(each.last_token for each in requests) - requests[0].arrival
        return sum(each.last_token - each.arrival for each in requests) < 2 * time

    def spans(self, clock: Clock) -> list[Span]:
        """Return the times between first and last token, with what each cost of a clock makes of them."""
        parts = self.replayed.decode_parts(clock, self._last_arrival)[self._begin : self._split]
        return [
            Span(each, measured.e2e - measured.ttft)
            for each, measured in zip(parts, self._fitted, strict=True)
            if measured.tpot and sum(each) > 0
        ]

    def fitted_values(self, clock: Clock) -> list[float]:
        """Return the latencies that a clock gives to the requests that are fitted, in a row."""
        predicted = self.replayed.latencies(clock, self._last_arrival)[self._begin : self._split]
        if self.run.is_remote:
            self.overhead = _overhead(predicted, self._fitted)
        return _values([_with_overhead(each, self.overhead) for each in predicted], self._fitted)

    def predict_scored(self, clock: Clock) -> list[Latencies]:
        """Return the latencies that a clock gives to the requests that are scored."""
        predicted = self.replayed.latencies(clock)
        if self.run.is_remote:
            self.overhead = _overhead(predicted[self._begin : self._split], self._fitted)
        return [_with_overhead(each, self.overhead) for each in predicted[self._split :]]


def _values(latencies: Sequence[Latencies], measured: Sequence[Latencies]) -> list[float]:
    """Return the latencies of requests in a row, without those that were measured as 0 or not at all."""
    values = []
    for each, other in zip(latencies, measured, strict=True):
        values += [value or 0.0 for value, found in zip(each, other, strict=True) if found]
    return values


def _overhead(predicted: Sequence[Latencies], measured: Sequence[Latencies]) -> float:
    """Return the time outside the engine, by the quarter of the requests with the shortest TTFT.

    It is at most nine tenths of the shortest TTFT.
    """
    pairs = sorted(zip((each.ttft for each in measured), (each.ttft for each in predicted), strict=True))
    differences = sorted(m - p for m, p in pairs[: max(1, len(pairs) // 4)])
    return min(max(0.0, differences[len(differences) // 2]), 0.9 * pairs[0][0])


def _with_overhead(latencies: Latencies, overhead: float) -> Latencies:
    return Latencies(latencies.e2e + overhead, latencies.ttft + overhead, latencies.tpot)


def _by_steps(runs: Sequence[MeasuredRun], task: Task) -> Calibration:
    for run in runs:
        if len(run.steps) < MIN_STEPS:
            message = f"has {len(run.steps):,} steps; at least {MIN_STEPS} are needed"
            raise MeasurementError(run.name, None, message)
        if 2 * sum(step.seconds > 0 for step in run.steps) <= len(run.steps):
            message = "has no duration for half of the steps: the engine never waited for them"
            raise MeasurementError(run.name, None, message)
    step_runs = [StepRun(run, task.config, task.records, task.tokenizer) for run in runs]
    shape = task.shape or DEFAULT_SHAPE
    has_context = all(each.has_context for each in step_runs)
    fit = Fit(shape)
    for _ in range(3 if any(each.needs_replay for each in step_runs) else 1):
        if not has_context:
            shape = with_costs(shape, {**costs_of(shape), "context": 0, "prefill_context": 0})
        batches, durations = [], []
        for each in step_runs:
            split = each.split(task.part)
            batches += each.batches[:split]
            durations += each.durations[:split]
        fit = fit_steps(shape, batches, durations, keeps_shape=task.shape is not None)
        if sum(each.find_context(fit.clock) for each in step_runs):
            shape, has_context = task.shape or DEFAULT_SHAPE, True
    predicted: list[float] = []
    scored: list[float] = []
    for each in step_runs:
        split = each.split(task.part)
        predicted += [fit.clock.duration(batch) / PER_SECOND for batch in each.batches[split:]]
        scored += each.durations[split:]
    requests = [pair for each in step_runs for pair in each.scored_requests(fit.clock, task.part)]
    warnings = _warnings_of_steps(step_runs, batches, has_context=has_context)
    latencies = [p for p, _ in requests], [m for _, m in requests]
    return Calibration(
        fit.clock,
        runs[0].kind,
        "steps",
        len(durations),
        len(scored),
        latency_errors(*latencies),
        errors_of(predicted, scored, of_steps=True),
        warnings=[*warnings, *_warnings_of_fit(fit)],
        pairs=_pairs(*latencies) | {"step": list(zip(predicted, scored, strict=True))},
    )


def _pairs(
    predicted: Sequence[Latencies], measured: Sequence[Latencies]
) -> dict[str, Sequence[tuple[float, float]]]:
    """Return predicted and measured values of each latency that a request has."""
    return {
        metric: [
            (getattr(p, metric), getattr(m, metric))
            for p, m in zip(predicted, measured, strict=True)
            if getattr(m, metric) and getattr(p, metric)
        ]
        for metric in METRICS
        if measured
    }


def _warnings_of_requests(halves: Sequence[_Half], config: EngineConfig) -> list[str]:
    """Return what makes requests tell little, in sentences."""
    warnings = []
    if config.num_gpu_blocks is None:
        warnings.append(
            "num_gpu_blocks is not given, so that the replay never lacks KV blocks; a server prints its "
            "number at the start"
        )
    if adjusted := sum(half.replayed.num_adjusted for half in halves):
        warnings.append(
            f"{adjusted:,} answers of the trace have another length than was measured; they were cut or "
            "extended to it"
        )
    if skipped := sum(half.run.num_skipped for half in halves):
        warnings.append(
            f"{skipped:,} requests failed or were cut off, and are not replayed: the server was busier than "
            "the replay"
        )
    if all(half.is_idle() for half in halves):
        warnings.append(
            "most requests ran alone: the data cannot tell what large batches cost; measure at a higher "
            "rate too"
        )
    return warnings


def _warnings_of_steps(runs: Sequence[StepRun], batches: Sequence[Batch], *, has_context: bool) -> list[str]:
    """Return what makes steps tell little, in sentences."""
    warnings = []
    prefills = sum(batch.prefill_tokens > 0 for batch in batches)
    if prefills < _FEW_PREFILLS:
        warnings.append(
            f"only {prefills:,} of the steps that were fitted have prefill: its cost is hardly known"
        )
    sizes = {batch.num_decodes for batch in batches if batch.num_decodes}
    if len(sizes) < 2:
        found = (
            " and ".join(f"decode {size:,} request{'s' * (size != 1)}" for size in sizes) or "only prefill"
        )
        warnings.append(
            f"all steps {found}: the data cannot tell the cost of a decode from the base; measure at "
            "several rates"
        )
    for run in (each.run for each in runs):
        wait = f"{run.name} has only the time for which the engine waited for a step"
        if run.host_seconds:
            added = (
                f"{run.host_seconds * 1000:.2g} ms of the host are added to each, by the times of its lines"
            )
            warnings.append(f"{wait}; {added}")
        elif run.host_seconds is None and run.steps[0].context_tokens is None:
            warnings.append(
                f"{wait}, and no busy minute that shows what the host adds: steps are too short by that"
            )
    if not has_context:
        warnings.append(
            "the log does not have the tokens in the KV cache, so that they have no cost: give the --trace "
            "that was sent, or --num-gpu-blocks"
        )
    elif any(run.run.steps[0].context_tokens is None and not run.needs_replay for run in runs):
        warnings.append(
            "the tokens in the KV cache are estimated from its usage, which does not count shared prefixes "
            "twice: a --trace gives them better"
        )
    return warnings


def _warnings_of_fit(fit: Fit) -> list[str]:
    """Return which costs are hardly known, in sentences."""
    warnings = [
        f"{name} would be negative ({value * 1e6:.3g} us) by the data alone, and is 0: the data cannot tell "
        "it from the other costs, or the times contain something else"
        for name, value in fit.negative.items()
    ]
    uncertain = {name: error for name, error in fit.uncertain.items() if name not in fit.negative}
    if uncertain:
        found = ", ".join(
            f"{name} (±{error:.0%})" if error < 1 else name for name, error in sorted(uncertain.items())
        )
        warnings.append(f"the data hardly tell {found}: nearly the same times follow from other costs")
    return warnings
