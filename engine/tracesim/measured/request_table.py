"""Requests with their times, a row each, in CSV or JSONL of any tool: columns are known by their names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from tracesim.errors import MeasurementError
from tracesim.measured.measurements import MeasuredRequest, MeasuredRun
from tracesim.measured.values import checked_request, first_of, seconds, tokens

COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "id": ("request_id", "id"),
    "prompt": ("input_toks", "prompt_tokens", "input_tokens", "input_length", "num_prompt_tokens"),
    "output": ("output_toks", "output_tokens", "completion_tokens", "output_length", "num_output_tokens"),
    "arrival": ("queued_ts", "arrival_ts", "arrival_time", "arrival", "start_time", "request_start"),
    "first token": ("first_token_ts", "first_token_time", "first_token"),
    "last token": ("last_token_ts", "last_token_time", "last_token", "end_time", "request_end"),
    "ttft": ("ttft",),
    "e2e": ("e2e", "latency"),
}
"""The names of each column, the preferred one first.

vLLM's `queued_ts` comes before its `arrival_time`: it is on the clock of the tokens, and marks when the
engine's queue had the request. `ttft` and `e2e`, in seconds from the arrival, may stand for the times of
tokens.
"""

_NEEDED: Final = ("prompt", "output", "arrival")


def is_request_table(names: Iterable[str]) -> bool:
    """Return whether rows with these names may be such a table: they have an arrival and a first token."""
    known = set(names)
    has = {column: not known.isdisjoint(each) for column, each in COLUMNS.items()}
    return has["arrival"] and (has["first token"] or has["ttft"])


def request_table_run(name: str, rows: Iterable[tuple[int, Mapping[str, Any]]]) -> MeasuredRun:
    """Return the requests of a table. Raises MeasurementError.

    Rows without a first token, as of a request that failed, are skipped.
    """
    requests, num_skipped = [], 0
    for number, (line, row) in enumerate(rows):
        found = {column: first_of(row, names) for column, names in COLUMNS.items()}
        if found["first token"] is None and found["ttft"] is None:
            num_skipped += 1
            continue
        for column in _NEEDED:
            if found[column] is None:
                message = f"has no {column}; its column is called {' or '.join(COLUMNS[column])}"
                raise MeasurementError(name, line, message)
        requests.append(_request(name, line, number, row, found))
    return MeasuredRun(name, "per-request times", requests, num_skipped=num_skipped)


def _request(
    name: str, line: int, number: int, row: Mapping[str, Any], found: Mapping[str, str | None]
) -> MeasuredRequest:
    def time(column: str) -> float:
        field = found[column]
        assert field is not None
        return seconds(row[field], name, line, field)

    arrival = time("arrival")
    first = time("first token") if found["first token"] else arrival + time("ttft")
    if found["last token"]:
        last = time("last token")
    elif found["e2e"]:
        last = arrival + time("e2e")
    else:
        columns = [*COLUMNS["last token"], *COLUMNS["e2e"]]
        raise MeasurementError(name, line, f"has no last token; its column is called {' or '.join(columns)}")
    prompt, output = found["prompt"], found["output"]
    assert prompt is not None
    assert output is not None
    request = MeasuredRequest(
        number,
        str(row[found["id"]]) if found["id"] else None,
        tokens(row[prompt], name, line, prompt),
        tokens(row[output], name, line, output),
        arrival,
        first,
        last,
    )
    return checked_request(request, name, line)
