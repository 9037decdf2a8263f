"""Sessions in the engine: when turns arrive, what of them is cached, and which are never sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factories import a_record, an_engine
from session_cases import BY_HAND, BY_HAND_SETTINGS, predecessors, random_sessions
from tracesim import LLMEngine, TraceRecord
from tracesim.analysis.report import measure_run, report_requests, summarize
from tracesim.timing.arrival_process import ArrivalProcess
from tracesim.timing.clock import PER_SECOND, Clock

SECOND_PER_STEP = Clock(base=PER_SECOND)


def replayed(
    records: Sequence[TraceRecord], process: ArrivalProcess | None = None, **settings: Any
) -> LLMEngine:
    """Return an engine that has replayed these records, with a step each second."""
    engine = an_engine(records, clock=SECOND_PER_STEP, arrivals=process, **settings)
    engine.run()
    return engine


def times_of(engine: LLMEngine) -> dict[str, tuple[float, float]]:
    """Return the arrival and the last token of each request that has emitted one, in seconds."""
    assert engine.timekeeper is not None
    return {
        name: (times.arrived / PER_SECOND, times.last_token / PER_SECOND)
        for name, times in engine.timekeeper.requests.items()
        if times.last_token is not None
    }


def test_two_sessions_of_three_turns() -> None:
    """A step takes a second, a block has 4 tokens, and so has what a hash id stands for.

    ==== ======= ===== ====== =======================================================================
    turn arrival start end    why
    ==== ======= ===== ====== =======================================================================
    a1   0       0     5      5 tokens, the first of them out of the prefill in the step at 0
    b1   1       1     4      3 tokens; finds the 4 tokens of hash id 1, which a1 has computed
    b2   5       5     6      4 + 1; b1 has computed 8 tokens, 6 of its prompt and 2 of its answer:
                              2 blocks are found, the second one with tokens of both
    a2   7       7     10     5 + 2; a1 has computed 12 tokens, 4 of its answer: 3 blocks are found
    b3   8.5     9     10     6 + 2.5, during a step of a2; b2 has computed 10 tokens: 2 blocks
    a3   10.5    10.5  11.5   10 + 0.5; nothing runs; a2 has computed 18 tokens, which are 4 blocks
    ==== ======= ===== ====== =======================================================================

    Of the hits, only the 4 tokens of b1 are those of another session.
    """
    engine = replayed(BY_HAND, **BY_HAND_SETTINGS)

    names = ("id", "arrival_time", "queue_time", "ttft", "e2e", "cached_tokens", "cached_session_tokens")
    assert [tuple(getattr(row, name) for name in names) for row in report_requests(engine)] == [
        ("a1", 0.0, 0.0, 1.0, 5.0, 0, 0),
        ("b1", 1.0, 0.0, 1.0, 3.0, 4, 0),
        ("b2", 5.0, 0.0, 1.0, 1.0, 8, 8),
        ("a2", 7.0, 0.0, 1.0, 3.0, 12, 12),
        ("b3", 8.5, 0.5, 1.5, 1.5, 8, 8),
        ("a3", 10.5, 0.0, 1.0, 1.0, 16, 16),
    ]
    summary = summarize(engine)
    assert (summary.sessions, summary.cached_tokens, summary.cached_session_tokens) == (2, 48, 44)


def test_turns_follow_without_a_clock_and_delays_count_steps() -> None:
    """a1 emits in the steps 0 to 4, and a2 arrives 2 steps later, before step 7; a delay of 0.5 is none."""
    engine = an_engine(BY_HAND, **BY_HAND_SETTINGS)
    engine.run()

    arrivals = {row.id: row.arrival_step for row in report_requests(engine)}
    assert arrivals == {"a1": 0, "b1": 0, "b2": 4, "a2": 7, "b3": 7, "a3": 10}


@pytest.mark.parametrize(
    ("sessions", "expected"), [("follow", [0, 5, 9]), ("recorded", [0, 5, 7]), ("ignore", [0, 5, 7])]
)
def test_a_recorded_time_is_the_earliest_for_a_turn_that_follows(
    sessions: Any, expected: list[float]
) -> None:
    """Each turn takes 4 s. It is sent at its recorded time or, if later, after the turn before."""
    records = [
        a_record(f"r{at}", input_length=1, output_length=4, session_id="s", arrival_time=time)
        for at, time in enumerate([0.0, 5.0, 7.0])
    ]
    engine = replayed(records, ArrivalProcess(sessions=sessions), engine="vllm-v1")

    assert [arrival for arrival, _ in times_of(engine).values()] == expected


def test_a_turn_without_a_recorded_time_follows_in_an_open_loop() -> None:
    records = [
        a_record("r0", input_length=1, output_length=4, session_id="s", arrival_time=1.0),
        a_record("r1", input_length=1, output_length=4, session_id="s", delay=1.0, arrival_time=2.0),
        a_record("r2", input_length=1, output_length=4, session_id="s", delay=1.0),
    ]
    engine = replayed(records, ArrivalProcess(sessions="recorded"), engine="vllm-v1")

    assert times_of(engine) == {"r0": (1, 5), "r1": (2, 6), "r2": (7, 11)}


def test_rates_start_sessions() -> None:
    """Every 10 s a session starts, or a request that has no session; later turns follow."""
    names = ["s", "t", None, "s", "u"]
    records = [
        a_record(f"r{at}", input_length=1, output_length=4, session_id=name) for at, name in enumerate(names)
    ]
    engine = replayed(records, ArrivalProcess("constant", rate=0.1), engine="vllm-v1")

    assert {name: arrival for name, (arrival, _) in times_of(engine).items()} == {
        "r0": 0,
        "r1": 10,
        "r2": 20,
        "r3": 4,
        "r4": 30,
    }


def test_the_distance_of_recorded_times_is_kept_where_sessions_start_at_a_rate() -> None:
    times = {"r0": 100.0, "r1": 103.0, "r2": 120.0}
    records = [
        a_record(name, input_length=1, output_length=4, session_id="s", arrival_time=time)
        for name, time in times.items()
    ]
    engine = replayed(records, ArrivalProcess("constant", rate=1.0), engine="vllm-v1")

    assert [arrival for arrival, _ in times_of(engine).values()] == [0, 4, 20]


def test_users_take_sessions_turn_by_turn() -> None:
    """One user: the second session starts when the first has ended, with everything that follows from it."""
    records = [
        a_record("a", input_length=1, output_length=2, session_id="s"),
        a_record("b", input_length=1, output_length=2, session_id="t"),
        a_record("c", input_length=1, output_length=2, session_id="s", delay=1.0),
        a_record("d", input_length=1, output_length=2, after=("a", "c"), delay=3.0),
    ]
    engine = replayed(records, ArrivalProcess("closed", users=1), engine="vllm-v1")

    assert times_of(engine) == {"a": (0, 2), "c": (3, 5), "d": (8, 10), "b": (10, 12)}


@pytest.mark.parametrize("process", [ArrivalProcess(), ArrivalProcess("closed", users=1)])
def test_a_turn_is_unsent_if_the_one_before_was_rejected(process: ArrivalProcess) -> None:
    """`simple` rejects r1, so the turns after it are never sent; a user then sends the next session."""
    records = [
        a_record("r1", input_length=50, output_length=2, session_id="s"),
        a_record("r2", input_length=1, output_length=2, session_id="s"),
        a_record("r3", input_length=1, output_length=2, after=("r2", "r4")),
        a_record("r4", input_length=1, output_length=2, session_id="t"),
    ]
    engine = replayed(records, process, max_model_len=20)

    summary = summarize(engine)
    assert (summary.finished, summary.rejected, summary.unsent, summary.unfinished) == ({"stop": 1}, 1, 2, 0)
    assert (summary.prompt_tokens, summary.output_tokens) == (1, 2)
    assert [row.finish_reason for row in report_requests(engine)] == [
        "rejected",
        "unsent",
        "unsent",
        "stop",
    ]
    metrics = measure_run(engine)
    assert metrics is not None
    assert metrics.e2e is not None


def test_a_turn_is_unsent_if_the_one_before_was_refused() -> None:
    """A record that cannot run is no request; `after` may name it before it comes."""
    records = [
        a_record("r0", input_length=1, output_length=1, after=("r1",)),
        a_record("r1", input_length=50, output_length=2, session_id="s"),
        a_record("r2", input_length=1, output_length=2, session_id="s"),
        a_record("r3", input_length=1, output_length=2, after=("absent",)),
        a_record("r4", input_length=1, output_length=2),
    ]
    engine = an_engine(engine="vllm-v1", max_model_len=20)

    assert [record.id for record, _ in engine.add_records(records)] == ["r1"]
    engine.run()
    reasons = {row.id: row.finish_reason for row in report_requests(engine)}
    assert reasons == {"r0": "unsent", "r2": "unsent", "r3": "unsent", "r4": "stop"}


def test_aborting_a_turn_drops_those_that_wait_for_it() -> None:
    """Whether it runs, has not arrived yet, or waits itself."""
    records = [a_record(f"r{at}", session_id="s") for at in range(3)]
    records += [
        a_record("q0", session_id="t"),
        a_record("q1", session_id="t"),
        a_record("q2", session_id="t"),
    ]
    engine = an_engine(records)
    engine.step()

    engine.abort_request("r0")
    engine.abort_request("q1")
    while engine.has_unfinished_requests():
        engine.step()

    reasons = {row.id: row.finish_reason for row in report_requests(engine)}
    assert reasons == {
        "r0": "abort",
        "r1": "unsent",
        "r2": "unsent",
        "q0": "stop",
        "q1": "abort",
        "q2": "unsent",
    }


def test_a_turn_that_is_added_after_the_turn_before_has_finished() -> None:
    engine = replayed([a_record("r0", input_length=1, output_length=3, session_id="s")], engine="vllm-v1")

    engine.add_record(a_record("r1", input_length=1, output_length=1, session_id="s", delay=2.0))
    engine.run()

    assert times_of(engine) == {"r0": (0, 3), "r1": (5, 6)}


@pytest.mark.parametrize("separator", ["\n", "", "  "])
def test_text_of_an_answer_is_found_by_the_next_turn(separator: str) -> None:
    """The prompt has 10 tokens, of 1 character each, and the answer 7, of which the last is not computed.

    Where a line feed separates the prompt and the answer, the tokens of the answer are those at its places.
    """
    prompt, answer = "0123456789", "abcdefg"
    records = [
        a_record("r0", prompt=prompt, response=answer, session_id="s"),
        a_record("r1", prompt=f"{prompt}{separator}{answer}\nmore?", response="x", session_id="s"),
    ]
    engine = replayed(records, **BY_HAND_SETTINGS)

    assert [(row.cached_tokens, row.cached_session_tokens) for row in report_requests(engine)] == [
        (0, 0),
        (16, 16),
    ]


def test_token_ids_of_an_answer_are_found_by_the_next_turn() -> None:
    records = [
        a_record("r0", prompt_token_ids=(1, 2, 3), response_token_ids=(4, 5, 6), session_id="s"),
        a_record("r1", prompt_token_ids=(1, 2, 3, 4, 5, 6, 7), response_token_ids=(8,), session_id="s"),
        a_record("r2", prompt_token_ids=(1, 2, 3, 4, 9, 9), response_token_ids=(8,), session_id="s"),
    ]
    engine = replayed(records, **BY_HAND_SETTINGS)

    found = [(row.cached_tokens, row.cached_session_tokens) for row in report_requests(engine)]
    assert found == [(0, 0), (4, 4), (4, 4)]


@pytest.mark.parametrize("size", [16, 64, 512])
def test_answers_are_found_by_hash_ids_of_any_size(size: int) -> None:
    """The prompt ends in the middle of what its second hash id stands for, and so does the answer."""
    length = size + size // 2
    records = [
        a_record("r0", input_length=length, output_length=size + 1, hash_ids=(1, 2), session_id="s"),
        a_record("r1", input_length=3 * size, output_length=1, hash_ids=(1, 3, 4), session_id="s"),
        a_record("r2", input_length=length, output_length=1, hash_ids=(1, 2)),
    ]
    records = [record._replace(hash_block_size=size) for record in records]
    engine = replayed(records, engine="vllm-v1", enable_prefix_caching=True, max_num_seqs=1, block_size=8)

    assert [row.cached_tokens for row in report_requests(engine)] == [0, length + size, size]


def test_hash_ids_of_a_turn_that_begins_anew_name_nothing() -> None:
    """The context was compacted: the turn shares the first block only, and the answer is not found."""
    records = [
        a_record("r0", input_length=8, output_length=9, hash_ids=(1, 2), session_id="s", hash_block_size=4),
        a_record(
            "r1", input_length=12, output_length=1, hash_ids=(1, 3, 4), session_id="s", hash_block_size=4
        ),
        a_record(
            "r2",
            input_length=20,
            output_length=1,
            hash_ids=(1, 2, 5, 6, 7),
            session_id="s",
            hash_block_size=4,
        ),
    ]
    engine = replayed([each._replace(session_id="s") for each in records], **BY_HAND_SETTINGS)

    found = [(row.cached_tokens, row.cached_session_tokens) for row in report_requests(engine)]
    assert found == [(0, 0), (4, 4), (16, 16)]


@given(random_sessions(), st.booleans(), st.booleans(), st.sampled_from(["closed", "trace", "poisson"]))
def test_no_turn_is_sent_before_its_time(
    records: list[TraceRecord], is_async: bool, has_few_blocks: bool, kind: str
) -> None:
    """It arrives `delay` after the last of those it waits for, if it has a delay, and never earlier."""
    process = ArrivalProcess(kind, rate=0.7, users=2, seed=3)
    engine = replayed(
        records,
        process,
        **BY_HAND_SETTINGS,
        async_scheduling=is_async,
        num_gpu_blocks=40 if has_few_blocks else None,
    )

    times = times_of(engine)
    assert len(records) == len(times)
    for record in records:
        others = predecessors(records)[record.id]
        ends = [times[each][1] for each in others]
        if ends:
            arrival = times[record.id][0]
            assert arrival >= max(ends) + (record.delay or 0) - 1e-9
            if record.delay is not None:
                assert arrival == pytest.approx(max(ends) + record.delay)


@given(random_sessions(), st.integers(1, 3))
def test_there_are_never_more_sessions_than_users(records: list[TraceRecord], users: int) -> None:
    """Sessions by themselves: none waits for another."""
    records = [record._replace(after=None) for record in records]
    records = [record if record.session_id else record._replace(delay=None) for record in records]
    engine = replayed(records, ArrivalProcess("closed", users=users), **BY_HAND_SETTINGS)

    times = times_of(engine)
    spans: dict[str, tuple[float, float]] = {}
    for record in records:
        arrived, ended = times[record.id]
        first, last = spans.get(record.session_id or record.id, (arrived, ended))
        spans[record.session_id or record.id] = min(first, arrived), max(last, ended)
    for start, _ in spans.values():
        assert sum(first <= start < last for first, last in spans.values()) <= users
