"""The results of `vllm bench serve --save-result --save-detailed`: a list for each quantity."""

from __future__ import annotations

from typing import Any, Final

from tracesim.errors import MeasurementError
from tracesim.measured.measurements import MeasuredRequest, MeasuredRun
from tracesim.measured.values import checked_request, seconds, tokens

_NEEDED: Final = ("input_lens", "output_lens", "start_times", "ttfts", "itls")


def is_vllm_bench(document: dict[str, Any]) -> bool:
    """Return whether a JSON object is such a result, with details or without."""
    return "ttfts" in document or "input_lens" in document or "mean_ttft_ms" in document


def vllm_bench_run(name: str, document: dict[str, Any]) -> MeasuredRun:
    """Return the requests of a result; those with an error are skipped. Raises MeasurementError."""
    lists = {field: document.get(field) for field in _NEEDED}
    for field, values in lists.items():
        if not isinstance(values, list):
            message = (
                f"has no list {field}; write the results with: "
                "vllm bench serve ... --save-result --save-detailed"
            )
            raise MeasurementError(name, None, message)
    lengths = {field: len(values) for field, values in lists.items() if isinstance(values, list)}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{field} has {length:,}" for field, length in lengths.items())
        raise MeasurementError(name, None, f"has lists of different lengths: {found}")
    errors = document.get("errors") or [None] * lengths["ttfts"]
    requests = []
    rows = zip(*lists.values(), errors, strict=False)  # type: ignore[arg-type]  # all are lists
    for number, (prompt, output, start, ttft, gaps, error) in enumerate(rows, 1):
        if error or not ttft or not output:
            continue
        arrival = seconds(start, name, number, "start_times")
        first = arrival + seconds(ttft, name, number, "ttfts")
        if not isinstance(gaps, list):
            raise MeasurementError(name, number, "itls is no list; must have the times between its tokens")
        last = first + sum(seconds(gap, name, number, "itls") for gap in gaps)
        request = MeasuredRequest(
            number - 1,
            None,
            tokens(prompt, name, number, "input_lens"),
            tokens(output, name, number, "output_lens"),
            arrival,
            first,
            last,
        )
        requests.append(checked_request(request, name, number))
    skipped = lengths["ttfts"] - len(requests)
    return MeasuredRun(name, "vllm bench serve", requests, is_remote=True, num_skipped=skipped)
