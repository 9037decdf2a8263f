"""How fast tracesim is and how much memory it uses, compared with references measured in the same run.

    make bench                                  # what needs no real traces
    make bench TRACESIM_TRACES=path/to/traces   # everything

A benchmark fails if a result is wrong, never because it is slow: the table at the end shows that.
"""

from __future__ import annotations

import gc
import gzip
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from measuring import (
    BARE_TOKENS,
    Figure,
    Ratio,
    Table,
    Times,
    bare_loop,
    in_turns,
    output_of,
    peak_megabytes,
    seconds_of,
)
from pytest_benchmark.fixture import BenchmarkFixture
from workloads import Workload, served, sessions, w1, w1_long, w1_wide, w2, w3, w3_cached, w3_path

from factories import an_engine
from paths import MILESTONE
from plain_cluster import a_cluster
from tracesim import LLMEngine
from tracesim.analysis.report import measure_run
from tracesim.cluster.cluster import Cluster
from tracesim.timing.clock import PER_SECOND, parse_clock
from tracesim.tokenizers import vocabulary

TRACESIM = str(Path(sys.executable).with_name("tracesim"))
SUMMARY = (TRACESIM, "replay", "--format", "summary")

IMPORTS = (sys.executable, "-c", "import typer, rich")
PARSES = """
import gzip, sys, orjson
with (gzip.open if sys.argv[1].endswith(".gz") else open)(sys.argv[1], "rb") as file:
    for line in file:
        orjson.loads(line)
"""
TOKENIZES = """
import gc, sys
from binascii import a2b_base64
from concurrent.futures import ThreadPoolExecutor
import orjson, tiktoken

gc.disable()
trace, vocabulary, pattern, count = *sys.argv[1:4], int(sys.argv[4])
with open(vocabulary, "rb") as file:
    ranks = {a2b_base64(token): int(rank) for token, rank in map(bytes.split, file)}
encode = tiktoken.Encoding("", pat_str=pattern, mergeable_ranks=ranks, special_tokens={}).encode_ordinary
with open(trace, "rb") as file:
    records = [orjson.loads(line) for line in file]

def tokens(first):
    return [sum(len(encode(r[side])) for r in records[first::count]) for side in ("prompt", "response")]

with ThreadPoolExecutor(count) as threads:
    prompt, output = map(sum, zip(*threads.map(tokens, range(count))))
print(f"{prompt:,} prompt, {output:,} output")
"""
"""The fastest use of tiktoken: one task per thread, while `encode_ordinary_batch` has one per text."""


@pytest.fixture(scope="module")
def table(request: pytest.FixtureRequest) -> Table:
    table = Table()
    request.config.pluginmanager.register(table)
    return table


@pytest.fixture(scope="module")
def traces() -> Path:
    folder = os.environ.get("TRACESIM_TRACES")
    if not folder:
        pytest.skip("TRACESIM_TRACES is not set to a folder of real traces")
    return Path(folder).resolve()


