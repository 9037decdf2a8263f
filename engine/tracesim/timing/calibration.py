"""Fit the costs of a clock to measured times, by least squares that outliers hardly move (SciPy).

A clock is fitted as factors on the costs of another one, its shape. The logarithms of the factors are the
unknowns, so no cost becomes negative, and weak extra equations pull the factors towards each other: where the
data cannot tell two costs apart, these keep the proportion that they have in the shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any, Final, NamedTuple

from tracesim.errors import ConfigError
from tracesim.requests.batch import Batch
from tracesim.timing.clock import PER_SECOND, Clock, parse_duration, written_duration

_NS: Final = PER_SECOND // 10**9

DEFAULT_SHAPE: Final = Clock(10**7 * _NS, 40_000 * _NS, 20_000 * _NS, 100 * _NS, 2 * _NS)
"""About the proportions of a dense model of eight billion parameters on one GPU, in round numbers."""

ERROR_OF_MODEL: Final = 0.03
"""The relative error up to which the square of a residual counts; a larger one counts by its amount."""

_PULL: Final = 0.4
"""The residual, in `ERROR_OF_MODEL`, of a factor that is e times that of the scale, once per measurement."""

_PULL_OF_STEPS: Final = 2e-4
"""That of a factor that is twice the scale: steps tell the costs far better than latencies do."""

_STEPS: Final = (0.04, 0.01)
"""By how much logarithms of factors are changed to see the effect: much at first, as schedules jump."""

_REWEIGHTINGS: Final = 3
_ROUNDS: Final = 5
_STILL: Final = 0.01
_SEARCHED: Final = (0.6, 0.3, 0.1)
_MOST_TRIALS: Final = 12
_TOLERANCE: Final = 3e-3
_UNCERTAIN: Final = 0.3


@dataclass(frozen=True, slots=True)
class Fit:
    """A fitted clock, its costs rounded to five digits.

    `uncertain` has the costs that the data hardly tell, each with its relative error. `negative` has
    the costs that would be negative without the bound, with their values in seconds.
    """

    clock: Clock
    uncertain: dict[str, float] = field(default_factory=dict)
    negative: dict[str, float] = field(default_factory=dict)


def require_scipy() -> None:
    """Raise ConfigError, with the command that installs it, if SciPy is not there."""
    try:
        import scipy.optimize  # noqa: F401
    except ImportError as error:
        command = "pip install 'tracesim[calibrate]'"
        raise ConfigError(f"calibrate needs the package scipy; install it with: {command}") from error


def costs_of(clock: Clock) -> dict[str, int]:
    """Return the costs of a clock by their names, in femtoseconds; `first_32` is one of `Clock.first`."""
    costs = {each.name: getattr(clock, each.name) for each in fields(clock) if each.name != "first"}
    return {**costs, **{f"first_{tokens}": cost for tokens, cost in clock.first}}


def with_costs(clock: Clock, costs: Mapping[str, float]) -> Clock:
    """Return the clock with other costs: those of `costs_of`, in femtoseconds."""
    first = tuple((tokens, round(costs[f"first_{tokens}"])) for tokens, _ in clock.first)
    others = {name: round(cost) for name, cost in costs.items() if not name.startswith("first_")}
    return replace(clock, first=first, **others)


def rounded(clock: Clock) -> Clock:
    """Return the clock with its costs as they are written, with five digits."""
    costs = {name: parse_duration(name, written_duration(cost)) for name, cost in costs_of(clock).items()}
    return with_costs(clock, costs)


def fit_steps(
    shape: Clock, batches: Sequence[Batch], seconds: Sequence[float], *, keeps_shape: bool = False
) -> Fit:
    """Return the clock for steps with these batches that took so long.

    Each step counts by its error relative to its prediction, so that a step which was hardly measured at all
    weighs no more than others. With `keeps_shape` all costs are those of `shape` times one factor. Otherwise
    each is found by itself, and the pull towards the shape is so weak that it decides only what the steps do
    not.
    """
    import numpy as np

    names = [name for name, cost in costs_of(shape).items() if cost]
    durations = np.array(seconds)
    parts = np.array([_parts(shape, names, batch) for batch in batches])
    scale = float(np.median(durations / parts.sum(axis=1)))
    if keeps_shape:
        parts = parts.sum(axis=1, keepdims=True)
    predicted = scale * parts.sum(axis=1)
    for _ in range(_REWEIGHTINGS):
        weights = 1 / (ERROR_OF_MODEL * predicted)
        found = _weighted_fit(parts, durations, weights, scale, pulls=not keeps_shape)
        predicted = np.maximum(parts @ found.x, 0.1 * float(np.median(durations)))
    if keeps_shape:
        return Fit(rounded(_times(shape, dict.fromkeys(names, float(found.x[0])))))
    least = 1e-4 * scale
    factors = np.where(found.x < least, 0, found.x)
    if shape.base:
        factors[0] = max(factors[0], least)  # a step must take time
    free = _weighted_fit(parts, durations, weights, scale, pulls=True, lowest=-np.inf).x
    costs = costs_of(shape)
    negative = {
        name: factor * costs[name] / PER_SECOND
        for name, factor in zip(names, free, strict=True)
        if factor < 0
    }
    clock = rounded(_times(shape, dict(zip(names, factors, strict=True))))
    rows = found.jac[: len(durations)] * np.maximum(factors, least)
    return Fit(clock, _uncertain(names, rows, _spread(found, len(durations))), negative)


def _weighted_fit(
    parts: Any, durations: Any, weights: Any, scale: float, *, pulls: bool, lowest: float = 0.0
) -> Any:
    """Return the factors, at least `lowest`, by which parts add up to durations; pulled towards `scale`."""
    import numpy as np
    from scipy.optimize import least_squares

    num_steps, num_costs = parts.shape
    equations = np.concatenate(
        [
            parts * weights[:, None],
            np.eye(num_costs if pulls else 0, num_costs) * _PULL_OF_STEPS * np.sqrt(num_steps) / scale,
        ]
    )
    right = np.concatenate([durations * weights, equations[num_steps:].sum(axis=1) * scale])
    return least_squares(
        lambda factors: equations @ factors - right,
        np.full(num_costs, scale),
        lambda _: equations,
        bounds=(lowest, np.inf),
        loss="soft_l1",
        x_scale=scale,
    )


class Span(NamedTuple):
    """A time between two events of a run: how much of it each cost that is not 0 makes, and as measured."""

    parts: Sequence[float]
    seconds: float


Predict = Callable[[Clock], Sequence[float]]
"""Returns the latencies that a clock gives, in seconds: one for each that was measured."""


def fit_latencies(
    shape: Clock,
    predict: Predict,
    measured: Sequence[float],
    tolerance: Sequence[float],
    spans: Callable[[Clock], Sequence[Span]],
    *,
    keeps_shape: bool = False,
) -> Fit:
    """Return the clock whose predicted latencies are the nearest to the `measured` ones.

    `predict` is asked again and again with another clock, until the costs stand still. `tolerance` has for
    each latency the absolute error, in seconds, that is no fault of the clock; to it `ERROR_OF_MODEL` of the
    latency is added. With `keeps_shape` all costs are those of `shape` times one factor.

    Otherwise `spans` gives a first approximation, round by round: while the steps stay what they are under a
    clock, the costs that explain the measured spans best follow at once. Then the latencies are compared,
    since another clock has other steps, too.
    """
    import numpy as np
    from scipy.optimize import least_squares

    names = [name for name, cost in costs_of(shape).items() if cost]
    times = np.array(measured)
    spread = np.hypot(ERROR_OF_MODEL, np.array(tolerance) / times)
    pull = _PULL * np.sqrt(len(measured))
    known: dict[bytes, Any] = {}

    def clock_at(logs: Any) -> Clock:
        factors = np.exp(logs[0] + logs[1:]) if len(logs) > 1 else np.repeat(np.exp(logs[0]), len(names))
        return _times(shape, dict(zip(names, factors, strict=True)))

    def residuals(logs: Any) -> Any:
        if logs.tobytes() not in known:
            predicted = np.maximum(predict(clock_at(logs)), 1e-9)
            known[logs.tobytes()] = np.concatenate([np.log(predicted / times) / spread, pull * logs[1:]])
        return known[logs.tobytes()]

    def jacobian(logs: Any, size: float) -> Any:
        steps = size * np.eye(len(logs))
        return np.stack([(residuals(logs + step) - residuals(logs)) / size for step in steps], axis=1)

    logs = _scaled(lambda trial: float(np.median(residuals(trial) * spread)))
    if not keeps_shape:
        logs = np.concatenate([logs, np.zeros(len(names))])
        logs = _fitted_to_spans(logs, lambda trial: spans(clock_at(trial)))
    limits = {"ftol": _TOLERANCE, "xtol": _TOLERANCE, "max_nfev": _MOST_TRIALS}
    for size in _STEPS:
        found = least_squares(residuals, logs, partial(jacobian, size=size), loss="soft_l1", **limits)
        logs = _searched(residuals, found.x, found.jac)
    clock = rounded(clock_at(logs))
    if keeps_shape:
        return Fit(clock)
    rows = found.jac[: len(measured), 1:]
    return Fit(clock, _uncertain(names, rows, _spread(found, len(measured))))


def _scaled(error_at: Callable[[Any], float]) -> Any:
    """Return the logarithm of the scale at which the typical error of the logarithms is about 0."""
    import numpy as np

    logs = np.zeros(1)
    for _ in range(_MOST_TRIALS):
        error = error_at(logs)
        logs = logs - error
        if abs(error) < _TOLERANCE:
            break
    return logs


def _fitted_to_spans(logs: Any, spans_at: Callable[[Any], Sequence[Span]]) -> Any:
    """Return the unknowns that explain spans best; `spans_at` gives them under a clock with given ones."""
    import numpy as np

    for _ in range(_ROUNDS):
        before = logs
        logs = _explaining(spans_at(before), before)
        if np.abs(logs - before).max() < _STILL:
            break
    return logs


def _explaining(spans: Sequence[Span], logs: Any) -> Any:
    """Return the unknowns that explain spans best, whose parts are those under a clock with `logs`."""
    import numpy as np
    from scipy.optimize import least_squares

    parts = np.array([span.parts for span in spans])
    seconds = np.array([span.seconds for span in spans])
    pull = _PULL * np.sqrt(len(spans))

    def residuals(trial: Any) -> Any:
        change = (trial[0] + trial[1:]) - (logs[0] + logs[1:])
        errors = np.log(parts @ np.exp(change) / seconds) / ERROR_OF_MODEL
        return np.concatenate([errors, pull * trial[1:]])

    return least_squares(residuals, logs, loss="soft_l1").x


def _searched(residuals: Callable[[Any], Any], logs: Any, jacobian: Any) -> Any:
    """Return better unknowns than `logs`, if there are any along the directions in which little changes.

    There the effect of a small step is lost among the jumps of schedules, and only a larger one shows it.
    """
    import numpy as np

    def cost(trial: Any) -> float:
        return float(np.sum(np.sqrt(1 + residuals(trial) ** 2) - 1))

    best = cost(logs)
    _, directions = np.linalg.eigh(jacobian.T @ jacobian)
    for size in _SEARCHED:
        for direction in directions.T[: len(logs) // 2]:
            for step in (size * direction, -size * direction):
                found = cost(logs + step)
                if found < best:
                    logs, best = logs + step, found
                    break
    return logs


def _parts(shape: Clock, names: Sequence[str], batch: Batch) -> list[float]:
    """Return what each cost of a clock contributes to the duration of a step, in seconds."""
    costs = costs_of(shape)
    num_tokens = batch.prefill_tokens + batch.num_decodes
    counts: dict[str, int] = {
        "base": 1,
        "prefill": batch.prefill_tokens,
        "decode": batch.num_decodes,
        "context": batch.context_tokens,
        "prefill_context": batch.prefill_context_tokens,
        **{f"first_{tokens}": min(tokens, num_tokens) for tokens, _ in shape.first},
    }
    return [counts[name] * costs[name] / PER_SECOND for name in names]


def _times(shape: Clock, factors: Mapping[str, float]) -> Clock:
    """Return the clock with some costs of `shape`, each multiplied by its factor."""
    costs = costs_of(shape)
    times = {name: cost * factors.get(name, 0) for name, cost in costs.items()}
    return with_costs(shape, times)


def _spread(found: Any, num_measured: int) -> float:
    """Return the typical residual of a fit, at least 1."""
    import numpy as np

    return max(1.0, float(np.median(np.abs(found.fun[:num_measured]))) * 1.4826)


def _uncertain(names: Sequence[str], rows: Any, spread: float) -> dict[str, float]:
    """Return the costs whose relative standard error is large; `rows` is the Jacobian of their logarithms."""
    import numpy as np

    rows = np.nan_to_num(rows)
    values, vectors = np.linalg.eigh(rows.T @ rows)
    variances = (vectors**2 / np.maximum(values, 1e-12)).sum(axis=1)
    errors = spread * np.sqrt(variances)
    return {n: float(e) for n, e in zip(names, errors, strict=True) if e > _UNCERTAIN}
