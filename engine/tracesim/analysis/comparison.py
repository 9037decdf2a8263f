"""Reports compared with a base: the settings, every figure, and where the time of each request was spent.

The time of a request divides into the waiting that its report splits by cause, the prefill from then to the
first token, and the decode from there to the last token. The changes of these parts add up to the change of
the whole, so they say why a request is faster or slower. They are in seconds if all reports have a clock, and
in steps otherwise.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Final, Literal

from tracesim.analysis.figures import FIGURES, Better, Figure
from tracesim.analysis.queueing import CAUSE_LABELS
from tracesim.analysis.saved_report import SavedReport

Unit = Literal["s", "steps"]
Whole = Literal["e2e", "ttft"]
Verdict = Literal["better", "worse", "equal", "changed"]

WAITING: Final = "waiting"
PREFILL: Final = "prefill"
DECODE: Final = "decode"
_COUNTS: Final = ("preemptions", "cached_tokens", "output_tokens")


@dataclass(frozen=True, slots=True)
class ChangedSetting:
    """A setting that is not equal in all reports; a report that has none of this name has None."""

    name: str
    values: Sequence[Any]


@dataclass(frozen=True, slots=True)
class Change:
    """How a figure changed from the base; `relative` is a fraction of the base, None if that is 0."""

    absolute: float
    relative: float | None
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class ComparedFigure:
    """A figure of all reports, and its change in each after the base; None where one of the two has none."""

    figure: Figure
    values: Sequence[float | None]
    changes: Sequence[Change | None]

    @property
    def is_equal(self) -> bool:
        """Whether all reports have the same value."""
        return all(value == self.values[0] for value in self.values)


@dataclass(frozen=True, slots=True)
class RequestTime:
    """The time of a request by its parts: the causes for which it waited, `PREFILL`, and `DECODE`.

    `WAITING` is a part where steps are compared of a report that splits the queue time in seconds.

    The number of its preemptions and tokens may explain it. Of several requests, all of it is the mean.
    """

    total: float
    parts: Mapping[str, float]
    preemptions: float
    cached_tokens: float
    output_tokens: float


@dataclass(frozen=True, slots=True)
class MovedRequest:
    """A request in the base and in another report."""

    id: str
    before: RequestTime
    after: RequestTime

    @property
    def change(self) -> float:
        """How much longer the request took."""
        return difference(self.before.total, self.after.total)

    def reasons(self) -> list[tuple[str, float]]:
        """Return the parts whose time changed, with their changes, the greatest first."""
        names = dict.fromkeys([*self.before.parts, *self.after.parts])
        changes = [
            (name, difference(self.before.parts.get(name, 0), self.after.parts.get(name, 0)))
            for name in names
        ]
        return sorted((each for each in changes if each[1]), key=lambda each: -abs(each[1]))


@dataclass(frozen=True, slots=True)
class RequestComparison:
    """The requests of the base and of another report, matched by id.

    `compared` of the `matched` requests emitted a token in both; of these, `faster`, `slower` and `equal`
    count how many took less, more or as much time. `other_prompts` of the matched have another prompt length.
    `before` and `after` are the means over the compared requests, None if there are none. `moved` are those
    whose time changed most, the greatest change first, and `points` the time of each compared request before
    and after.
    """

    matched: int
    only_before: int
    only_after: int
    other_prompts: int
    compared: int
    faster: int
    slower: int
    equal: int
    before: RequestTime | None
    after: RequestTime | None
    moved: Sequence[MovedRequest]
    points: Sequence[tuple[str, float, float]]


@dataclass(frozen=True, slots=True)
class ReportComparison:
    """Reports compared with the first, the base. `requests` has an entry for each after the base.

    `unit` is that of the times of requests, and `whole` is what they measure: from the arrival to the last
    token ("e2e") or to the first ("ttft").
    """

    reports: Sequence[SavedReport]
    settings: Sequence[ChangedSetting]
    figures: Sequence[ComparedFigure]
    unit: Unit
    whole: Whole
    requests: Sequence[RequestComparison]

    @property
    def letters(self) -> list[str]:
        """What the reports are called, in their order: A, B, C."""
        return [chr(ord("A") + number) for number in range(len(self.reports))]

    def pairs(self) -> list[tuple[str, RequestComparison]]:
        """Return the comparison of requests for each report after the base, with the letter of the report."""
        return list(zip(self.letters[1:], self.requests, strict=True))

    def mean_times(self) -> list[tuple[str, RequestTime]]:
        """Return the mean time of a request in each report with requests to compare, by its letter.

        That of the base is over the requests that it has in common with the first of the others.
        """
        means = [(letter, each.before, each.after) for letter, each in self.pairs()]
        bases = [(self.letters[0], before) for _, before, _ in means if before]
        others = [(letter, after) for letter, _, after in means if after]
        return [*bases[:1], *others]


def compare_reports(
    reports: Sequence[SavedReport], *, whole: Whole = "e2e", most_moved: int = 10
) -> ReportComparison:
    """Return how reports differ from the first of them; `most_moved` requests are named for each."""
    unit: Unit = "s" if all(each.is_timed for each in reports) else "steps"
    base, *others = reports
    times = [_request_times(each, unit, whole) for each in reports]
    return ReportComparison(
        reports=reports,
        settings=list(_changed_settings(reports)),
        figures=list(_compared_figures(reports)),
        unit=unit,
        whole=whole,
        requests=[
            _compared_requests(base, other, times[0], after, most_moved)
            for other, after in zip(others, times[1:], strict=True)
        ],
    )


def difference(before: float, after: float) -> float:
    """Return the change from one value to another; 0 if it is only the rounding of sums."""
    return 0 if math.isclose(before, after, rel_tol=1e-9) else after - before


def change_of(before: float, after: float, better: Better) -> Change:
    """Return the change from one value to another, with its verdict if one direction is better."""
    change = difference(before, after)
    verdict: Verdict = "equal"
    if change:
        is_improvement = (change < 0) == (better == "lower")
        verdict = "changed" if better == "neutral" else "better" if is_improvement else "worse"
    return Change(change, change / before if before else None, verdict)


def part_label(part: str) -> str:
    """Return the name of a part of a request's time, as people read it: a cause is what was waited for."""
    return f"waiting: {CAUSE_LABELS[part]}" if part in CAUSE_LABELS else part


