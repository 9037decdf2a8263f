"""The records of aiperf: `profile_export.jsonl`, a JSON object for each request."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from tracesim.errors import MeasurementError
from tracesim.measured.measurements import MeasuredRequest, MeasuredRun
from tracesim.measured.values import checked_request, first_of, seconds, tokens

_UNITS: Final = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "sec": 1.0}


def is_aiperf(fields: dict[str, Any]) -> bool:
    """Return whether a JSON object is such a record."""
    return isinstance(fields.get("metadata"), dict) and isinstance(fields.get("metrics"), dict)


def aiperf_run(name: str, objects: Iterable[tuple[int, dict[str, Any]]]) -> MeasuredRun:
    """Return the requests of the records; those of the warm-up and failed ones are skipped.

    Raises MeasurementError.
    """
    requests, num_skipped = [], 0
    for number, (line, fields) in enumerate(objects):
        if not is_aiperf(fields):
            raise MeasurementError(name, line, "has no metadata and metrics, as the lines before it")
        metadata = fields["metadata"]
        is_warmup = "warmup" in (metadata.get("benchmark_phase"), metadata.get("phase_kind"))
        if is_warmup or fields.get("error") or "time_to_first_token" not in fields["metrics"]:
            num_skipped += 1
            continue
        requests.append(_request(name, line, number, metadata, fields["metrics"]))
    return MeasuredRun(name, "aiperf", requests, is_remote=True, num_skipped=num_skipped)


def _request(
    name: str, line: int, number: int, metadata: dict[str, Any], metrics: dict[str, Any]
) -> MeasuredRequest:
    def value(*names: str) -> tuple[Any, str, str]:
        found = first_of(metrics, names)
        if found is None:
            raise MeasurementError(name, line, f"has none of the metrics {', '.join(names)}")
        metric = metrics[found]
        if not isinstance(metric, dict) or "value" not in metric:
            raise MeasurementError(name, line, f"{found} has no value, as a metric of aiperf has")
        return metric["value"], str(metric.get("unit")), found

    def duration(metric: str) -> float:
        amount, unit, field = value(metric)
        if unit not in _UNITS:
            raise MeasurementError(
                name, line, f"{field} has the unit {unit!r}; known are {', '.join(_UNITS)}"
            )
        return seconds(amount, name, line, field) * _UNITS[unit]

    def count(*names: str) -> int:
        amount, _, field = value(*names)
        return tokens(amount, name, line, field)

    start = metadata.get("request_start_ns")
    if type(start) is not int:
        raise MeasurementError(name, line, "has no integer metadata.request_start_ns, as aiperf writes it")
    arrival = start / 10**9
    request = MeasuredRequest(
        number,
        str(metadata.get("x_request_id") or line),
        count("input_sequence_length"),
        count("output_sequence_length", "output_token_count"),
        arrival,
        arrival + duration("time_to_first_token"),
        arrival + duration("request_latency"),
    )
    return checked_request(request, name, line)
