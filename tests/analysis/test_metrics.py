"""Latencies and throughput of a run under a clock, in its metrics, its reports and its CSV."""

from __future__ import annotations

import json
from dataclasses import astuple

import pytest

from factories import a_record, an_engine
from tracesim import LLMEngine
from tracesim.analysis.metrics import Latency, Metrics, Slo, parse_slo
from tracesim.analysis.report import (
    RunReport,
    TimedRequestReport,
    measure_run,
    report_requests,
    report_to_json,
    requests_to_csv,
    summarize,
)
from tracesim.errors import ConfigError
from tracesim.timing.arrival_process import ArrivalProcess, parse_arrivals
from tracesim.timing.clock import PER_SECOND, Clock

MS = PER_SECOND // 1000


def metrics_of(engine: LLMEngine, slo: Slo | None = None) -> Metrics:
    """Return the metrics of a run that has a clock."""
    metrics = measure_run(engine, slo)
    assert metrics is not None
    return metrics


def timed_reports(engine: LLMEngine) -> list[TimedRequestReport]:
    """Return the reports of the requests of a run that has a clock."""
    reports = report_requests(engine)
    return [report for report in reports if isinstance(report, TimedRequestReport)]


def seconds(latency: Latency | None) -> tuple[float, ...]:
    """Return mean, p50, p90, p95 and p99."""
    assert latency is not None
    return astuple(latency)


def test_case_by_hand() -> None:
    """Two requests under `vllm-v0`; a step takes 10 ms, and 1 ms more for each prefill token.

    a: prompt of 4 tokens, 3 output tokens, arrives at 0. b: prompt of 6, 2 output tokens, arrives at 5 ms.

        step 0 (0 to 14 ms): prefill a; a's 1st token at 14.
        step 1 (14 to 30 ms): b, arrived at 5, is prefilled; b's 1st token at 30.
        step 2 (30 to 40 ms): decode both; a's 2nd and b's 2nd and last token at 40.
        step 3 (40 to 50 ms): decode a; its last token at 50.

    TTFT: a 14, b 25. E2E: a 50, b 35. TPOT: a (50 - 14) / 2 = 18, b 10. ITL: a 26 and 10, b 10. Queue time:
    a 0, b 14 - 5 = 9. There are 2 requests and 5 output tokens in 50 ms: 40 and 100 per second; with 10
    prompt tokens, 300 per second. TTFT is within 20 ms only for a, TPOT within 18 ms for both: goodput is
    20 per second, attainment 1 / 2. Batches have 1, 1, 2 and 1 requests for 14, 16, 10 and 10 ms: 60 / 50 on
    average.
    """
    records = [
        a_record("a", prompt="aaaa", response="xyz"),
        a_record("b", prompt="bbbbbb", response="xy", arrival_time=0.005),
    ]
    engine = an_engine(records, clock=Clock(base=10 * MS, prefill=MS), engine="vllm-v0")
    engine.run()
    metrics = metrics_of(engine, Slo(ttft=0.020, tpot=0.018))

    names = ("arrival_time", "queue_time", "ttft", "tpot", "e2e")
    assert [{name: getattr(report, name) for name in names} for report in timed_reports(engine)] == [
        {"arrival_time": 0.0, "queue_time": 0.0, "ttft": 0.014, "tpot": 0.018, "e2e": 0.05},
        {"arrival_time": 0.005, "queue_time": 0.009, "ttft": 0.025, "tpot": 0.01, "e2e": 0.035},
    ]
    assert (metrics.duration, metrics.request_throughput, metrics.goodput) == (0.05, 40.0, 20.0)
    assert (metrics.slo_attainment, metrics.slo_missed) == (0.5, {"ttft": 1, "tpot": 0})
    assert (metrics.output_token_throughput, metrics.total_token_throughput) == (100.0, 300.0)
    assert pytest.approx(1.2) == metrics.mean_batch
    assert pytest.approx((0.0195, 0.0195, 0.0239, 0.02445, 0.02489)) == seconds(metrics.ttft)
    assert pytest.approx((0.014, 0.014, 0.0172, 0.0176, 0.01792)) == seconds(metrics.tpot)
    assert pytest.approx((0.046 / 3, 0.010, 0.0228, 0.0244, 0.02568)) == seconds(metrics.itl)
    assert pytest.approx((0.0425, 0.0425, 0.0485, 0.04925, 0.04985)) == seconds(metrics.e2e)
    assert pytest.approx((0.0045, 0.0045, 0.0081, 0.00855, 0.00891)) == seconds(metrics.queue_time)


def test_no_times_without_a_clock() -> None:
    engine = an_engine([a_record("a", arrival_time=9.0)])
    engine.run()

    assert measure_run(engine) is None
    assert timed_reports(engine) == []
    assert [report.arrival_step for report in report_requests(engine)] == [0]