def ordered_parts(times: Iterable[RequestTime]) -> list[str]:
    """Return the parts that any of these times has, in the order in which they follow each other."""
    found = dict.fromkeys(name for time in times for name in time.parts)
    known = (*CAUSE_LABELS, WAITING, PREFILL, DECODE)
    waiting = [name for name in known[:-2] if name in found]
    others = [name for name in found if name not in known]
    return [*waiting, *others, *(name for name in known[-2:] if name in found)]


def _changed_settings(reports: Sequence[SavedReport]) -> Iterator[ChangedSetting]:
    """Yield each setting that differs; profiles are compared by their names."""
    configs = [dict(each.config) for each in reports]
    for config in configs:
        if isinstance(profiles := config.get("profiles"), list):
            config["profiles"] = [each.get("name") for each in profiles if isinstance(each, dict)]
    for name in dict.fromkeys(name for config in configs for name in config):
        values = [config.get(name) for config in configs]
        if any(value != values[0] for value in values):
            yield ChangedSetting(name, values)


def _compared_figures(reports: Sequence[SavedReport]) -> Iterator[ComparedFigure]:
    """Yield each figure that any report has."""
    for figure in FIGURES.values():
        base, *others = values = [figure.value(each.document) for each in reports]
        changes = [
            None if base is None or other is None else change_of(base, other, figure.better)
            for other in others
        ]
        if any(value is not None for value in values):
            yield ComparedFigure(figure, values, changes)


def _request_times(report: SavedReport, unit: Unit, whole: Whole) -> dict[str, RequestTime]:
    """Return the time of each request that emitted a token, by id."""
    times = {}
    for row in report.requests:
        waited, first, last = _moments(row, unit)
        end = last if whole == "e2e" else first
        if waited is None or first is None or end is None:
            continue
        parts = {cause: part for cause, part in row.get("queue_time_by_cause", {}).items() if part}
        if report.is_timed and unit == "steps":  # the report splits the queue time in seconds
            parts = {WAITING: waited} if waited else {}
        parts[PREFILL] = first - waited
        if whole == "e2e":
            parts[DECODE] = end - first
        preemptions, cached, output = (row.get(name) or 0 for name in _COUNTS)
        times[row["id"]] = RequestTime(end, parts, preemptions, cached, output)
    return times


def _moments(row: Mapping[str, Any], unit: Unit) -> tuple[float | None, float | None, float | None]:
    """Return when a request was first scheduled and emitted its first and last token, after its arrival."""
    if unit == "s":
        return row.get("queue_time"), row.get("ttft"), row.get("e2e")
    arrival = row.get("arrival_step")
    steps = [row.get(f"{name}_step") for name in ("scheduled", "first_token", "last_token")]
    waited, first, last = (None if None in (arrival, step) else step - arrival for step in steps)  # type: ignore[operator]
    return waited, first, last


def _compared_requests(
    base: SavedReport,
    other: SavedReport,
    before: Mapping[str, RequestTime],
    after: Mapping[str, RequestTime],
    most_moved: int,
) -> RequestComparison:
    prompts = {row["id"]: row.get("prompt_tokens") for row in base.requests}
    matched = {row["id"]: row.get("prompt_tokens") for row in other.requests if row["id"] in prompts}
    pairs = [MovedRequest(name, before[name], after[name]) for name in before if name in after]
    changes = [each.change for each in pairs]
    moved = sorted((each for each in pairs if each.change), key=lambda each: -abs(each.change))
    return RequestComparison(
        matched=len(matched),
        only_before=len(prompts) - len(matched),
        only_after=len(other.requests) - len(matched),
        other_prompts=sum(prompts[name] != tokens for name, tokens in matched.items()),
        compared=len(pairs),
        faster=sum(change < 0 for change in changes),
        slower=sum(change > 0 for change in changes),
        equal=changes.count(0),
        before=_mean([each.before for each in pairs]),
        after=_mean([each.after for each in pairs]),
        moved=moved[:most_moved],
        points=[(each.id, each.before.total, each.after.total) for each in pairs],
    )


def _mean(times: Sequence[RequestTime]) -> RequestTime | None:
    """Return the mean time of requests, and its parts; None if there are none."""
    if not times:
        return None
    parts: Counter[str] = Counter()
    for each in times:
        parts.update(each.parts)
    return RequestTime(
        total=fmean(each.total for each in times),
        parts={name: part / len(times) for name, part in parts.items()},
        preemptions=fmean(each.preemptions for each in times),
        cached_tokens=fmean(each.cached_tokens for each in times),
        output_tokens=fmean(each.output_tokens for each in times),
    )
