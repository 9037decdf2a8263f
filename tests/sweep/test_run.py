"""Sweeps and searches: equal results wherever they run, however often they were interrupted."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factories import a_record
from sweep_cases import SETTINGS, a_shared_trace, some_points
from tracesim.analysis.metrics import parse_slo
from tracesim.analysis.report import measure_run, summarize
from tracesim.config import EngineArgs
from tracesim.engine.llm_engine import LLMEngine
from tracesim.errors import ConfigError
from tracesim.responses.simulator import TraceSimulator
from tracesim.sweep.figures import figures_of
from tracesim.sweep.points import Point, grid, make_points
from tracesim.sweep.replay_point import Replay, replay_point
from tracesim.sweep.results_file import Result, ResultsFile
from tracesim.sweep.run import Progress, find_max_rate, find_min_replicas, run_sweep
from tracesim.sweep.search import Ladder
from tracesim.sweep.shared_trace import share_trace
from tracesim.sweep.workers import MAX_LOSSES, ProcessPool, ThisProcess, WorkersLostError
from tracesim.timing.arrival_process import parse_arrivals
from tracesim.timing.clock import parse_clock
from tracesim.tokenizers.loading import LazyTokenizer

TRACE = a_shared_trace()
SLO = parse_slo("ttft=200ms,tpot=40ms")
POINTS = some_points(max_num_seqs=[2, 8], rate=[5, 20])
IN_PROCESS = ThisProcess(TRACE)


def lines(results: Sequence[Result]) -> list[bytes]:
    return [result.line() for result in results]


def test_a_point_has_the_figures_of_a_replay_with_its_settings() -> None:
    """The trace has text with stop strings, which are found as in a replay of the records themselves."""
    records = [
        a_record(f"r{n}", prompt=f"Count to {n}", response="one, two, " * n, stop=("two",) if n % 2 else None)
        for n in range(1, 9)
    ]
    args = EngineArgs(**SETTINGS, arrivals="poisson:3", max_num_seqs=2)
    engine = LLMEngine(
        args.create_engine_config(),
        TraceSimulator([], LazyTokenizer("embedded")),
        clock=parse_clock(args.clock),
        arrivals=parse_arrivals(args.arrivals),
    )
    engine.add_records(records)
    engine.run()
    (result,) = run_sweep(
        share_trace(records),
        make_points([{"rate": 3}], settings={**SETTINGS, "max_num_seqs": 2}),
        slo=SLO,
        workers=ThisProcess(share_trace(records)),
    )

    assert figures_of(summarize(engine), measure_run(engine, SLO), 1) == result.outcome.figures


def test_results_do_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    expected = run_sweep(TRACE, POINTS, slo=SLO, workers=IN_PROCESS)
    pool = ProcessPool(TRACE, 2)
    try:
        actual = run_sweep(TRACE, POINTS, slo=SLO, workers=pool, results=tmp_path / "results.jsonl")
    finally:
        pool.close()

    assert lines(expected) == lines(actual)
    assert b"".join(lines(expected)) == (tmp_path / "results.jsonl").read_bytes()


def test_a_search_does_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    points = some_points(max_num_seqs=[4, 8])
    pool = ProcessPool(TRACE, 2)
    options: dict[str, Any] = {"slo": SLO, "precision": 0.05, "seeds": (0, 1)}
    try:
        actual = find_max_rate(TRACE, points, **options, workers=pool, results=tmp_path / "pool")
    finally:
        pool.close()
    expected = find_max_rate(TRACE, points, **options, workers=IN_PROCESS, results=tmp_path / "process")

    assert expected == actual
    assert (tmp_path / "process").read_bytes() == (tmp_path / "pool").read_bytes()


@settings(deadline=None, max_examples=20)
@given(st.permutations(range(len(POINTS))), st.integers(0, len(POINTS)), st.booleans())
def test_a_sweep_continues_from_any_part_of_its_results(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], number: int, is_torn: bool
) -> None:
    """Whatever points an earlier run has left, in any order, the file is the same at the end."""
    whole = [each.line() for each in run_sweep(TRACE, POINTS, slo=SLO, workers=IN_PROCESS)]
    path = tmp_path_factory.mktemp("sweep") / "results.jsonl"
    known = [whole[index] for index in order[:number]]
    torn = whole[0][:-1] if is_torn else b""
    path.write_bytes(b"".join(known) + torn)
    seen: list[Progress] = []
    results = run_sweep(
        TRACE,
        POINTS,
        slo=SLO,
        workers=IN_PROCESS,
        results=path,
        on_result=lambda _, progress: seen.append(progress),
    )

    assert whole == lines(results)
    assert b"".join(whole) == path.read_bytes()
    assert Progress(len(POINTS), len(POINTS), number, len(POINTS) - number) == seen[-1]


def test_a_search_continues_from_any_part_of_its_results(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    options: dict[str, Any] = {"slo": SLO, "precision": 0.05, "seeds": (0, 1), "workers": IN_PROCESS}
    points = some_points(max_num_seqs=[4, 8])
    expected = find_max_rate(TRACE, points, **options, results=path)
    content = path.read_bytes()
    path.write_bytes(b"".join(content.splitlines(keepends=True)[::2]))

    assert expected == find_max_rate(TRACE, points, **options, results=path)
    assert content == path.read_bytes()


def test_results_of_other_points_stay_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    run_sweep(TRACE, POINTS[:2], workers=IN_PROCESS, results=path)
    before = path.read_bytes()
    results = run_sweep(TRACE, POINTS[2:], workers=IN_PROCESS, results=path)

    assert b"".join(lines(results)) + before == path.read_bytes()


def test_points_with_equal_settings_have_one_line(tmp_path: Path) -> None:
    """A single replica has no use for a router."""
    points = some_points(replicas=[1], router=["random", "vllm"])
    first, second = run_sweep(TRACE, points, workers=IN_PROCESS, results=tmp_path / "results.jsonl")

    assert first.outcome == second.outcome
    assert first.line() == (tmp_path / "results.jsonl").read_bytes()


def spoil(path: Path, old: bytes, new: bytes) -> None:
    path.write_bytes(path.read_bytes().replace(old, new))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda path: spoil(path, TRACE.sha256.encode(), b"0" * 64),
            "jsonl:1, which has a result of another trace",
        ),
        (
            lambda path: spoil(path, b'"version":"', b'"version":"0.0.'),
            "jsonl:1, which has a result of another version of tracesim: '0.0.",
        ),
        (
            lambda path: path.write_bytes(b"text\n" + path.read_bytes()),
            "jsonl:1, which is no result of a sweep",
        ),
        (lambda path: spoil(path, b'"gpus"', b'"cpus"'), "jsonl:1, which has no field 'gpus'"),
    ],
)
def test_a_file_that_is_not_of_this_sweep_is_an_error(
    change: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "results.jsonl"
    run_sweep(TRACE, POINTS[:1], workers=IN_PROCESS, results=path)
    change(path)
    before = path.read_bytes()

    with pytest.raises(ConfigError, match=message):
        run_sweep(TRACE, POINTS[:1], workers=IN_PROCESS, results=path)
    assert before == path.read_bytes()


def test_only_one_sweep_writes_a_file(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with ResultsFile(path, TRACE.sha256), pytest.raises(ConfigError, match="which another sweep writes now"):
        run_sweep(TRACE, POINTS, workers=IN_PROCESS, results=path)


def test_a_full_disk_leaves_whole_results(tmp_path: Path) -> None:
    """A child process may write one and a half results, and gets an error in the middle of the second."""
    import resource

    path = tmp_path / "results.jsonl"
    whole = lines(run_sweep(TRACE, POINTS, workers=IN_PROCESS))
    child = os.fork()
    if not child:
        try:
            limit = len(whole[0]) + len(whole[1]) // 2
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            run_sweep(TRACE, POINTS, workers=IN_PROCESS, results=path)
            os._exit(0)
        except OSError as error:
            os._exit(7 if error.filename == str(path) else 8)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 7
    assert whole[0] == path.read_bytes()
    assert whole == lines(run_sweep(TRACE, POINTS, workers=IN_PROCESS, results=path))


def test_a_point_that_cannot_be_replayed_has_an_error() -> None:
    results = run_sweep(TRACE, some_points(num_gpu_blocks=[1, 400]), workers=IN_PROCESS)

    assert [each.outcome.figures and "figures" for each in results] == [None, "figures"]
    assert "requests can never run; the first is in trace.jsonl:1" in (results[0].outcome.error or "")


def test_the_points_of_a_killed_process_are_replayed_again() -> None:
    pool = ProcessPool(TRACE, 2)
    killed: list[int] = []

    def kill_one(result: Result, progress: Progress) -> None:
        if not killed:
            assert pool._executor is not None
            killed.append(next(iter(pool._executor._processes)))
            os.kill(killed[0], signal.SIGKILL)

    points = some_points(max_num_seqs=[2, 4, 8, 16], rate=[5, 10, 20])
    try:
        actual = run_sweep(TRACE, points, slo=SLO, workers=pool, on_result=kill_one)
    finally:
        pool.close()

    assert len(killed) == 1
    assert lines(run_sweep(TRACE, points, slo=SLO, workers=IN_PROCESS)) == lines(actual)


def test_processes_that_are_killed_again_and_again_end_the_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tracesim.sweep.workers.replay_point", lambda trace, replay: os.kill(os.getpid(), 9))
    pool = ProcessPool(TRACE, 1)
    try:
        with pytest.raises(WorkersLostError, match=f"were killed {MAX_LOSSES} times in a row, .* rate=5"):
            run_sweep(TRACE, POINTS[:1], workers=pool)
    finally:
        pool.close()


CASES = [
    (seed, max_num_seqs, slo)
    for seed in range(5)
    for max_num_seqs, slo in [
        (2, "ttft=500ms"),
        (8, "ttft=100ms,tpot=40ms"),
        (16, "tpot=25ms"),
        (4, "e2e=1s"),
    ]
]


@pytest.mark.parametrize(("seed", "max_num_seqs", "slo"), CASES)
def test_the_highest_rate_is_that_of_an_exhaustive_grid(seed: int, max_num_seqs: int, slo: str) -> None:
    """Every rate of the ladder within a factor of four is replayed whole, by a sweep."""
    trace, limits, ladder = a_shared_trace(60, seed), parse_slo(slo), Ladder(0.05)
    (point,) = some_points(max_num_seqs=[max_num_seqs])
    (found,) = find_max_rate(
        trace,
        [point],
        slo=limits,
        attainment=0.9,
        precision=0.05,
        seeds=[seed],
        workers=ThisProcess(trace),
    )
    rate = found.by_seed[seed]
    assert rate is not None
    rates = [ladder.rate(ladder.place(rate) + distance) for distance in range(-28, 29)]
    points = make_points(
        [{"rate": each, "seed": seed} for each in rates], settings=SETTINGS | dict(point.varied)
    )
    results = run_sweep(trace, points, slo=limits, workers=ThisProcess(trace))
    holding = []
    for each, result in zip(rates, results, strict=True):
        figures = result.outcome.figures or {}
        if figures["slo_attainment"] >= 0.9 and not figures["overloaded"]:
            holding.append(each)

    assert max(holding) == rate


@pytest.mark.parametrize("rate", [10, 60])
def test_the_least_number_of_replicas_is_that_of_an_exhaustive_grid(rate: float) -> None:
    slo = parse_slo("ttft=200ms,tpot=40ms")
    (point,) = some_points(rate=[rate], max_num_seqs=[4])
    (found,) = find_min_replicas(TRACE, [point], slo=slo, attainment=0.9, seeds=[0], workers=IN_PROCESS)
    points = some_points(rate=[rate], max_num_seqs=[4], replicas=range(1, 13))
    results = run_sweep(TRACE, points, slo=slo, workers=IN_PROCESS)
    holding = [
        result.replay.point.args.replicas
        for result in results
        if result.outcome.figures
        and result.outcome.figures["slo_attainment"] >= 0.9
        and not result.outcome.figures["overloaded"]
    ]

    assert {0: min(holding)} == found.by_seed
    assert [*range(min(holding), 13)] == holding


@pytest.mark.parametrize(
    ("settings", "seeds"),
    [
        ({"arrivals": "constant:20"}, 1),
        ({"arrivals": "poisson:20"}, 3),
        ({"arrivals": "asap", "router": "random"}, 3),
    ],
)
def test_a_search_has_several_seeds_where_chance_has_a_part(settings: dict[str, Any], seeds: int) -> None:
    points = some_points(**{name: [value] for name, value in settings.items()})
    (found,) = find_min_replicas(TRACE, points, slo=parse_slo("ttft=1000s"), workers=IN_PROCESS)

    assert [1] * seeds == list(found.by_seed.values())


def test_more_replicas_than_are_tried_are_none() -> None:
    (point,) = some_points(rate=[100])
    options: dict[str, Any] = {"seeds": [0], "most": 4, "workers": IN_PROCESS}
    (found,) = find_min_replicas(TRACE, [point], slo=parse_slo("ttft=1us"), **options)

    assert found.by_seed == {0: None}


def test_a_rate_without_a_limit_and_one_that_does_not_exist() -> None:
    (point,) = some_points(max_num_seqs=[16])
    options: dict[str, Any] = {"seeds": [0], "workers": IN_PROCESS}
    (any_rate,) = find_max_rate(TRACE, [point], slo=parse_slo("ttft=1000s"), **options)
    (no_rate,) = find_max_rate(TRACE, [point], slo=parse_slo("ttft=1us"), **options)

    assert {0: float("inf")} == any_rate.by_seed
    assert no_rate.by_seed == {0: None}


def test_a_probe_ends_early() -> None:
    (point,) = some_points(rate=[1000], max_num_seqs=[2])
    outcome = replay_point(TRACE, Replay(point, parse_slo("ttft=50ms"), 0.9))

    assert (outcome.verdict, outcome.figures) == ("missed", None)


def test_a_queue_that_only_grows_ends_a_probe() -> None:
    (point,) = some_points(rate=[50], max_num_seqs=[2])
    outcome = replay_point(a_shared_trace(80), Replay(point, parse_slo("tpot=1s"), 0.9))

    assert (outcome.verdict, outcome.figures) == ("overloaded", None)


def test_a_search_needs_a_clock() -> None:
    points = make_points(grid({"max_num_seqs": [4]}))

    with pytest.raises(ConfigError, match="clock is steps; a search needs seconds"):
        find_max_rate(TRACE, points, slo=SLO, workers=IN_PROCESS)


def test_a_row_has_settings_and_figures() -> None:
    (result,) = run_sweep(TRACE, [POINTS[0]], workers=IN_PROCESS)

    assert {"max_num_seqs": 2, "rate": 5}.items() <= result.row().items()
    assert result.row()["output_tokens"] == sum(each.output_length or 0 for each in TRACE.records["embedded"])
    assert isinstance(result.replay.point, Point)
