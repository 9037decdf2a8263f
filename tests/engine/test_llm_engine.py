"""The loop as a library: requests in, outputs out."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factories import a_record, an_engine, steps_of
from paths import MILESTONE
from random_cases import Asked, asked, engines, records_of, token_budget
from tracesim import (
    CachedTokens,
    ConfigError,
    EngineArgs,
    LLMEngine,
    RequestError,
    RequestOutput,
    SamplingParams,
    ScheduledTokens,
    StalledError,
    StepLimitError,
    StepRecord,
    TraceError,
    TraceSimulator,
    UnknownPromptError,
    load_tokenizer,
)
from tracesim.analysis.report import summarize


def milestone_engine(**args: Any) -> LLMEngine:
    return LLMEngine.from_engine_args(EngineArgs(sim_trace_path=MILESTONE, tokenizer="char", **args))


def last_outputs(engine: LLMEngine) -> dict[str, RequestOutput]:
    outputs: dict[str, RequestOutput] = {}
    while engine.has_unfinished_requests():
        outputs.update({output.request_id: output for output in engine.step()})
    return outputs


def test_a_client_adds_prompts_and_steps_until_all_are_finished() -> None:
    engine = milestone_engine()
    engine.add_request("r1", "Hello")
    engine.add_request("r2", "Hi", SamplingParams(max_tokens=3))
    engine.add_request("r3", "StopCase", SamplingParams(stop="STOP"))
    outputs = last_outputs(engine)

    assert sorted(
        (name, output.outputs[0].text, output.outputs[0].finish_reason, output.outputs[0].stop_reason)
        for name, output in outputs.items()
    ) == [
        ("r1", " world!", "stop", None),
        ("r2", " th", "length", None),
        ("r3", " hello ", "stop", "STOP"),
    ]


def test_limits_in_the_arguments_hold_for_requests_without_their_own() -> None:
    engine = milestone_engine(max_tokens=2, stop="w")
    engine.add_request("r1", "Hello")
    engine.add_request("r2", "Hi", SamplingParams(max_tokens=3))
    outputs = last_outputs(engine)

    assert {name: output.outputs[0].text for name, output in outputs.items()} == {"r1": " ", "r2": " th"}


def test_an_output_keeps_what_it_said_when_it_was_made() -> None:
    engine = milestone_engine()
    engine.add_request("r1", "Hello")
    texts = []
    while engine.has_unfinished_requests():
        texts += [output.outputs[0].text for output in engine.step()]

    assert [" world!"[:n] for n in range(1, 8)] == texts


def test_a_prompt_that_repeats_gets_its_recordings_in_order() -> None:
    simulator = TraceSimulator(
        [a_record("a", response="first"), a_record("b", response="second")], load_tokenizer("char")
    )
    engine = LLMEngine(EngineArgs().create_engine_config(), simulator)
    engine.add_request("x", "Hi")
    engine.add_request("y", "Hi")

    assert [output.outputs[0].text for _, output in sorted(last_outputs(engine).items())] == [
        "first",
        "second",
    ]
    with pytest.raises(UnknownPromptError, match="every recorded response to the prompt 'Hi' has been used"):
        engine.add_request("z", "Hi")


def test_an_unknown_prompt_is_an_error_that_names_the_nearest() -> None:
    with pytest.raises(UnknownPromptError, match="'Helo'; the nearest is 'Hello'"):
        milestone_engine().add_request("r1", "Helo")


def test_a_refused_request_leaves_its_recording_unused() -> None:
    engine = milestone_engine()
    engine.add_request("r1", "Hello")
    with pytest.raises(RequestError, match="'r1' is taken"):
        engine.add_request("r1", "Hi")
    engine.add_request("r2", "Hi")

    assert engine.get_num_unfinished_requests() == 2


def test_prompts_may_be_token_ids_as_in_vllm() -> None:
    simulator = TraceSimulator([a_record(prompt_token_ids=[1, 2], response_token_ids=[3, 4])])
    engine = LLMEngine(EngineArgs().create_engine_config(), simulator)
    engine.add_request("x", {"prompt_token_ids": [1, 2]})
    output = last_outputs(engine)["x"]

    assert (
        list(output.prompt_token_ids or []),
        output.outputs[0].token_ids,
        output.outputs[0].text,
    ) == ([1, 2], [3, 4], "")


@pytest.mark.parametrize("steps_before", [0, 1, 2, 5])
def test_a_request_can_be_aborted_at_any_time(steps_before: int) -> None:
    """Before its arrival (0 and 1), while it waits (2), and while it decodes (5)."""
    engine = an_engine(
        [a_record("stays"), a_record("goes", arrival_step=1)], max_num_seqs=1 if steps_before == 2 else 2
    )
    for _ in range(steps_before):
        engine.step()
    engine.abort_request("goes")
    finished = [request.id for step in steps_of(engine) for request in step.finished]

    assert finished == ["stays"]
    assert engine.requests["goes"].finish_reason == "abort"
    assert not engine.scheduler.running


def test_aborting_an_unknown_or_finished_request_changes_nothing() -> None:
    engine = an_engine([a_record("r1")])
    steps_of(engine)
    engine.abort_request(["r1", "never seen"])

    assert engine.requests["r1"].finish_reason == "stop"


def test_aborting_all_that_is_left_ends_the_run() -> None:
    engine = an_engine([a_record("r1", arrival_step=5)])
    engine.abort_request("r1")

    assert engine.step() == []
    assert not engine.has_unfinished_requests()


def test_idle_steps_are_passed_over_and_their_numbers_used_up() -> None:
    engine = an_engine([a_record("now", response="a"), a_record("later", response="b", arrival_step=10**12)])

    assert [step.step for step in steps_of(engine)] == [0, 1, 10**12, 10**12 + 1]


def test_an_empty_response_ends_where_its_first_token_would_have_come() -> None:
    steps = steps_of(an_engine([a_record(response="")]))

    assert [[(f.id, f.finish_reason) for f in step.finished] for step in steps] == [[], [("r1", "stop")]]
    assert [list(step.emitted) for step in steps] == [[], []]


def test_vllm_v0_gives_the_first_token_out_of_the_prefill() -> None:
    simple, v0 = (
        [len(step.emitted) for step in steps_of(an_engine([a_record(response="abc")], engine=engine))]
        for engine in ("simple", "vllm-v0")
    )

    assert (simple, v0) == ([0, 1, 1, 1], [1, 1, 1])


@pytest.mark.parametrize(
    "setting", [{"max_model_len": 3}, {"max_num_batched_tokens": 3}, {"num_gpu_blocks": 3}]
)
def test_what_can_never_fit_is_ignored_with_length_and_nothing_emitted(setting: dict[str, Any]) -> None:
    steps = steps_of(
        an_engine(
            [a_record(prompt="long"), a_record("r2", prompt="k", response="a")], block_size=1, **setting
        )
    )

    assert [(f.id, f.finish_reason) for s in steps for f in s.finished] == [("r1", "length"), ("r2", "stop")]
    assert "r1" not in {token.id for step in steps for token in step.emitted}


def test_a_schedule_that_can_never_move_is_an_error_that_says_what_to_do() -> None:
    """One block holds the prompt, and vLLM's rule wants a free one for any decode."""
    engine = an_engine([a_record(prompt="Hi")], num_gpu_blocks=1)

    with pytest.raises(StalledError, match="raise num_gpu_blocks"):
        steps_of(engine)


