"""Values of measured files: checked where they are read, with the place of what is wrong."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from tracesim.errors import MeasurementError, brief
from tracesim.limits import MAX_SECONDS, MAX_TOKENS
from tracesim.measured.measurements import MeasuredRequest


def seconds(value: Any, file: str, place: int | None, field: str) -> float:
    """Return a time or a duration. Raises MeasurementError for what is no number from 0 to 317 years."""
    number = _number(value)
    if number is None or not 0 <= number <= MAX_SECONDS:
        raise MeasurementError(file, place, f"{field} is {brief(value)}; must be a number of seconds, >= 0")
    return number


def tokens(value: Any, file: str, place: int | None, field: str) -> int:
    """Return a number of tokens. Raises MeasurementError for what is no whole number, or none of tokens."""
    number = _number(value)
    if number is None or number != int(number) or not 0 <= number <= MAX_TOKENS:
        message = f"{field} is {brief(value)}; must be a number of tokens, an integer >= 0"
        raise MeasurementError(file, place, message)
    return int(number)


def first_of(fields: Mapping[str, Any], names: Iterable[str]) -> str | None:
    """Return the first of `names` that `fields` has with a value."""
    return next((name for name in names if fields.get(name) not in (None, "")), None)


def checked_request(request: MeasuredRequest, file: str, place: int | None) -> MeasuredRequest:
    """Return a request whose times are in order. Raises MeasurementError for another."""
    if not request.arrival <= request.first_token <= request.last_token:
        message = (
            f"has its first token {request.first_token - request.arrival:g} s after its arrival and its last "
            f"token {request.last_token - request.first_token:g} s after the first; no time is negative: "
            "all three must be seconds of one clock"
        )
        raise MeasurementError(file, place, message)
    return request


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None
