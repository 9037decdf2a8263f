"""Sweeps on Ray: the bytes of a local sweep, also where a worker process is killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from sweep_cases import a_shared_trace, some_points
from tracesim.analysis.metrics import parse_slo
from tracesim.sweep.ray_workers import RayWorkers
from tracesim.sweep.results_file import Result
from tracesim.sweep.run import Progress, find_max_rate, run_sweep
from tracesim.sweep.workers import ThisProcess

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.filterwarnings("default")  # Ray has some of its own

TRACE = a_shared_trace(200)
SLO = parse_slo("ttft=200ms,tpot=40ms")


@pytest.fixture(scope="module")
def workers() -> Iterator[RayWorkers]:
    cluster = RayWorkers(TRACE, num_workers=2)
    yield cluster
    cluster.close()


def worker_processes() -> list[int]:
    """The processes of this test's cluster that replay points: descendants of this one, with Ray's titles."""
    parents, titles = {}, {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            pid = int(status.parent.name)
            parents[pid] = int(status.read_text().rpartition(")")[2].split()[1])
            titles[pid] = status.with_name("cmdline").read_bytes()

    def is_ours(pid: int) -> bool:
        return pid == os.getpid() or (pid in parents and is_ours(parents[pid]))

    return [pid for pid, title in titles.items() if title.startswith(b"ray::_replay") and is_ours(pid)]


def test_a_sweep_has_the_bytes_of_a_local_one(workers: RayWorkers, tmp_path: Path) -> None:
    points = some_points(max_num_seqs=[2, 8], rate=[5, 20])
    run_sweep(TRACE, points, slo=SLO, workers=ThisProcess(TRACE), results=tmp_path / "local")
    run_sweep(TRACE, points, slo=SLO, workers=workers, results=tmp_path / "ray")

    assert (tmp_path / "local").read_bytes() == (tmp_path / "ray").read_bytes()


def test_a_search_finds_what_a_local_one_does(workers: RayWorkers) -> None:
    points = some_points(max_num_seqs=[4, 8])
    local = find_max_rate(TRACE, points, slo=SLO, precision=0.05, seeds=[0, 1], workers=ThisProcess(TRACE))

    assert local == find_max_rate(TRACE, points, slo=SLO, precision=0.05, seeds=[0, 1], workers=workers)


def test_the_points_of_a_killed_process_are_replayed_again(workers: RayWorkers) -> None:
    points = some_points(max_num_seqs=[2, 4, 8, 16], rate=[5, 10, 20])
    killed: list[int] = []

    def kill_one(result: Result, progress: Progress) -> None:
        if not killed:
            killed.append(worker_processes()[0])
            os.kill(killed[0], signal.SIGKILL)

    actual = run_sweep(TRACE, points, slo=SLO, workers=workers, on_result=kill_one)
    expected = run_sweep(TRACE, points, slo=SLO, workers=ThisProcess(TRACE))

    assert killed
    assert [each.line() for each in expected] == [each.line() for each in actual]
