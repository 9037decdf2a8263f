"""What holds in every run, whatever the requests and the settings."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from factories import an_engine, steps_of
from random_cases import DrawnRequest, drawn_requests, drawn_settings, records_of, vllm_v1_settings
from tracesim import StepRecord


def capacity_of(settings: dict[str, Any]) -> int:
    """Return how many KV blocks requests can hold: `vllm-v1` reserves one, the null block."""
    reserved = 1 if settings["engine"] == "vllm-v1" else 0
    return int(settings["num_gpu_blocks"]) - reserved


@given(drawn_requests, drawn_settings)
def test_requests_emit_their_recordings(requests: Sequence[DrawnRequest], settings: dict[str, Any]) -> None:
    """So all engines emit the same text, whatever their batches."""
    records = records_of(requests)
    texts: dict[str, str] = defaultdict(str)
    for step in steps_of(an_engine(records, **settings)):
        for token in step.emitted:
            texts[token.id] += token.text or ""

    assert {r.id: texts[r.id] for r in records} == {r.id: (r.response or "")[: r.max_tokens] for r in records}


@given(drawn_requests, drawn_settings)
def test_conservation(requests: Sequence[DrawnRequest], settings: dict[str, Any]) -> None:
    """Every block is free or in use, and every request that arrived runs, waits or has finished."""
    engine = an_engine(records_of(requests), **settings)
    num_finished = 0

    def check(step: StepRecord) -> None:
        nonlocal num_finished
        num_finished += len(step.finished)
        num_arrived = sum(request.arrival_step <= step.step for request in requests)
        cache = engine.scheduler._cache  # type: ignore[attr-defined]
        in_use = cache.num_blocks_in_use(list(engine.scheduler.running))

        assert step.free_blocks == capacity_of(settings) - in_use
        assert step.running + step.waiting + num_finished == num_arrived
        assert step.running <= settings["max_num_seqs"]

    engine.run(check)

    assert num_finished == len(requests)


@given(drawn_requests, st.fixed_dictionaries(vllm_v1_settings))
def test_steps_keep_the_token_budget(requests: Sequence[DrawnRequest], settings: dict[str, Any]) -> None:
    for step in steps_of(an_engine(records_of(requests), **settings)):
        entries = [*step.prefill, *step.decode]

        assert sum(entry.tokens for entry in entries) <= settings["max_num_batched_tokens"]
        assert max(Counter(entry.id for entry in entries).values(), default=1) == 1


@given(
    drawn_requests, drawn_settings, st.lists(st.tuples(st.integers(0, 30), st.integers(0, 11)), max_size=6)
)
def test_aborts_do_not_change_other_requests(
    requests: Sequence[DrawnRequest], settings: dict[str, Any], aborts: list[tuple[int, int]]
) -> None:
    """Each of `aborts` is a step number and the number of the request that is aborted before it."""
    records = records_of(requests)
    engine = an_engine(records, **settings)
    texts: dict[str, str] = {}
    for step in range(2_000):
        engine.abort_request([f"r{number}" for at, number in aborts if at == step])
        if not engine.has_unfinished_requests():
            break
        texts.update({output.request_id: output.outputs[0].text for output in engine.step()})
    others = [r for r in records if engine.requests[r.id].finish_reason != "abort"]

    assert engine.scheduler.num_free_blocks == capacity_of(settings)
    assert not engine.scheduler.running
    assert {r.id: texts[r.id] for r in others} == {r.id: (r.response or "")[: r.max_tokens] for r in others}
