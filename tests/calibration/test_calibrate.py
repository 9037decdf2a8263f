"""Calibrations of servers whose clock is known: what is found, scored, and warned of."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from measured_runs import CLOCK, SETTINGS, Server, a_server, written
from tracesim import EngineArgs, TraceRecord
from tracesim.calibration.calibrate import Calibration, Task, calibrate
from tracesim.errors import MeasurementError
from tracesim.measured.reading import read_measured
from tracesim.timing.calibration import costs_of
from tracesim.timing.clock import Clock, parse_clock
from tracesim.trace.reader import read_records

pytest.importorskip("scipy")

CAPTURES = Path(os.environ.get("TRACESIM_TRACES", "nowhere")).parent / "captures"
SHAREGPT = "sharegpt-llama-3.1-8b-300-sps10.jsonl.gz"


@cache
def server(seed: int = 1, **given: Any) -> Server:
    return a_server(seed=seed, **given)


def calibration_of(path: Path, records: list[TraceRecord] | None = None, **given: Any) -> Calibration:
    settings = {**SETTINGS, **given.pop("settings", {})}
    config = EngineArgs(**settings).create_engine_config()
    return calibrate(read_measured([path]), Task(config, records, **given))


def clock_of(text: str) -> Clock:
    clock = parse_clock(text)
    assert clock is not None
    return clock


def test_requests_that_were_scored_are_predicted(tmp_path: Path) -> None:
    """The requests of a bench, whose times have nothing random: the first 60 tell those of the other 60."""
    found = calibration_of(written(tmp_path / "bench.json", server().bench()))

    assert (found.unit, found.num_fitted, found.num_scored) == ("requests", 60, 60)
    assert found.latencies["e2e"].each < 0.015
    assert abs(found.latencies["tpot"].mean) < 0.015
    assert abs(found.latencies["ttft"].mean) < 0.05
    assert [len(pairs) for pairs in found.pairs.values()] == [60, 60, 60]


def test_the_scored_part_does_not_change_the_fit(tmp_path: Path) -> None:
    """The second half is made ten times as slow after its first token, and so are its errors."""
    run = read_measured([written(tmp_path / "bench.json", server().bench())])[0]
    slow = [
        each._replace(last_token=each.first_token + 10 * (each.last_token - each.first_token))
        if each.number >= 60
        else each
        for each in run.requests
    ]
    config = EngineArgs(**SETTINGS).create_engine_config()
    usual = calibrate([run], Task(config))
    changed = calibrate([type(run)(run.name, run.kind, slow, is_remote=True)], Task(config))

    assert usual.clock == changed.clock
    assert changed.latencies["tpot"].mean < -0.8


def test_a_shape_is_scaled(tmp_path: Path) -> None:
    """The true proportions, twice as slow: one factor makes the true clock of them."""
    shape = clock_of("linear:base=16ms,prefill=100us,decode=60us,context=180ns,prefill_context=6ns")
    found = calibration_of(written(tmp_path / "bench.json", server().bench()), shape=shape)

    expected = costs_of(clock_of(CLOCK))
    assert costs_of(found.clock) == pytest.approx(expected, rel=0.01)
    assert found.latencies["e2e"].each < 0.01


def test_time_outside_the_engine_is_found_and_not_in_the_clock(tmp_path: Path) -> None:
    """A client measures 20 ms more until the first token than the engine takes."""
    path = written(tmp_path / "bench.json", server(rate=2.0).bench(overhead=0.020))
    found = calibration_of(path, shape=clock_of(CLOCK))

    assert found.overhead == pytest.approx(0.020, rel=0.1)
    assert costs_of(found.clock) == pytest.approx(costs_of(clock_of(CLOCK)), rel=0.01)
    assert found.latencies["ttft"].each < 0.03


def test_several_runs_are_fitted_together(tmp_path: Path) -> None:
    """Each is replayed by itself, and half of each is scored."""
    contents = [server().bench(), server(2, rate=1.0).bench()]
    found = calibration_of(written(tmp_path / "benches.json", "\n".join(contents)))

    assert (found.num_fitted, found.num_scored) == (120, 120)
    assert found.latencies["e2e"].each < 0.015


def test_steps_tell_the_costs(tmp_path: Path) -> None:
    """A request's latencies from its first step on follow from the durations of the same steps."""
    found = calibration_of(written(tmp_path / "steps.jsonl", server().step_log()))

    expected = costs_of(clock_of(CLOCK))
    assert found.unit == "steps"
    assert found.num_fitted + found.num_scored == len(server().steps)
    assert costs_of(found.clock) == pytest.approx(expected, rel=0.01)
    assert [errors.each < 1e-3 for errors in found.errors.values()] == [True] * 4


def test_a_step_log_with_its_trace_is_scored_by_a_replay(tmp_path: Path) -> None:
    """The trace has the arrivals, so TTFT has the time in the queue, which a log alone does not know."""
    busy = server(rate=12.0)
    path = written(tmp_path / "steps.jsonl", busy.step_log())
    records = read_records([written(tmp_path / "trace.jsonl", busy.trace())])
    alone, replayed = calibration_of(path), calibration_of(path, records)
    late = [record._replace(arrival_time=(record.arrival_time or 0) + 100) for record in records]

    def measured_ttfts(found: Calibration) -> float:
        return sum(measured for _, measured in found.pairs["ttft"])

    assert measured_ttfts(replayed) > 1.5 * measured_ttfts(alone)
    assert replayed.latencies["ttft"].each < 0.02
    assert measured_ttfts(calibration_of(path, late)) == measured_ttfts(alone)


