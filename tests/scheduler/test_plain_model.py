"""Every step of the engine is equal, in every figure, to that of the model in `plain_schedulers.py`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factories import a_record
from plain_schedulers import plain_run
from seeded_cases import case_of, late_case_of
from tracesim import EngineArgs, LLMEngine, StalledError, StepRecord, TraceRecord, TraceSimulator
from tracesim import load_tokenizer as load
from tracesim.analysis.report import RequestReport, report_requests, summarize
from tracesim.engine.step_json import step_to_json
from tracesim.scheduler import Cause

STARTS: list[str | None] = ["a" * 60, "ab" * 30, "aabb" * 15, "a" * 7 + "ba" * 27]
"""Texts of which prompts are prefixes; the last one continues as responses begin."""


class Case(NamedTuple):
    """A trace and the settings of an engine."""

    records: list[TraceRecord]
    settings: dict[str, Any]


def limits(latest_arrival: int, tokens: int) -> st.SearchStrategy[dict[str, Any]]:
    """Draw when a request arrives, its limit and its priority."""
    return st.fixed_dictionaries(
        {
            "arrival_step": st.integers(0, latest_arrival),
            "max_tokens": st.none() | st.integers(1, tokens),
            "priority": st.integers(-1, 1),
        }
    )


@st.composite
def small_cases(draw: st.DrawFn, *, requests: int, tokens: int) -> Case:
    """Draw up to `requests` requests: texts that share prefixes, or lengths, of up to `tokens` tokens."""
    lengths = st.integers(1, tokens)
    latest = draw(st.sampled_from([0, 4, 2 * tokens]))
    kinds = st.sampled_from([*STARTS, None] if draw(st.booleans()) else STARTS)
    stops = st.sampled_from([None, None, "b", "bab", "ba" * (tokens // 4 + 1)])
    drawn = st.tuples(kinds, lengths, st.integers(0, tokens), limits(latest, tokens), stops)
    records: list[TraceRecord] = []
    for start, length, answer, limited, stop in draw(
        st.lists(drawn, min_size=requests // 3, max_size=requests)
    ):
        if start is None:
            fields: dict[str, Any] = {"input_length": length, "output_length": answer}
        else:
            fields = {"prompt": start[:length], "response": ("ba" * 30)[:answer], "stop": stop}
        records.append(a_record(f"r{len(records)}", **fields, **limited))
    return Case(records, draw(engines(records, [1, 2, 4])))


@st.composite
def hash_cases(draw: st.DrawFn) -> Case:
    """Draw prompts of several hash blocks of 512 tokens, many of which are equal."""
    lengths = st.integers(1, 2048) | st.sampled_from([512, 513, 1024, 1536])
    drawn = st.tuples(lengths, st.integers(0, 3) | st.integers(0, 400), limits(20, 400), st.integers(0, 15))
    records: list[TraceRecord] = []
    for length, answer, limited, bits in draw(st.lists(drawn, min_size=3, max_size=9)):
        hash_ids = [bits >> block & 1 for block in range(-(-length // 512))]
        fields = {"input_length": length, "output_length": answer, "hash_ids": hash_ids, **limited}
        records.append(a_record(f"r{len(records)}", **fields))
    return Case(records, draw(engines(records, [128, 384, 512])))


@st.composite
def engines(draw: st.DrawFn, records: Sequence[TraceRecord], block_sizes: Sequence[int]) -> dict[str, Any]:
    """Draw settings under which most of these requests can run, and often compete for blocks."""
    sizes = [tokens_of(record) for record in records]
    longest, block_size = max(sizes), draw(st.sampled_from(block_sizes))
    least = -(-longest // block_size) + 1
    blocks = st.integers(least, least + 5) | st.integers(least, 3 * least) | st.integers(1, least) | st.none()
    settings: dict[str, Any] = {
        "engine": draw(st.sampled_from(["vllm-v1", "vllm-v1", "vllm-v0", "simple"])),
        "max_num_seqs": draw(st.integers(2, 5) | st.sampled_from([1, 256])),
        "block_size": block_size,
        "num_gpu_blocks": draw(blocks),
        "max_model_len": draw(st.sampled_from([None, None, longest, longest // 2 + 1])),
        "watermark": draw(st.sampled_from([0.0, 0.0, 0.1])),
        "max_num_batched_tokens": draw(st.integers(longest, 2 * longest) | st.none()),
    }
    if settings["engine"] == "vllm-v1":
        scarce = st.integers(1, 8) if longest < 200 else st.integers(200, 800)
        budget = draw(scarce | st.integers(longest, 2 * longest))
        settings |= {
            "max_num_batched_tokens": budget,
            "enable_prefix_caching": draw(st.sampled_from([True, True, False])),
            "enable_chunked_prefill": budget < longest or draw(st.booleans()),
            "scheduling_policy": draw(st.sampled_from(["fcfs", "priority"])),
            "long_prefill_token_threshold": draw(st.sampled_from([0, budget // 3, budget // 2])),
            "scheduler_reserve_full_isl": draw(st.booleans()),
            "async_scheduling": draw(st.booleans()),
            "stop_delay": draw(st.sampled_from([0, 0, 1, 2, 3, 9])),
        }
    return settings


def tokens_of(record: TraceRecord) -> int:
    """Return the number of tokens of prompt and recorded response."""
    text = len(record.prompt or "") + len(record.response or "")
    return text + (record.input_length or 0) + (record.output_length or 0)


def engine_with(records: Sequence[TraceRecord], settings: dict[str, Any]) -> LLMEngine:
    """Return an engine with the records that it does not refuse."""
    engine = LLMEngine(EngineArgs(**settings).create_engine_config(), TraceSimulator([], load("char")))
    engine.add_records(records)
    return engine


def rows_of(
    steps: Sequence[StepRecord], engine: LLMEngine, causes: Mapping[int, Cause]
) -> list[RequestReport]:
    """Return the report of each request, from the step records as far as these have it.

    `causes` has why requests wait, by the number of the step.
    """
    rows = []
    for name, progress in engine.requests.items():
        entries = [item for step in steps for item in (*step.prefill, *step.decode) if item.id == name]
        emitted = [(step.step, token) for step in steps for token in step.emitted if token.id == name]
        arrival_step = progress.arrival_step or 0
        scheduled = (step.step for step in steps for item in (*step.prefill, *step.decode) if item.id == name)
        scheduled_step = next(scheduled, None)
        (end,) = [request for step in steps for request in step.finished if request.id == name]
        is_rejected = any(name in step.rejected for step in steps)
        rows.append(
            RequestReport(
                id=name,
                prompt_tokens=progress.request.num_prompt_tokens,
                output_tokens=len(emitted),
                text="".join(t.text or "" for _, t in emitted) if progress.response.has_text else None,
                finish_reason="rejected" if is_rejected else end.finish_reason,
                stop_reason=end.stop_reason,
                arrival_step=arrival_step,
                first_token_step=emitted[0][0] if emitted else None,
                last_token_step=emitted[-1][0] if emitted else None,
                preemptions=sum(step.preempted.count(name) for step in steps),
                cached_tokens=entries[0].computed if entries else 0,
                scheduled_step=scheduled_step,
                queue_time_by_cause=Counter(
                    causes[number] for number in range(arrival_step, scheduled_step or 0)
                ),
            )
        )
    return rows


def run(engine: LLMEngine, **observer: Any) -> bool:
    """Run an engine; return whether all requests finished, so that it did not stall."""
    try:
        engine.run(**observer)
    except StalledError:
        return False
    return True


def assert_equal_to_the_model(case: Case) -> None:
    """Assert that records, lines and the report of a run are those of the model."""
    model = plain_run(case.records, **case.settings)
    plain = model.steps()
    recorded, written, strided = (engine_with(*case) for _ in range(3))
    steps: list[StepRecord] = []
    lines: list[bytes] = []
    finishes = run(recorded, on_step=steps.append)

    assert steps == plain
    assert run(written, write=lines.append) == finishes
    assert lines == [step_to_json(step) for step in plain]
    assert run(strided) == finishes
    if finishes:
        assert report_requests(strided) == rows_of(plain, recorded, model.causes)
        assert summarize(strided) == summarize(recorded)


@settings(max_examples=150)
@given(small_cases(requests=9, tokens=16))
def test_small_cases(case: Case) -> None:
    assert_equal_to_the_model(case)


@settings(max_examples=40)
@given(small_cases(requests=30, tokens=60))
def test_larger_cases(case: Case) -> None:
    assert_equal_to_the_model(case)


@settings(max_examples=40)
@given(hash_cases())
def test_cases_with_hash_ids(case: Case) -> None:
    assert_equal_to_the_model(case)


@pytest.mark.parametrize("seeds", [range(first, first + 50) for first in range(0, 300, 50)], ids=str)
def test_cases_from_seeds(seeds: range) -> None:
    """Hypothesis shrinks the cases that fail; these compete for everything more often, and find more."""
    for seed in seeds:
        assert_equal_to_the_model(Case(*case_of(seed)))
        assert_equal_to_the_model(Case(*late_case_of(seed)))