def test_a_run_stops_at_its_guard() -> None:
    engine = an_engine([a_record(response="abc")])

    with pytest.raises(StepLimitError, match="1 of 1 requests are unfinished after 2 steps"):
        engine.run(max_steps=2)
    assert engine.counts.steps == 2


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"engine": "vllm-v9"}, "engine is 'vllm-v9'; must be one of simple, vllm-v0, vllm-v1"),
        ({"enable_prefix_caching": True}, "enable_prefix_caching is not a setting of engine 'simple'"),
        ({"max_num_seqs": 0}, "max_num_seqs is 0; must be an integer >= 1"),
        ({"watermark": 1.0}, "must be a number >= 0 and < 1"),
        ({"use_simulator": False}, "use_simulator is False"),
        ({"sim_trace_path": None}, "sim_trace_path is not set"),
    ],
)
def test_a_setting_that_does_not_fit_is_an_error(args: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LLMEngine.from_engine_args(EngineArgs(**{"sim_trace_path": MILESTONE, **args}))


def test_an_invalid_trace_is_an_error_with_every_problem(tmp_path: Path) -> None:
    trace = tmp_path / "bad.jsonl"
    trace.write_text('{"prompt": "", "response": "x"}\n{"prompt": "y"}\n')

    with pytest.raises(TraceError) as error:
        LLMEngine.from_engine_args(EngineArgs(sim_trace_path=trace))
    assert [problem.line for problem in error.value.problems] == [1, 2]


def test_stop_strings_need_text() -> None:
    with pytest.raises(RequestError, match="the recorded response has no text"):
        an_engine().add_record(a_record(input_length=3, output_length=3), SamplingParams(stop="x"))


def test_ids_beside_text_are_the_tokens_where_the_tokenizer_spells_them() -> None:
    spelled = a_record("spelled", response="ab", response_token_ids=[97, 98])
    foreign = a_record("foreign", response="ab", response_token_ids=[7])
    texts = {
        token.id: token.text for step in steps_of(an_engine([spelled, foreign])) for token in step.emitted
    }

    assert texts == {"spelled": "b", "foreign": None}


@given(asked, engines)
def test_every_request_emits_what_its_recording_says_whatever_the_batching(
    asked: Sequence[Asked], settings: dict[str, Any]
) -> None:
    """That all engines emit the same text follows: each emits the recording."""
    records = records_of(asked)
    engine = an_engine(records, **settings)
    steps = steps_of(engine)
    said: dict[str, str] = {record.id: "" for record in records}
    for step in steps:
        for token in step.emitted:
            said[token.id] += token.text or ""

    assert said == {record.id: (record.response or "")[: record.max_tokens] for record in records}


@given(asked, engines)
def test_blocks_and_requests_are_conserved_in_every_step(
    asked: Sequence[Asked], settings: dict[str, Any]
) -> None:
    engine = an_engine(records_of(asked), **settings)
    capacity = settings["num_gpu_blocks"] - (settings["engine"] == "vllm-v1")
    arrived, gone = 0, 0
    while engine.has_unfinished_requests():
        steps: list[StepRecord] = []
        with suppress(StepLimitError):
            engine.run(steps.append, max_steps=engine.counts.steps + 1)
        (step,) = steps
        arrived = sum(one.arrival_step <= step.step for one in asked)
        gone += len(step.finished)
        cache = engine.scheduler._cache  # type: ignore[attr-defined]
        held = cache.num_blocks_held(list(engine.scheduler.running))

        assert step.free_blocks == capacity - held
        assert arrived == step.running + step.waiting + gone
        assert step.running <= settings["max_num_seqs"]
        assert len({item.id for item in [*step.prefill, *step.decode]}) == len(step.prefill) + len(
            step.decode
        )


@given(asked, st.fixed_dictionaries(token_budget))
def test_no_step_exceeds_the_token_budget(asked: Sequence[Asked], settings: dict[str, Any]) -> None:
    for step in steps_of(an_engine(records_of(asked), engine="vllm-v1", **settings)):
        assert (
            sum(item.tokens for item in [*step.prefill, *step.decode]) <= settings["max_num_batched_tokens"]
        )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"max_model_len": 8}, "leaves none for output under max_model_len 8"),
        (
            {"num_gpu_blocks": 3, "block_size": 4},
            "need 3 KV blocks of 4 tokens, more than the 2 available",
        ),
        (
            {"max_num_batched_tokens": 9, "enable_chunked_prefill": False},
            "more than max_num_batched_tokens 9",
        ),
    ],
)
def test_vllm_v1_refuses_at_the_door_what_could_never_run(settings: dict[str, Any], said: str) -> None:
    engine = an_engine(engine="vllm-v1", **settings)
    with pytest.raises(RequestError, match=said):
        engine.add_record(a_record(prompt="8 tokens", response="abc"))

    engine.add_record(a_record(prompt="8 token", response="a"))
    assert [step.step for step in steps_of(engine)] == [0]