def test_a_log_of_vllm_with_its_trace_has_the_tokens_in_the_cache(tmp_path: Path) -> None:
    """The log's times have two digits of a millisecond; context comes from a replay, three times."""
    path = written(tmp_path / "server.log", server().vllm_log())
    records = read_records([written(tmp_path / "trace.jsonl", server().trace())])
    found = calibration_of(path, records)

    assert found.clock.context == pytest.approx(clock_of(CLOCK).context, rel=0.05)
    assert found.steps is not None
    assert found.steps.each < 0.01
    assert (found.kind, found.latencies) == ("vLLM's log", {})


def test_a_log_of_vllm_without_its_trace_has_the_usage_of_the_cache(tmp_path: Path) -> None:
    found = calibration_of(written(tmp_path / "server.log", server().vllm_log()))

    assert found.steps is not None
    assert found.steps.each < 0.02
    assert found.clock.context == pytest.approx(clock_of(CLOCK).context, rel=0.3)
    assert any("estimated from its usage" in each for each in found.warnings)


def test_a_log_without_tokens_in_the_cache_gives_them_no_cost(tmp_path: Path) -> None:
    path = written(tmp_path / "server.log", server().vllm_log())
    found = calibration_of(path, settings={"num_gpu_blocks": None})

    assert (found.clock.context, found.clock.prefill_context) == (0, 0)
    assert any("does not have the tokens in the KV cache" in each for each in found.warnings)


@pytest.mark.parametrize(
    ("count", "message"),
    [
        (10, "has 10 requests with times; at least 20 are needed"),
        (0, "has 0 requests with times; at least 20 are needed"),
    ],
)
def test_too_few_requests(tmp_path: Path, count: int, message: str) -> None:
    path = written(tmp_path / "bench.json", server()._replace(records=server().records[:count]).bench())
    with pytest.raises(MeasurementError, match=message):
        calibration_of(path)


def test_too_few_steps(tmp_path: Path) -> None:
    path = written(tmp_path / "steps.jsonl", server()._replace(steps=server().steps[:30]).step_log())
    with pytest.raises(MeasurementError, match=r"has 30 steps; at least 50 are needed"):
        calibration_of(path)


def test_requests_and_steps_do_not_mix(tmp_path: Path) -> None:
    paths = [
        written(tmp_path / "bench.json", server().bench()),
        written(tmp_path / "steps.jsonl", server().step_log()),
    ]
    with pytest.raises(MeasurementError, match=r"bench.json: has requests, and .*steps.jsonl has steps"):
        calibrate(read_measured(paths), Task(EngineArgs(**SETTINGS).create_engine_config()))


def test_a_trace_of_another_run_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "bench.json", server().bench())
    records = read_records([written(tmp_path / "trace.jsonl", server().trace())])
    other = [record._replace(input_length=7) for record in records]
    with pytest.raises(
        MeasurementError, match=r"bench.json:\d+: has [\d,]+ prompt tokens, and .*trace.jsonl:\d+"
    ):
        calibration_of(path, other)
    with pytest.raises(MeasurementError, match=r"has 120 requests, and the trace 119"):
        calibration_of(path, records[1:])


def test_a_request_that_cannot_run_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "bench.json", server().bench())
    with pytest.raises(MeasurementError, match=r"bench.json:\d+: cannot be replayed: prompt and output need"):
        calibration_of(path, settings={"num_gpu_blocks": 20})


def test_what_the_data_cannot_tell_is_warned_of(tmp_path: Path) -> None:
    """Requests one after another: there is no batch of two, and no more than a few prefills."""
    alone = a_server(requests=30, rate=0.05)
    found = calibration_of(written(tmp_path / "bench.json", alone.bench()))
    steps = calibration_of(written(tmp_path / "steps.jsonl", alone.step_log()))

    assert any(each.startswith("most requests ran alone") for each in found.warnings)
    assert any("all steps decode 1 request: the data cannot tell" in each for each in steps.warnings)
    assert any("of the steps that were fitted have prefill" in each for each in steps.warnings)


def test_an_unlimited_cache_is_warned_of(tmp_path: Path) -> None:
    path = written(tmp_path / "bench.json", server().bench())
    found = calibration_of(path, shape=clock_of(CLOCK), settings={"num_gpu_blocks": None})

    assert any(each.startswith("num_gpu_blocks is not given") for each in found.warnings)


@pytest.mark.skipif(not CAPTURES.is_dir(), reason="there are no captures of real servers")
@pytest.mark.parametrize(
    ("capture", "settings"),
    [
        ("rtx4090-llama-3.1-8b", {"num_gpu_blocks": 2588, "max_num_seqs": 256}),
        ("rtxpro6000-llama-3.1-8b", {"num_gpu_blocks": 30_000, "max_num_seqs": 128}),
    ],
)
def test_captures_of_real_servers(capture: str, settings: dict[str, Any]) -> None:
    """E2E within 1.5 % per request in the mean, mean TTFT within 5 %, mean TPOT within 1.5 %."""
    config = EngineArgs(
        engine="vllm-v1", async_scheduling=True, enable_prefix_caching=True, **settings
    ).create_engine_config()
    records = read_records([CAPTURES / SHAREGPT])
    found = calibrate(read_measured([CAPTURES / capture / "requests.jsonl.gz"]), Task(config, records))

    assert found.latencies["e2e"].each < 0.015
    assert abs(found.latencies["ttft"].mean) < 0.05
    assert abs(found.latencies["tpot"].mean) < 0.015
