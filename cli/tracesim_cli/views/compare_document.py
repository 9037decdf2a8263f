"""The result of `tracesim compare` as a JSON document, `COMPARE_SCHEMA`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from tracesim.analysis.comparison import Change, ReportComparison, RequestComparison, RequestTime
from tracesim_cli.terminal.json_output import json_document

COMPARE_SCHEMA = "tracesim.compare/1"


class SettingDocument(TypedDict):
    """A setting that is not equal in all reports; null where a report has none of this name."""

    name: str
    values: Sequence[Any]


class ChangeDocument(TypedDict):
    """The change of a figure from the first report: as a number, as a fraction of it, and as a word.

    `verdict` is "better", "worse", "equal", or "changed" for a figure that has no direction.
    """

    absolute: float
    relative: float | None
    verdict: str


class FigureDocument(TypedDict):
    """A figure of each report, and its change in each report after the first; null where there is none."""

    name: str
    unit: str
    better: str
    values: Sequence[float | None]
    changes: Sequence[ChangeDocument | None]


class TimeDocument(TypedDict):
    """The time of a request, and of its parts: the causes for which it waited, prefill and decode."""

    total: float
    parts: Mapping[str, float]
    preemptions: float
    cached_tokens: float
    output_tokens: float


class MovedDocument(TypedDict):
    """A request whose time changed; `reasons` are the changes of its parts, the greatest first."""

    id: str
    change: float
    reasons: Mapping[str, float]
    before: TimeDocument
    after: TimeDocument


class RequestsDocument(TypedDict):
    """The requests of the first report and of another, matched by id.

    `compared` of the `matched` emitted a token in both. `before` and `after` are means over these.
    """

    matched: int
    only_before: int
    only_after: int
    other_prompts: int
    compared: int
    faster: int
    slower: int
    equal: int
    before: TimeDocument | None
    after: TimeDocument | None
    moved: Sequence[MovedDocument]


class CompareDocument(TypedDict):
    """The result of `tracesim compare`. `requests` has an entry for each report after the first.

    `by` is what the time of a request is, "e2e" or "ttft", and `unit` is "s" or "steps".
    """

    schema: str
    reports: Sequence[str]
    settings: Sequence[SettingDocument]
    figures: Sequence[FigureDocument]
    by: str
    unit: str
    requests: Sequence[RequestsDocument]


def format_json(comparison: ReportComparison) -> bytes:
    """Return a comparison as a JSON document, `COMPARE_SCHEMA`, with a newline at its end."""
    document: CompareDocument = {
        "schema": COMPARE_SCHEMA,
        "reports": [report.name for report in comparison.reports],
        "settings": [{"name": each.name, "values": each.values} for each in comparison.settings],
        "figures": [
            {
                "name": each.figure.name,
                "unit": each.figure.unit,
                "better": each.figure.better,
                "values": each.values,
                "changes": [None if change is None else _change(change) for change in each.changes],
            }
            for each in comparison.figures
        ],
        "by": comparison.whole,
        "unit": comparison.unit,
        "requests": [_requests(each) for each in comparison.requests],
    }
    return json_document(document)


def _change(change: Change) -> ChangeDocument:
    return {"absolute": change.absolute, "relative": change.relative, "verdict": change.verdict}


def _requests(requests: RequestComparison) -> RequestsDocument:
    return {
        "matched": requests.matched,
        "only_before": requests.only_before,
        "only_after": requests.only_after,
        "other_prompts": requests.other_prompts,
        "compared": requests.compared,
        "faster": requests.faster,
        "slower": requests.slower,
        "equal": requests.equal,
        "before": None if requests.before is None else _time(requests.before),
        "after": None if requests.after is None else _time(requests.after),
        "moved": [
            {
                "id": each.id,
                "change": each.change,
                "reasons": dict(each.reasons()),
                "before": _time(each.before),
                "after": _time(each.after),
            }
            for each in requests.moved
        ],
    }


def _time(time: RequestTime) -> TimeDocument:
    return {
        "total": time.total,
        "parts": time.parts,
        "preemptions": time.preemptions,
        "cached_tokens": time.cached_tokens,
        "output_tokens": time.output_tokens,
    }
