"""The figures of a run by name, such as `ttft.p99`, and requirements on them, such as `ttft.p99<=500ms`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from difflib import get_close_matches
from functools import partial
from typing import Any, Final, Literal, Protocol

from tracesim.analysis.metrics import Latency, Metrics, Slo
from tracesim.analysis.queueing import CAUSE_LABELS
from tracesim.analysis.report import Summary
from tracesim.errors import ConfigError, brief
from tracesim.timing.clock import PER_SECOND, parse_duration

Better = Literal["lower", "higher", "neutral"]


class Figures(Protocol):
    """The figures of a run that is at hand, such as a `RunReport`; `metrics` is None without a clock."""

    @property
    def summary(self) -> Summary:
        """The totals of the run."""

    @property
    def metrics(self) -> Metrics | None:
        """Latency and throughput."""


Report = Figures | Mapping[str, Any]
"""What a figure is read from: a run, or the document of its JSON report, `REPORT_SCHEMA`."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One number that a report has about a run.

    `name` is the place of the number in the summary or the metrics of the report. `unit` is "s", "fraction",
    "yes or no", or what is counted: "requests", "tokens/s". `better` is the direction in which a change is an
    improvement; most figures of a schedule are neutral. `value` returns the number from a report, or None if
    the run has none: without the setting that the figure `needs`, or if nothing happened that it measures.
    """

    name: str
    unit: str
    better: Better
    value: Callable[[Report], float | None]
    needs: str | None = None


@dataclass(frozen=True, slots=True)
class Requirement:
    """A limit for a figure, in the unit of the figure; `text` is how it was written."""

    figure: Figure
    comparison: str
    limit: float
    text: str

    def is_met_by(self, value: float | None) -> bool:
        """Return whether a value of the figure keeps the limit; a figure without a value keeps none."""
        return value is not None and _COMPARISONS[self.comparison](value, self.limit)


def figure_named(name: str, setting: str = "figure") -> Figure:
    """Return the figure of this name.

    Raises ConfigError, which calls the setting `setting` and has the most similar names and all others.
    """
    if figure := FIGURES.get(name):
        return figure
    statistics = [each for each in FIGURES if each.startswith(f"{name}.")]
    close = statistics or get_close_matches(name, FIGURES, n=3, cutoff=0.6)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    raise ConfigError(
        f"names the figure {brief(name)}, which does not exist; {hint}The figures are {_all_names()}",
        setting=setting,
    )


def parse_requirement(text: str) -> Requirement:
    """Return the requirement that a text such as `ttft.p99<=500ms` or `slo_attainment >= 99%` states.

    A time without a unit is in seconds, and a fraction may be a percentage. Raises ConfigError.
    """
    match = _REQUIREMENT.fullmatch(text)
    if not match:
        raise ConfigError(
            f"is {brief(text)}; must be a figure, one of {', '.join(_COMPARISONS)}, and a limit, "
            "such as ttft.p99<=500ms",
            setting="require",
        )
    figure = figure_named(match["name"], "require")
    return Requirement(figure, match["comparison"], _limit(figure, match["limit"], text), text)


def _limit(figure: Figure, written: str, text: str) -> float:
    """Return the limit of a requirement in the unit of its figure. Raises ConfigError."""
    place = f"require: {text}"
    if figure.unit == "s":
        return parse_duration(place, written) / PER_SECOND
    value = None
    if figure.unit == "yes or no":
        value = {"no": 0.0, "yes": 1.0}.get(written)
    elif match := _NUMBER.fullmatch(written):
        divisors = {"": 1, "%": 100} if figure.unit == "fraction" else {"": 1, figure.unit: 1}
        if divisor := divisors.get(match["unit"]):
            value = float(Decimal(match["number"]) / divisor)  # 99.9% is the float that 999 / 1000 is
    if value is None or (figure.unit == "fraction" and value > 1):
        accepted = _ACCEPTED.get(figure.unit, f"a number of {figure.unit}")
        raise ConfigError(f"has the limit {brief(written)}; must be {accepted}", setting=place)
    return value


def _read(path: tuple[str, ...], otherwise: float | None, report: Report) -> Any:
    """Return the number at `path` of a report; `otherwise` if all but the last part of the path exists."""
    found: Any = report
    for name in path:
        if found is None:
            return None
        missing = otherwise if name == path[-1] else None
        found = found.get(name, missing) if isinstance(found, Mapping) else getattr(found, name, None)
    return int(found) if isinstance(found, bool) else found


def _queue_time_share(cause: str, report: Report) -> float | None:
    """Return the fraction of the queue time of all requests during which `cause` kept them waiting."""
    parts: Any = _read(("summary", "queue_time_by_cause"), None, report)
    return None if parts is None else parts.get(cause, 0) / (sum(parts.values()) or 1)


def _figures() -> Iterator[Figure]:
    """Yield every figure, in the order in which people look for them."""
    timed = partial(_figure, "metrics", needs="clock")
    with_slo = partial(_figure, "metrics", needs="slo")
    total = partial(_figure, "summary")
    for latency in ("ttft", "tpot", "itl", "e2e", "queue_time"):
        for statistic in fields(Latency):
            yield timed(f"{latency}.{statistic.name}", "s", "lower")
    yield timed("request_throughput", "requests/s", "higher")
    yield timed("output_token_throughput", "tokens/s", "higher")
    yield timed("total_token_throughput", "tokens/s", "higher")
    yield with_slo("goodput", "requests/s", "higher")
    yield with_slo("slo_attainment", "fraction", "higher")
    for limit in fields(Slo):
        yield with_slo(f"slo_missed.{limit.name}", "requests", "lower")
    yield timed("duration", "s", "lower")
    yield timed("mean_batch", "requests")
    yield total("requests", "requests")
    for reason in ("stop", "length", "abort"):
        yield total(f"finished.{reason}", "requests", otherwise=0)
    for ending in ("unfinished", "rejected", "unsent"):
        yield total(ending, "requests", "lower")
    yield total("sessions", "sessions")
    yield total("overloaded", "yes or no", "lower")
    for cause in CAUSE_LABELS:
        yield Figure(f"queue_time_share.{cause}", "fraction", "neutral", partial(_queue_time_share, cause))
    yield total("steps", "steps", "lower")
    yield total("prefill_steps", "steps")
    yield total("decode_steps", "steps")
    yield total("prompt_tokens", "tokens")
    yield total("output_tokens", "tokens")
    for batch in ("prefill_batch", "decode_batch"):
        yield total(f"{batch}.mean", "requests")
        yield total(f"{batch}.max", "requests")
    yield total("preemptions", "preemptions", "lower")
    yield total("discarded_tokens", "tokens", "lower", needs="async_scheduling")
    yield total("peak_kv_cache_usage", "fraction", needs="num_gpu_blocks")
    for name, unit in (("prefix_cache_hit_rate", "fraction"), ("cached_tokens", "tokens")):
        yield total(name, unit, "higher", needs="enable_prefix_caching")
    yield total("cached_session_tokens", "tokens", "higher", needs="enable_prefix_caching")


def _figure(
    part: str,
    name: str,
    unit: str,
    better: Better = "neutral",
    *,
    needs: str | None = None,
    otherwise: int | None = None,
) -> Figure:
    """Return the figure that is at `name` in a part of the report: its summary or its metrics."""
    return Figure(name, unit, better, partial(_read, (part, *name.split(".")), otherwise), needs)


def _all_names() -> str:
    """Return the names of all figures; with common parts as `{ttft,tpot}.{mean,p50}`."""
    parts: dict[str, list[str]] = {}
    for name in FIGURES:
        first, _, rest = name.partition(".")
        parts.setdefault(first, []).append(rest)
    groups: dict[tuple[str, ...], list[str]] = {}
    for first, rests in parts.items():
        groups.setdefault((first,) if rests == [""] else tuple(rests), []).append(first)
    return ", ".join(
        firsts[0] if firsts == list(rests) else f"{_one_of(firsts)}.{_one_of(rests)}"
        for rests, firsts in groups.items()
    )


def _one_of(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{{{','.join(names)}}}"


_COMPARISONS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "<=": operator.le,
    "<": operator.lt,
    ">=": operator.ge,
    ">": operator.gt,
    "==": operator.eq,
}
_REQUIREMENT: Final = re.compile(
    r"\s*(?P<name>[\w.-]+)\s*(?P<comparison><=|>=|==|<|>)\s*(?P<limit>[^\s<>=].*?)\s*"
)
_NUMBER: Final = re.compile(r"(?P<number>[0-9]*\.?[0-9]+(?:e-?[0-9]{1,2})?)\s*(?P<unit>\D*)")
_ACCEPTED: Final = {"fraction": "a fraction from 0 to 1, such as 0.99 or 99%", "yes or no": "yes or no"}

FIGURES: Final[Mapping[str, Figure]] = {figure.name: figure for figure in _figures()}
"""Every figure by its name."""
