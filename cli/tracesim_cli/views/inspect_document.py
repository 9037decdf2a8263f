"""The figures of `tracesim inspect` as a JSON document, `INSPECT_SCHEMA`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TypedDict, cast

from tracesim.analysis.trace_statistics import LengthStatistics, SessionStatistics
from tracesim_cli.terminal.json_output import json_document
from tracesim_cli.views.inspect_view import COLUMNS, Inspected

INSPECT_SCHEMA = "tracesim.inspect/1"
RATE_BUCKETS = 60
"""Parts of the duration for which the JSON document has the arrival rate."""


class TraceFile(TypedDict):
    """A file and its format."""

    file: str
    format: str


HistogramBin = TypedDict("HistogramBin", {"from": int, "to": int, "count": int})
HistogramBin.__doc__ = "How many lengths are in a range; both ends are in it."


class LengthFigures(TypedDict):
    """Lengths in tokens: their sum, mean, percentiles and histogram."""

    total: int
    mean: float
    p50: float
    p90: float
    p99: float
    max: float
    histogram: Sequence[HistogramBin]


class ArrivalFigures(TypedDict):
    """When records arrive, in seconds or steps, and the rate in each of equal parts of that time."""

    unit: str
    count: int
    first: float
    last: float
    rates: Sequence[float]


class PrefixFigures(TypedDict):
    """What an unlimited prefix cache would find of the prompts, in the order of the trace.

    `shared_first` counts the records whose first block is also the first block of another record, and
    `first_blocks` the different first blocks. `found_fraction` is the fraction of the prompt tokens found.
    """

    records: int
    prompt_tokens: int
    found_tokens: int
    blocks: int
    found_blocks: int
    shared_first: int
    first_blocks: int
    found_session_tokens: int
    found_fraction: float


class InspectDocument(TypedDict):
    """The result of `tracesim inspect`.

    `kinds` counts the records with text, token ids, lengths and `hash_ids`. `tokenizer` is null if no text
    was tokenized, `arrivals` if no record has one, and `sessions` if no record belongs to one.
    """

    schema: str
    files: Sequence[TraceFile]
    records: int
    kinds: Mapping[str, int]
    errors: int
    warnings: int
    tokenizer: str | None
    prompt_tokens: LengthFigures
    output_tokens: LengthFigures
    arrivals: ArrivalFigures | None
    sessions: SessionStatistics | None
    prefixes: PrefixFigures


def format_json(inspected: Inspected) -> bytes:
    """Return the figures as one JSON document, `INSPECT_SCHEMA`, with a newline at its end."""
    stats = inspected.stats
    prefixes, arrivals = stats.prefixes, stats.arrivals
    document: InspectDocument = {
        "schema": INSPECT_SCHEMA,
        "files": [{"file": file, "format": name} for file, name in inspected.formats.items()],
        "records": stats.records,
        "kinds": stats.kinds,
        "errors": inspected.problems["error"],
        "warnings": inspected.problems["warning"],
        "tokenizer": inspected.tokenizer if stats.has_tokenized else None,
        "prompt_tokens": _lengths(stats.prompt_tokens),
        "output_tokens": _lengths(stats.output_tokens),
        "arrivals": None,
        "sessions": stats.sessions,
        "prefixes": cast(
            "PrefixFigures", {**asdict(prefixes), "found_fraction": round(prefixes.found_fraction, 4)}
        ),
    }
    if arrivals:
        document["arrivals"] = {
            "unit": arrivals.unit,
            "count": arrivals.count,
            "first": arrivals.first,
            "last": arrivals.last,
            "rates": [round(rate, 6) for rate in arrivals.rates(RATE_BUCKETS)],
        }
    return json_document(document)


def _lengths(lengths: LengthStatistics) -> LengthFigures:
    figures = {
        "total": lengths.total,
        "mean": round(lengths.mean, 2),
        **{name: round(lengths.percentile(percent), 2) for name, percent in COLUMNS.items()},
        "histogram": [{"from": low, "to": high, "count": count} for low, high, count in lengths.histogram()],
    }
    return cast("LengthFigures", figures)
