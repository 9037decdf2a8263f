"""Replicas under one clock: worked out by hand, and against a cluster that takes one step at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factories import a_record, an_engine
from plain_cluster import a_cluster, run_plainly
from session_cases import BY_HAND, BY_HAND_SETTINGS, predecessors, random_sessions
from tracesim import ArrivalProcess, Clock, StepLimitError, TraceRecord, measure_run, parse_clock
from tracesim.analysis.report import report_requests, requests_to_csv, summarize
from tracesim.cluster.cluster import Cluster
from tracesim.engine.step_json import step_to_json
from tracesim.engine.step_records import StepRecord
from tracesim.engine.stride_records import StrideRecord
from tracesim.requests.request import Request
from tracesim.timing.clock import PER_SECOND

SECOND_PER_STEP = Clock(base=PER_SECOND)
LINEAR = "linear:base=300ms,prefill=30ms,decode=50ms,context=1ms"


@pytest.mark.parametrize(
    ("router", "expected"),
    [
        (
            "round-robin",
            [
                ("a1", 0, 0.0, 1.0, 5.0, 0),
                ("b1", 1, 1.0, 1.0, 3.0, 0),
                ("b2", 0, 5.0, 1.0, 1.0, 4),
                ("a2", 1, 7.0, 1.0, 3.0, 4),
                ("b3", 0, 8.5, 1.0, 1.0, 8),
                ("a3", 1, 10.5, 1.0, 1.0, 16),
            ],
        ),
        (
            "session",
            [
                ("a1", 0, 0.0, 1.0, 5.0, 0),
                ("b1", 1, 1.0, 1.0, 3.0, 0),
                ("b2", 1, 5.0, 1.0, 1.0, 8),
                ("a2", 0, 7.0, 1.0, 3.0, 12),
                ("b3", 1, 8.5, 1.0, 1.0, 8),
                ("a3", 0, 10.5, 1.0, 1.0, 16),
            ],
        ),
    ],
)
def test_two_sessions_on_two_replicas(router: str, expected: list[Any]) -> None:
    """The sessions of `tests/engine/test_sessions.py`, with a step each second, on two replicas.

    Round robin, in the order of arrival: a1, b2 and b3 run on replica 0, the others on replica 1.

    - b1 arrives at 1 s and finds nothing: a1 has computed the 4 tokens that both share on the other replica.
    - b2 arrives 1 s after the end of b1 at 4 s, and finds only those 4 tokens, of a1.
    - a2 arrives 2 s after the end of a1 at 5 s, and finds only those 4 tokens, of b1.
    - b3 arrives 2.5 s after the end of b2 at 6 s. Nothing runs on its replica, so that it does not wait for
      the end of a step as on a single engine. b2 has computed 10 tokens there: 2 blocks of 4.
    - a3 arrives 0.5 s after the end of a2 at 10 s; a2 has computed 18 tokens there: 4 blocks.

    With sticky sessions a runs on replica 0 and b on replica 1, so b2 finds both blocks of b1, and a2 the 3
    blocks of a1.
    """
    cluster = a_cluster(BY_HAND, 2, router, SECOND_PER_STEP, **BY_HAND_SETTINGS)
    cluster.run()

    names = ("id", "replica", "arrival_time", "ttft", "e2e", "cached_tokens")
    assert expected == [tuple(getattr(row, name) for name in names) for row in report_requests(cluster)]


def test_replicas_run_in_lockstep_without_a_clock() -> None:
    """a1 and b1 start in step 0, each on its replica; b2 arrives a step after the end of b1 in step 2."""
    cluster = a_cluster(BY_HAND, 2, "session", **BY_HAND_SETTINGS)
    cluster.run()

    found = {row.id: (row.replica, row.arrival_step) for row in report_requests(cluster)}
    assert found == {"a1": (0, 0), "b1": (1, 0), "b2": (1, 4), "a2": (0, 7), "b3": (1, 7), "a3": (0, 10)}


def sticky() -> Callable[[Request, Sequence[int]], int]:
    """Return a function that chooses as the router `session`."""
    replicas: dict[str | None, int] = {}

    def choose(request: Request, unfinished: Sequence[int]) -> int:
        if request.session_id is None:
            return fewest(request, unfinished)
        return replicas.setdefault(request.session_id, fewest(request, unfinished))

    return choose


def fewest(request: Request, unfinished: Sequence[int]) -> int:
    return unfinished.index(min(unfinished))


ROUTERS = {"least-requests": lambda: fewest, "session": sticky}
PROCESSES = [
    ArrivalProcess(),
    ArrivalProcess(sessions="recorded"),
    ArrivalProcess("poisson", rate=0.7, seed=5),
    ArrivalProcess("closed", users=1),
    ArrivalProcess("closed", users=3),
]
drawn_settings = st.fixed_dictionaries(
    {
        "async_scheduling": st.booleans(),
        "num_gpu_blocks": st.sampled_from([None, 40]),
        "max_num_seqs": st.sampled_from([2, 256]),
        "enable_prefix_caching": st.booleans(),
    }
)
drawn_runs = (
    random_sessions(),
    st.integers(2, 4),
    st.sampled_from(sorted(ROUTERS)),
    st.sampled_from(PROCESSES),
    st.sampled_from([None, "constant:1s", LINEAR]),
    drawn_settings,
)


def end_of(cluster: Cluster) -> tuple[Any, ...]:
    """Return everything that a report has of a run."""
    figures = report_requests(cluster), summarize(cluster), measure_run(cluster)
    return *figures, [engine.step_number for engine in cluster.engines]


@given(*drawn_runs)
def test_strides_end_as_single_steps_in_the_order_of_time(
    records: list[TraceRecord],
    count: int,
    router: str,
    process: ArrivalProcess,
    clock: str | None,
    settings: dict[str, Any],
) -> None:
    settings = BY_HAND_SETTINGS | settings
    plain, strided, stepped, followed = (
        a_cluster(records, count, router, parse_clock(clock or "steps"), process, **settings)
        for _ in range(4)
    )
    steps: list[StepRecord] = []
    strides: list[StrideRecord] = []

    run_plainly(plain, ROUTERS[router]())
    strided.run()
    stepped.run(steps.append)
    followed.run(on_stride=strides.append)

    assert end_of(plain) == end_of(strided)
    assert end_of(plain) == end_of(stepped)
    assert end_of(plain) == end_of(followed)
    if clock is not None:
        assert [step.start for step in steps] == sorted(step.start or 0 for step in steps)


@given(*drawn_runs)
def test_the_sum_over_replicas_is_the_whole(
    records: list[TraceRecord],
    count: int,
    router: str,
    process: ArrivalProcess,
    clock: str | None,
    settings: dict[str, Any],
) -> None:
    """And no turn arrives before those that it waits for have ended, whichever replica has them."""
    cluster = a_cluster(
        records, count, router, parse_clock(clock or "steps"), process, **BY_HAND_SETTINGS | settings
    )
    cluster.run()

    summary, rows = summarize(cluster), report_requests(cluster)
    assert len(summary.replicas) == count
    for name in ("requests", "steps", "prompt_tokens", "output_tokens", "preemptions"):
        assert getattr(summary, name) == sum(getattr(each, name) for each in summary.replicas)
    assert summary.output_tokens == sum(record.output_length or 0 for record in records)
    for index, replica in enumerate(summary.replicas):
        assert replica.requests == sum(row.replica == index for row in rows)
    if process.sessions == "follow":
        steps = {row.id: (row.arrival_step, row.last_token_step) for row in rows}
        for record in records:
            for before in predecessors(records)[record.id] if clock is None else ():
                assert (steps[record.id][0] or 0) > (steps[before][1] or 0) + int(record.delay or 0)


@pytest.mark.parametrize("router", ["vllm", "random", "prefix", "prefix:0", "round-robin"])
def test_equal_runs_write_equal_bytes(router: str) -> None:
    """Whether steps are recorded or taken at once."""
    process = ArrivalProcess("poisson", rate=0.7, seed=3)
    runs = [a_cluster(BY_HAND, 3, router, parse_clock(LINEAR), process, **BY_HAND_SETTINGS) for _ in range(3)]
    lines: list[list[bytes]] = [[], []]
    runs[0].run(write=lines[0].append)
    runs[1].run(lambda step: lines[1].append(step_to_json(step)))
    runs[2].run()

    assert lines[0] == lines[1]
    assert all(b'"replica":' in line for line in lines[0])
    assert len({requests_to_csv(report_requests(run)) for run in runs}) == 1


def test_a_replica_that_gets_everything_is_an_engine() -> None:
    records = [record._replace(session_id="s") for record in BY_HAND]
    cluster = a_cluster(records, 3, "session", SECOND_PER_STEP, **BY_HAND_SETTINGS)
    engine = an_engine(records, clock=SECOND_PER_STEP, **BY_HAND_SETTINGS)
    cluster.run()
    engine.run()

    rows = [row.__class__(**{**fields_of(row), "replica": None}) for row in report_requests(cluster)]
    assert rows == report_requests(engine)
    assert measure_run(cluster) == measure_run(engine)


def fields_of(row: Any) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__class__.__dataclass_fields__}


def test_a_run_is_limited_by_the_steps_of_all_replicas() -> None:
    cluster = a_cluster([a_record(f"r{at}", output_length=50) for at in range(4)], 2)

    with pytest.raises(StepLimitError, match="4 of 4 requests are unfinished after 20 steps"):
        cluster.run(max_steps=20)
    assert summarize(cluster).steps == 20


def test_imbalance_is_by_how_much_the_busiest_replica_exceeds_the_mean() -> None:
    """Replica 0 computes 2 * (4 + 6) tokens, and replica 1 the 4 + 6 of one request: a mean of 15."""
    records = [a_record(f"r{at}", input_length=4, output_length=6) for at in range(3)]
    cluster = a_cluster(records, 2, engine="vllm-v1")
    cluster.run()

    assert summarize(cluster).imbalance == pytest.approx(20 / 15 - 1, abs=1e-4)


def test_a_turn_is_unsent_if_the_one_before_was_rejected_on_any_replica() -> None:
    records = [
        a_record("r0", input_length=1, output_length=1, session_id="t"),
        a_record("r1", input_length=50, output_length=1, session_id="s"),
        a_record("r2", input_length=1, output_length=1, session_id="s"),
    ]
    cluster = a_cluster(records, 2, max_model_len=20)
    cluster.run()

    assert [row.finish_reason for row in report_requests(cluster)] == ["stop", "rejected", "unsent"]
