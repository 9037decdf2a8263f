"""The report of a run: a row for each request, a summary, and metrics. Pure functions that print nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Protocol

import orjson

from tracesim.analysis.csv_text import to_csv
from tracesim.analysis.metrics import NO_LATENCY, Metrics, Slo, latency_of, measure
from tracesim.analysis.queueing import (
    all_queue_times,
    is_overloaded,
    queue_time_by_cause,
    total_queue_time_by_cause,
)
from tracesim.config import EngineConfig
from tracesim.engine.llm_engine import LLMEngine
from tracesim.engine.progress import REJECTED, UNSENT, RequestProgress, RunCounts, sum_of_counts
from tracesim.engine.waiting_intervals import RUNNING_STEP
from tracesim.scheduler import CAUSES
from tracesim.timing.timekeeper import RequestTimes, Timekeeper

REPORT_SCHEMA = "tracesim.report/1"


@dataclass(frozen=True, slots=True)
class RequestReport:
    """What became of one request. Steps count from 0; what has not happened is None.

    `output_tokens` counts emitted tokens, `text` is the output they make (None if only ids or lengths are
    known), `preemptions` counts how often the request lost its KV cache and was computed again.
    `cached_tokens` of the prompt were in the prefix cache when the request was first admitted, in
    `scheduled_step`; `cached_session_tokens` of them are those that an earlier turn of its session had.
    `session_id` is None outside of sessions, and `replica`, the number of the replica that had the request,
    if there is only one.

    `queue_time_by_cause` splits the time from the arrival until then by what kept the
    request waiting, in steps or, under a clock, in seconds: a cause of `WaitingFor`, or `running_step`, the
    step during which the request arrived.
    """

    id: str
    prompt_tokens: int
    output_tokens: int
    text: str | None
    finish_reason: str | None
    stop_reason: str | None
    arrival_step: int | None
    first_token_step: int | None
    last_token_step: int | None
    preemptions: int
    cached_tokens: int = 0
    scheduled_step: int | None = None
    queue_time_by_cause: Mapping[str, float] = field(default_factory=dict)
    session_id: str | None = None
    cached_session_tokens: int = 0
    replica: int | None = None


@dataclass(frozen=True, slots=True)
class TimedRequestReport(RequestReport):
    """A request's row in a run with a clock: its arrival and its latencies, as `metrics` defines them.

    In seconds; None if the request emitted too few tokens for a latency.
    """

    arrival_time: float | None = None
    queue_time: float | None = None
    ttft: float | None = None
    tpot: float | None = None
    e2e: float | None = None


@dataclass(frozen=True, slots=True)
class BatchSizes:
    """The number of requests in a batch, over the steps that had any: mean and maximum."""

    mean: float
    max: int


@dataclass(frozen=True, slots=True)
class ReplicaSummary:
    """The figures of one replica, as `Summary` has them for all."""

    requests: int
    steps: int
    prompt_tokens: int
    output_tokens: int
    preemptions: int
    peak_kv_cache_usage: float | None
    cached_tokens: int | None
    prefix_cache_hit_rate: float | None


@dataclass(frozen=True, slots=True)
class Summary:
    """The main figures of a run. `steps` counts the steps that did something, without idle ones.

    `discarded_tokens` were computed in vain; None without asynchronous scheduling and `stop_delay`.
    `finished` counts requests by their reason, `rejected` those that could never run, and `unsent` those
    that never arrived, as one for which they wait was rejected, aborted or unsent itself. The tokens of
    neither are counted. `sessions` counts the sessions of the requests.

    `peak_kv_cache_usage` is the largest fraction of the KV blocks in use at once (None: unlimited).
    `prefix_cache_hit_rate` is the fraction of the prompt tokens of all admitted requests that were in the
    prefix cache, `cached_tokens` their number; both are None without prefix caching. `cached_session_tokens`
    of these are tokens that an earlier turn of the same session had; None if there are no sessions, too.

    `replicas` has a part of these figures for each replica, and is empty if there is only one; `imbalance` is
    by how much the replica that computed most tokens exceeds their mean, None then. `peak_kv_cache_usage` is
    that of the replica with the largest.

    `queue_time_by_cause` is the sum over the requests. `overloaded` is true if the queue only grew while
    requests arrived; see `is_overloaded`.
    """

    requests: int
    finished: Mapping[str, int]
    unfinished: int
    steps: int
    prompt_tokens: int
    output_tokens: int
    prefill_steps: int
    decode_steps: int
    prefill_batch: BatchSizes
    decode_batch: BatchSizes
    preemptions: int
    rejected: int = 0
    peak_kv_cache_usage: float | None = None
    discarded_tokens: int | None = None
    cached_tokens: int | None = None
    prefix_cache_hit_rate: float | None = None
    queue_time_by_cause: Mapping[str, float] = field(default_factory=dict)
    overloaded: bool = False
    unsent: int = 0
    sessions: int = 0
    cached_session_tokens: int | None = None
    replicas: Sequence[ReplicaSummary] = ()
    imbalance: float | None = None


@dataclass(frozen=True, slots=True)
class RunReport:
    """A whole run: its configuration, its summary, and every request in the order in which it was added.

    `metrics` are None without a clock.
    """

    config: Mapping[str, object]
    summary: Summary
    requests: Sequence[RequestReport]
    metrics: Metrics | None = None


class Run(Protocol):
    """A run to report: an `LLMEngine`, or a `Cluster` of several."""

    @property
    def config(self) -> EngineConfig: ...  # noqa: D102

    @property
    def engines(self) -> Sequence[LLMEngine]: ...  # noqa: D102

    @property
    def requests(self) -> Mapping[str, RequestProgress]: ...  # noqa: D102

    def get_num_unfinished_requests(self) -> int: ...  # noqa: D102


def report_requests(run: Run) -> list[RequestReport]:
    """Return a row for every request of a run, in the order in which they were added."""
    rows: list[RequestReport] = []
    for progress in run.requests.values():
        engine = run.engines[progress.replica or 0]
        if engine.timekeeper is None:
            rows.append(RequestReport(**_row(progress, engine)))
            continue
        times = engine.timekeeper.requests.get(progress.request.id)
        latency = NO_LATENCY if times is None else latency_of(times, progress.state.num_output_tokens)
        rows.append(TimedRequestReport(**_row(progress, engine), **asdict(latency)))
    return rows


def measure_run(run: Run, slo: Slo | None = None) -> Metrics | None:
    """Return the metrics of the run so far, with goodput and attainment of `slo`; None without a clock."""
    timekeepers = [engine.timekeeper for engine in run.engines if engine.timekeeper is not None]
    if not timekeepers:
        return None
    prompt_tokens = output_tokens = 0
    for progress in run.requests.values():
        output_tokens += progress.state.num_output_tokens
        if progress.finish_reason is not None and progress.can_run:
            prompt_tokens += progress.request.num_prompt_tokens
    # The run lasts from the first arrival of a request that can run to the end of the last step that counts.
    end = max(timekeeper.end for timekeeper in timekeepers)
    arrivals = [
        timekeeper.requests[request_id].arrived
        for engine, timekeeper in zip(run.engines, timekeepers, strict=True)
        for request_id, progress in engine.requests.items()
        if request_id in timekeeper.requests and not progress.is_rejected
    ]
    done = [
        each
        for engine, timekeeper in zip(run.engines, timekeepers, strict=True)
        for each in times_of_finished(engine, timekeeper)
    ]
    duration = max(0, end - min(arrivals, default=end))
    return measure(
        timekeepers, done, duration, prompt_tokens=prompt_tokens, output_tokens=output_tokens, slo=slo
    )


def times_of_finished(engine: LLMEngine, timekeeper: Timekeeper) -> list[tuple[RequestTimes, int]]:
    """Return the times and the output tokens of each request of an engine that finished by its response."""
    times = timekeeper.requests
    return [
        (times[request_id], progress.state.num_output_tokens)
        for request_id, progress in engine.requests.items()
        if progress.finish_reason not in (None, "abort", REJECTED, UNSENT) and request_id in times
    ]


def summarize(run: Run) -> Summary:
    """Return the summary of the run so far."""
    counts = sum_of_counts([engine.counts for engine in run.engines])
    requests = run.requests.values()
    finished = Counter(request.finish_reason for request in requests if request.finish_reason)
    rejected, unsent = finished.pop(REJECTED, 0), finished.pop(UNSENT, 0)
    sessions = len({each.request.session_id for each in requests} - {None})
    totals = _totals(run.engines, requests, counts)
    queue_times = [all_queue_times(engine) for engine in run.engines]
    replicas = (
        []
        if len(run.engines) == 1
        else [_totals([engine], engine.requests.values(), engine.counts) for engine in run.engines]
    )
    return Summary(
        **asdict(totals),
        finished=dict(sorted(finished.items())),
        rejected=rejected,
        unfinished=run.get_num_unfinished_requests(),
        prefill_steps=counts.prefill_steps,
        decode_steps=counts.decode_steps,
        prefill_batch=_batch(counts.prefill_requests, counts.prefill_steps, counts.largest_prefill),
        decode_batch=_batch(counts.decode_requests, counts.decode_steps, counts.largest_decode),
        discarded_tokens=counts.discarded_tokens if run.engines[0].scheduler.discards else None,
        queue_time_by_cause=total_queue_time_by_cause(run.engines, queue_times),
        overloaded=any(map(is_overloaded, run.engines, queue_times)),
        unsent=unsent,
        sessions=sessions,
        cached_session_tokens=(
            None
            if totals.cached_tokens is None or not sessions
            else sum(each.cached_session_tokens for each in requests)
        ),
        replicas=replicas,
        imbalance=_imbalance(replicas),
    )


def _totals(
    engines: Sequence[LLMEngine], requests: Collection[RequestProgress], counts: RunCounts
) -> ReplicaSummary:
    """Return the figures of some engines and of their requests."""
    cached = None
    if engines[0].config.enable_prefix_caching:
        cached = sum(each.state.num_cached_tokens or 0 for each in requests)
    looked_up = sum(r.request.num_prompt_tokens for r in requests if r.state.num_cached_tokens is not None)
    peaks = [engine.scheduler.peak_kv_cache_usage for engine in engines]
    peak = max((each for each in peaks if each is not None), default=None)
    return ReplicaSummary(
        requests=len(requests),
        steps=counts.steps,
        prompt_tokens=sum(each.request.num_prompt_tokens for each in requests if each.can_run),
        output_tokens=sum(each.state.num_output_tokens for each in requests),
        preemptions=sum(each.state.num_preemptions for each in requests),
        peak_kv_cache_usage=None if peak is None else round(peak, 4),
        cached_tokens=cached,
        prefix_cache_hit_rate=None if cached is None else round(cached / max(1, looked_up), 4),
    )


def _imbalance(replicas: Sequence[ReplicaSummary]) -> float | None:
    """Return by how much the most tokens that a replica computed exceed the mean; None for none."""
    computed = [each.prompt_tokens - (each.cached_tokens or 0) + each.output_tokens for each in replicas]
    if not sum(computed):
        return None
    return round(max(computed) * len(computed) / sum(computed) - 1, 4)


def report_to_json(report: RunReport) -> bytes:
    """Return the JSON report: one document with the schema `REPORT_SCHEMA`, with a newline at its end."""
    document = {
        "schema": REPORT_SCHEMA,
        "config": report.config,
        "summary": report.summary,
        **({} if report.metrics is None else {"metrics": report.metrics}),
        "requests": report.requests,
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def requests_to_csv(requests: Sequence[RequestReport]) -> bytes:
    """Return the rows as CSV with a header, see `to_csv`; texts are omitted.

    `queue_time_by_cause` is a column for each cause, such as `queue_time_kv_blocks`.
    """
    kind = type(requests[0]) if requests else RequestReport
    columns = [field.name for field in fields(kind) if field.name not in ("text", "queue_time_by_cause")]
    causes = [*CAUSES, RUNNING_STEP]
    rows: list[list[object]] = [[*columns, *(f"queue_time_{cause}" for cause in causes)]]
    for request in requests:
        parts = request.queue_time_by_cause
        shares = [None if request.scheduled_step is None else parts.get(cause, 0) for cause in causes]
        rows.append([*(getattr(request, name) for name in columns), *shares])
    return to_csv(rows)


def _row(progress: RequestProgress, engine: LLMEngine) -> dict[str, Any]:
    return {
        "id": progress.request.id,
        "prompt_tokens": progress.request.num_prompt_tokens,
        "output_tokens": progress.state.num_output_tokens,
        "text": progress.response.text_after(progress.state.num_output_tokens),
        "finish_reason": progress.finish_reason,
        "stop_reason": progress.stop_reason,
        "arrival_step": progress.arrival_step,
        "first_token_step": progress.first_token_step,
        "last_token_step": progress.last_token_step,
        "preemptions": progress.state.num_preemptions,
        "cached_tokens": progress.state.num_cached_tokens or 0,
        "scheduled_step": progress.scheduled_step,
        "queue_time_by_cause": queue_time_by_cause(engine, progress.request.id),
        "session_id": progress.request.session_id,
        "cached_session_tokens": progress.cached_session_tokens,
        "replica": progress.replica,
    }


def _batch(requests: int, steps: int, largest: int) -> BatchSizes:
    return BatchSizes(mean=round(requests / steps, 2) if steps else 0.0, max=largest)