def test_a_cached_prefix_is_told_and_its_last_token_computed() -> None:
    records = [a_record("r1", prompt="01234567"), a_record("r2", prompt="01234567", arrival_step=9)]
    engine = an_engine(records, engine="vllm-v1", block_size=4, enable_prefix_caching=True)
    (step,) = [step for step in steps_of(engine) if step.step == 9]

    assert step.prefill == [ScheduledTokens("r2", computed=4, tokens=4)]
    assert step.cached == [CachedTokens("r2", tokens=4)]
    assert (summarize(engine).cached_tokens, summarize(engine).prefix_cache_hit_rate) == (4, 0.25)


def test_without_prefix_caching_nothing_is_said_of_it() -> None:
    engine = an_engine([a_record()], engine="vllm-v1")

    assert [step.cached for step in steps_of(engine)] == [None] * 6
    assert summarize(engine).prefix_cache_hit_rate is None


def test_a_stalled_engine_says_so_again_and_goes_on_once_the_request_is_gone() -> None:
    engine = an_engine([a_record(prompt="Hi")], num_gpu_blocks=1)
    engine.step()
    for _ in range(2):
        with pytest.raises(StalledError):
            engine.step()
    engine.abort_request("r1")

    assert not engine.has_unfinished_requests()
    assert engine.scheduler.num_free_blocks == 1


@given(asked, engines, st.lists(st.tuples(st.integers(0, 30), st.integers(0, 11)), max_size=6))
def test_aborts_leave_no_trace_in_the_others(
    asked: Sequence[Asked], settings: dict[str, Any], aborts: list[tuple[int, int]]
) -> None:
    """Each abort is of a request number, before a step number."""
    records = records_of(asked)
    engine = an_engine(records, **settings)
    said: dict[str, str] = {}
    for step in range(2_000):
        engine.abort_request([f"r{number}" for at, number in aborts if at == step])
        if not engine.has_unfinished_requests():
            break
        said.update({output.request_id: output.outputs[0].text for output in engine.step()})
    aborted = {name for name, progress in engine.requests.items() if progress.finish_reason == "abort"}
    capacity = settings["num_gpu_blocks"] - (settings["engine"] == "vllm-v1")

    assert engine.scheduler.num_free_blocks == capacity
    assert not engine.scheduler.running
    for record in records:
        if record.id not in aborted:
            assert said[record.id] == (record.response or "")[: record.max_tokens]


def test_the_peak_of_the_kv_cache_counts_what_the_last_step_held() -> None:
    """8 prompt tokens fill 2 of 4 blocks; the second output token is the first in the third block."""
    engine = an_engine(
        [a_record(prompt="p" * 8, response="abc")], engine="vllm-v0", block_size=4, num_gpu_blocks=4
    )
    engine.run()

    assert summarize(engine).peak_kv_cache_usage == 0.75
