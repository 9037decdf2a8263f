"""The JSON report of guidellm: `guidellm benchmark --output-path benchmarks.json`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tracesim.errors import MeasurementError
from tracesim.measured.measurements import MeasuredRequest, MeasuredRun
from tracesim.measured.values import checked_request, first_of, seconds, tokens


def is_guidellm(document: dict[str, Any]) -> bool:
    """Return whether a JSON object is such a report."""
    return isinstance(document.get("benchmarks"), list)


def guidellm_runs(name: str, document: dict[str, Any]) -> Iterator[MeasuredRun]:
    """Yield a run for each benchmark of a report: one for each rate. Raises MeasurementError.

    Requests that failed or were cut off at the end are skipped.
    """
    for number, benchmark in enumerate(document["benchmarks"], 1):
        groups = benchmark.get("requests") if isinstance(benchmark, dict) else None
        successful = groups.get("successful") if isinstance(groups, dict) else None
        if not isinstance(successful, list):
            message = f"benchmarks[{number - 1}] has no list requests.successful, as a report of guidellm has"
            raise MeasurementError(name, None, message)
        requests = [
            _request(name, place, each) for place, each in enumerate(successful, 1) if isinstance(each, dict)
        ]
        others = [(groups or {}).get(name) for name in ("incomplete", "errored")]
        skipped = sum(len(each) for each in others if isinstance(each, list))
        part = f"{name}, benchmark {number}" if len(document["benchmarks"]) > 1 else name
        yield MeasuredRun(part, "guidellm", requests, is_remote=True, num_skipped=skipped)


def _request(name: str, place: int, fields: dict[str, Any]) -> MeasuredRequest:
    """Return one request: its times are in `info.timings`, in older versions in `scheduler_info`."""
    info = fields.get("info") or fields.get("scheduler_info") or {}
    timings = {**fields, **(info.get("timings") or info.get("request_timings") or {})}

    def time(*names: str) -> float:
        found = first_of(timings, names)
        if found is None:
            raise MeasurementError(name, place, f"has none of {', '.join(names)}, as guidellm writes them")
        return seconds(timings[found], name, place, found)

    def count(metrics: str, old: str) -> int:
        given = fields.get(metrics)
        usage = {**fields, **given} if isinstance(given, dict) else fields
        found = first_of(usage, ("total_tokens", "text_tokens", old) if usage is not fields else (old,))
        if found is None:
            raise MeasurementError(name, place, f"has neither {metrics}.text_tokens nor {old}")
        return tokens(usage[found], name, place, found)

    request = MeasuredRequest(
        place - 1,
        str(fields.get("request_id") or place),
        count("input_metrics", "prompt_tokens"),
        count("output_metrics", "output_tokens"),
        time("request_start", "request_start_time", "start_time"),
        time("first_token_iteration", "first_iteration", "first_token_time"),
        time("last_token_iteration", "last_iteration", "last_token_time", "request_end"),
    )
    return checked_request(request, name, place)