def test_request_without_output_has_only_a_queue_time() -> None:
    engine = an_engine([a_record("a", response="")], clock=Clock(base=MS))
    engine.run()
    (report,) = timed_reports(engine)
    metrics = metrics_of(engine, Slo(ttft=1.0, e2e=1.0))

    assert (report.queue_time, report.ttft, report.tpot, report.e2e) == (0.0, None, None, None)
    assert (metrics.ttft, metrics.itl, metrics.goodput) == (None, None, 0.0)
    assert (metrics.slo_attainment, metrics.slo_missed) == (0.0, {"ttft": 1, "e2e": 1})


def test_a_single_token_keeps_a_limit_of_tpot() -> None:
    engine = an_engine([a_record("a", response="x")], clock=Clock(base=MS))
    engine.run()
    metrics = metrics_of(engine, Slo(tpot=1e-9))

    assert (metrics.tpot, metrics.slo_attainment, metrics.slo_missed) == (None, 1.0, {"tpot": 0})


def test_there_is_no_attainment_without_requests_or_without_limits() -> None:
    engine = an_engine([a_record("a")], clock=Clock(base=MS))
    before = metrics_of(engine, Slo(ttft=1.0))
    engine.run()
    without = metrics_of(engine)

    assert (before.goodput, before.slo_attainment, before.slo_missed) == (0.0, None, {"ttft": 0})
    assert (without.goodput, without.slo_attainment, without.slo_missed) == (None, None, None)


def test_the_report_has_attainment_and_missed_limits() -> None:
    engine = an_engine([a_record("a")], clock=Clock(base=MS))
    engine.run()
    run_report = RunReport({}, summarize(engine), report_requests(engine), metrics_of(engine, Slo(e2e=1e-9)))
    metrics = json.loads(report_to_json(run_report))["metrics"]

    assert (metrics["slo_attainment"], metrics["slo_missed"]) == (0.0, {"e2e": 1})
    assert list(metrics["ttft"]) == ["mean", "p50", "p90", "p95", "p99"]


@pytest.mark.parametrize("closed", [False, True])
def test_abort_does_not_change_other_requests(closed: bool) -> None:
    """The gaps of an aborted request count as far as it came; with one user, the next request follows it."""
    records = [a_record("leaves", response="x" * 9), a_record("stays", prompt="Yo", response="abc")]
    process = ArrivalProcess("closed", users=1) if closed else None
    engine = an_engine(records, clock=Clock(base=MS), arrivals=process, engine="vllm-v0")
    for _ in range(4):
        engine.step()
    engine.abort_request("leaves")
    engine.run()
    metrics = metrics_of(engine)
    leaves, stays = timed_reports(engine)

    assert engine.timekeeper is not None
    assert engine.timekeeper.gaps.counts() == {MS: 3 + 2}
    assert (leaves.finish_reason, leaves.e2e) == ("abort", 0.004)
    assert (0.004 if closed else 0.0, 0.001) == (stays.arrival_time, stays.tpot)
    assert pytest.approx(1 / metrics.duration) == metrics.request_throughput


def test_same_seed_gives_the_same_bytes() -> None:
    def report(seed: int) -> bytes:
        records = [a_record(f"r{number}", response="x" * (number % 9)) for number in range(50)]
        clock, process = Clock(base=3 * MS, context=MS // 9), parse_arrivals("poisson:40", seed=seed)
        engine = an_engine(records, clock=clock, arrivals=process, max_num_seqs=4)
        engine.run()
        reports = report_requests(engine)
        run_report = RunReport({}, summarize(engine), reports, measure_run(engine))
        return report_to_json(run_report) + requests_to_csv(reports)

    assert report(1) == report(1)
    assert report(1) != report(2)


def test_csv_has_a_row_for_each_request() -> None:
    engine = an_engine([a_record('a,"b"\n', response="xy")], clock=Clock(base=MS))
    engine.run()

    assert requests_to_csv(report_requests(engine)).decode().splitlines() == [
        "id,prompt_tokens,output_tokens,finish_reason,stop_reason,arrival_step,first_token_step,"
        "last_token_step,preemptions,cached_tokens,scheduled_step,session_id,cached_session_tokens,replica,"
        "arrival_time,queue_time,ttft,tpot,e2e,"
        "queue_time_max_num_seqs,queue_time_token_budget,queue_time_kv_blocks,queue_time_watermark,"
        "queue_time_preemption,queue_time_chunked_prefill_off,queue_time_running_step",
        '"a,""b""',
        '",2,2,stop,,0,1,2,0,0,0,,0,,0.0,0.0,0.002,0.001,0.003,0,0,0,0,0,0,0',
    ]


def test_objectives() -> None:
    assert Slo(ttft=0.5, tpot=0.05) == parse_slo("ttft=500ms, tpot=50ms")
    assert Slo(e2e=2.0) == parse_slo("e2e=2s")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "slo is ''; must be limits of ttft, tpot, e2e"),
        ("ttft", "slo is 'ttft'; must be limits of ttft, tpot, e2e"),
        ("itl=5ms", "slo is 'itl=5ms'; must be limits of ttft, tpot, e2e"),
        ("ttft=1s,ttft=2s", "gives a limit of ttft twice"),
        ("ttft=fast", "slo.ttft is 'fast'; must be a duration, such as 20ms"),
    ],
)
def test_invalid_objectives(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_slo(text)