@pytest.fixture(scope="module")
def texts(traces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """13,000 prompts and responses, decompressed, without token ids."""
    path = tmp_path_factory.mktemp("texts") / "just_eval.jsonl"
    path.write_bytes(gzip.decompress((traces / "text" / "just_eval.jsonl.gz").read_bytes()))
    return path


@pytest.fixture(autouse=True)
def no_garbage_collector() -> Iterator[None]:
    """Measure without the garbage collector, which the command switches off."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


# ---- The engine's loop, without step records


def in_bare_loops(name: str, taken: Times, tokens: int, bare: Times, least: float) -> Figure:
    """Compare tokens per second with those of the bare loop."""
    token, bare_token = taken.each(tokens), bare.each(BARE_TOKENS)
    yardstick = f"Y: {1 / bare_token.best / 1e6:.1f} M tokens/s"
    return Figure(name, taken, yardstick, bare_token.over(token), "at least", least)


def seconds_of_loop(workload: Workload) -> float:
    """Return how long the engine's loop takes for a workload, without the time to add its requests."""
    engine = workload.engine()
    started = time.perf_counter()
    engine.run()
    return time.perf_counter() - started


def engine_loop(benchmark: BenchmarkFixture, table: Table, workload: Workload, least: float) -> None:
    tokens = workload.output_tokens
    rounds = 7 if tokens > 1_000_000 else 25
    taken, bare = in_turns(
        benchmark, LLMEngine.run, bare_loop, prepare=workload.engine, check=workload.check, rounds=rounds
    )
    table.append(in_bare_loops(f"engine loop, {workload.name}", taken, tokens, bare, least))


@pytest.mark.parametrize("workload", [w1, w2])
def test_engine_loop(benchmark: BenchmarkFixture, table: Table, workload: Callable[[], Workload]) -> None:
    engine_loop(benchmark, table, workload(), least=5)


@pytest.mark.parametrize(("workload", "least"), [(w3, 2), (w3_cached, 0.5)])
def test_engine_loop_of_a_real_trace(
    benchmark: BenchmarkFixture,
    table: Table,
    traces: Path,
    workload: Callable[[Path], Workload],
    least: float,
) -> None:
    engine_loop(benchmark, table, workload(traces), least)


@pytest.mark.parametrize(("workload", "blocks"), [(w1_wide, 480_000), (w1_long, 297_527)])
def test_growth(
    benchmark: BenchmarkFixture, table: Table, workload: Callable[[], Workload], blocks: int
) -> None:
    """`blocks` are allocated, 48,000 in W1; those of a preempted request are allocated again."""
    large = workload()
    taken, of_small = in_turns(
        benchmark, LLMEngine.run, partial(seconds_of_loop, w1()), prepare=large.engine, check=large.check
    )
    taken, of_small = taken.each(blocks), of_small.each(48_000)
    name = f"a block of {large.name}"
    table.append(Figure(name, taken, f"a block of W1: {of_small}", taken.over(of_small), wanted=1.3))


def asynchronous_run(benchmark: BenchmarkFixture, table: Table, workload: Workload) -> None:
    """Compare a run with asynchronous scheduling with one without."""

    other = replace(workload, settings={**workload.settings, "async_scheduling": True})
    rounds = 7 if workload.output_tokens > 1_000_000 else 25
    taken, bare = in_turns(
        benchmark,
        LLMEngine.run,
        partial(seconds_of_loop, workload),
        prepare=other.engine,
        check=other.check_outputs,
        rounds=rounds,
    )
    name = f"{workload.name}, asynchronous"
    table.append(Figure(name, taken, f"synchronous: {bare}", taken.over(bare), wanted=1.3))


@pytest.mark.parametrize("workload", [w1, w2])
def test_asynchronous_loop(
    benchmark: BenchmarkFixture, table: Table, workload: Callable[[], Workload]
) -> None:
    asynchronous_run(benchmark, table, workload())


@pytest.mark.parametrize("workload", [w3, w3_cached])
def test_asynchronous_loop_of_a_real_trace(
    benchmark: BenchmarkFixture, table: Table, traces: Path, workload: Callable[[Path], Workload]
) -> None:
    asynchronous_run(benchmark, table, workload(traces))


CLOCK = "linear:base=5ms,prefill=30us,decode=60us,context=2ns"


def run_timed(engine: LLMEngine) -> None:
    engine.run()
    assert measure_run(engine) is not None


def timed_run(benchmark: BenchmarkFixture, table: Table, workload: Workload) -> None:
    """Compare a run with a clock, and its metrics, with one without."""

    prepare = partial(workload.engine, clock=parse_clock(CLOCK))
    without = partial(seconds_of_loop, workload)
    taken, bare = in_turns(benchmark, run_timed, without, prepare=prepare, check=workload.check)
    name = f"{workload.name}, clock and metrics"
    table.append(Figure(name, taken, f"without: {bare}", taken.over(bare), wanted=1.5))


def test_clock_and_metrics(benchmark: BenchmarkFixture, table: Table) -> None:
    timed_run(benchmark, table, w1())


def test_clock_and_metrics_of_a_real_trace(benchmark: BenchmarkFixture, table: Table, traces: Path) -> None:
    timed_run(benchmark, table, w3(traces))


SERVED: dict[str, Any] = {"engine": "vllm-v1", "num_gpu_blocks": 20_000}


@pytest.mark.parametrize("router", ["round-robin", "vllm", "least-requests"])
def test_four_replicas(benchmark: BenchmarkFixture, table: Table, router: str) -> None:
    """Compare four replicas with four engines by themselves, each with every fourth request."""
    records, clock = served(), parse_clock("linear:base=6ms,prefill=20us,decode=60us,context=1ns")

    def separate_runs() -> float:
        engines = [an_engine(records[at::4], clock=clock, **SERVED) for at in range(4)]
        started = time.perf_counter()
        for engine in engines:
            engine.run()
        return time.perf_counter() - started

    def check(cluster: Cluster) -> None:
        assert cluster.get_num_unfinished_requests() == 0

    prepare = partial(a_cluster, records, 4, router, clock, **SERVED)
    taken, apart = in_turns(benchmark, Cluster.run, separate_runs, prepare=prepare, check=check, rounds=15)
    wanted = 1.3 if router == "round-robin" else None
    table.append(
        Figure(f"four replicas, {router}", taken, f"four engines: {apart}", taken.over(apart), wanted=wanted)
    )


def test_sessions(benchmark: BenchmarkFixture, table: Table) -> None:
    """Compare sessions with requests that arrive, each by itself, when the turns of the sessions did."""
    records, clock = sessions(), parse_clock("linear:base=6ms,prefill=20us,decode=60us,context=1ns")
    prepare = partial(an_engine, records, clock=clock, **SERVED)
    first = prepare()
    first.run()
    assert first.timekeeper is not None
    times = first.timekeeper.requests
    alone = [
        record._replace(session_id=None, delay=None, arrival_time=times[record.id].arrived / PER_SECOND)
        for record in records
    ]

    def without_sessions() -> float:
        engine = an_engine(alone, clock=clock, **SERVED)
        started = time.perf_counter()
        engine.run()
        return time.perf_counter() - started

    taken, bare = in_turns(benchmark, LLMEngine.run, without_sessions, prepare=prepare, rounds=15)
    table.append(Figure("sessions", taken, f"without: {bare}", taken.over(bare), wanted=1.2))


# ---- Whole processes


def test_replay_of_lengths(benchmark: BenchmarkFixture, table: Table, traces: Path) -> None:
    workload, trace = w3(traces), str(w3_path(traces))
    command = (*SUMMARY, trace, *workload.options())
    parse = partial(seconds_of, sys.executable, "-c", PARSES, trace)
    taken, bare, parsed = in_turns(benchmark, partial(seconds_of, *command), bare_loop, parse)
    second = bare.each(BARE_TOKENS / 8_000_000)

    assert re.search(rf"^steps +{workload.steps:,}:", output_of(*command), re.MULTILINE)
    table.append(Figure("replay W3", taken, f"8 M tokens of Y: {second}", taken.over(second), wanted=1))
    table.append(Figure("replay W3", taken, f"read, parse: {parsed}", taken.over(parsed)))


def test_step_records(benchmark: BenchmarkFixture, table: Table, tmp_path: Path) -> None:
    workload, trace = w1(), tmp_path / "w1.jsonl"
    trace.write_text(workload.trace())
    command = (TRACESIM, "replay", "--format", "jsonl", str(trace), *workload.options())
    taken, bare = in_turns(benchmark, partial(seconds_of, *command), bare_loop)

    assert output_of(*command).count("\n") == workload.steps
    table.append(in_bare_loops("replay W1, jsonl", taken, workload.output_tokens, bare, least=0.15))


@pytest.fixture
def compare(benchmark: BenchmarkFixture, table: Table) -> Callable[..., None]:
    def compare(name: str, task: str, *sides: tuple[str, ...], expected: str, most: float) -> None:
        """Compare a command, whose output has `expected`, with the fastest of those that do less."""
        assert expected in output_of(*sides[0])
        taken, *others = in_turns(benchmark, *(partial(seconds_of, *side) for side in sides), rounds=9)
        quickest = min(others, key=lambda times: times.best)
        table.append(Figure(name, taken, f"{task}: {quickest}", taken.over(quickest), wanted=most))

    return compare


def test_replay_of_texts(compare: Callable[..., None], texts: Path) -> None:
    script = (sys.executable, "-c", TOKENIZES, str(texts), str(vocabulary.path()), vocabulary.SPLIT_PATTERN)
    threads = range(1, min(8, os.cpu_count() or 1) + 1)
    sides = [(*SUMMARY, str(texts)), *((*script, str(count)) for count in threads)]
    compare(
        "replay just_eval", "read, parse, tokenize", *sides, expected=output_of(*sides[1]).strip(), most=1.3
    )


def test_validate(compare: Callable[..., None], texts: Path) -> None:
    sides = (TRACESIM, "validate", str(texts)), (sys.executable, "-c", PARSES, str(texts))
    compare("validate just_eval", "orjson.loads", *sides, expected="13,000 valid records", most=2)


def test_version(compare: Callable[..., None]) -> None:
    sides = (TRACESIM, "--version"), IMPORTS
    compare("--version", "import typer, rich", *sides, expected="tracesim ", most=1.5)


def test_replay_of_the_milestone(compare: Callable[..., None]) -> None:
    sides = (TRACESIM, "replay", str(MILESTONE)), IMPORTS
    compare("replay milestone", "import typer, rich", *sides, expected="requests       3:", most=2.5)


# ---- Peak memory of whole processes


def in_megabytes(name: str, peak: float, most: float) -> Figure:
    ratio = peak / most
    return Figure(name, f"{peak:.0f} MB", f"{most:.0f} MB", Ratio(ratio, ratio), wanted=1)


def test_memory_of_lengths(table: Table, traces: Path) -> None:
    peak = peak_megabytes(*SUMMARY, str(w3_path(traces)), *w3(traces).options())

    table.append(in_megabytes("peak memory, replay W3", peak, 150))


def test_memory_of_texts(table: Table, texts: Path, tmp_path: Path) -> None:
    five_times = texts.read_bytes() * 5
    trace = tmp_path / "five_times.jsonl"
    trace.write_bytes(five_times)
    peak = peak_megabytes(*SUMMARY, str(trace))

    table.append(in_megabytes("peak memory, replay 5 x just_eval", peak, 120 + len(five_times) / 1e6))
