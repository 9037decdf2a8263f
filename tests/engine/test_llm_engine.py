"""The engine as a library: requests in, outputs out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from factories import a_record, an_engine, steps_of
from paths import MILESTONE
from tracesim import (
    CachedTokens,
    ConfigError,
    EngineArgs,
    LLMEngine,
    RequestError,
    RequestOutput,
    SamplingParams,
    ScheduledTokens,
    StepLimitError,
    TraceError,
    TraceSimulator,
    UnknownPromptError,
    load_tokenizer,
)
from tracesim.analysis.report import summarize


def milestone_engine(**args: Any) -> LLMEngine:
    return LLMEngine.from_engine_args(EngineArgs(sim_trace_path=MILESTONE, tokenizer="char", **args))


def last_outputs(engine: LLMEngine) -> dict[str, RequestOutput]:
    """Step until all requests are finished; return the last output of each by its id."""
    outputs: dict[str, RequestOutput] = {}
    while engine.has_unfinished_requests():
        outputs.update({output.request_id: output for output in engine.step()})
    return outputs


# ---- A client


def test_client_adds_prompts_and_steps() -> None:
    engine = milestone_engine()
    engine.add_request("r1", "Hello")
    engine.add_request("r2", "Hi", SamplingParams(max_tokens=3))
    engine.add_request("r3", "StopCase", SamplingParams(stop="STOP"))
    completions = {name: output.outputs[0] for name, output in last_outputs(engine).items()}

    assert {name: (c.text, c.finish_reason, c.stop_reason) for name, c in completions.items()} == {
        "r1": (" world!", "stop", None),
        "r2": (" th", "length", None),
        "r3": (" hello ", "stop", "STOP"),
    }


def test_outputs_do_not_change_later() -> None:
    engine = milestone_engine()
    engine.add_request("r1", "Hello")
    outputs = []
    while engine.has_unfinished_requests():
        outputs += engine.step()

    assert [output.outputs[0].text for output in outputs] == [" world!"[:n] for n in range(1, 8)]


def test_repeated_prompt_gets_recordings_in_order() -> None:
    records = [a_record("a", response="first"), a_record("b", response="second")]
    engine = LLMEngine(EngineArgs().create_engine_config(), TraceSimulator(records, load_tokenizer("char")))
    engine.add_request("x", "Hi")
    engine.add_request("y", "Hi")
    outputs = last_outputs(engine)

    assert [outputs[name].outputs[0].text for name in ("x", "y")] == ["first", "second"]
    with pytest.raises(UnknownPromptError, match="every recorded response to the prompt 'Hi' has been used"):
        engine.add_request("z", "Hi")


def test_refused_request_leaves_its_recording_unused() -> None:
    engine = milestone_engine()
    engine.add_request("r1", "Hello")
    with pytest.raises(RequestError, match="'r1' is taken"):
        engine.add_request("r1", "Hi")
    engine.add_request("r2", "Hi")

    assert engine.get_num_unfinished_requests() == 2


def test_prompt_may_be_token_ids() -> None:
    simulator = TraceSimulator([a_record(prompt_token_ids=[1, 2], response_token_ids=[3, 4])])
    engine = LLMEngine(EngineArgs().create_engine_config(), simulator)
    engine.add_request("x", {"prompt_token_ids": [1, 2]})
    output = last_outputs(engine)["x"]

    assert output.prompt_token_ids == [1, 2]
    assert (output.outputs[0].token_ids, output.outputs[0].text) == ([3, 4], "")


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
def test_invalid_setting(args: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LLMEngine.from_engine_args(EngineArgs(**{"sim_trace_path": MILESTONE, **args}))


def test_invalid_trace(tmp_path: Path) -> None:
    """The error has every problem of the trace."""
    trace = tmp_path / "bad.jsonl"
    trace.write_text('{"prompt": "", "response": "x"}\n{"prompt": "y"}\n')

    with pytest.raises(TraceError) as error:
        LLMEngine.from_engine_args(EngineArgs(sim_trace_path=trace))
    assert [problem.line for problem in error.value.problems] == [1, 2]


# ---- Aborts


@pytest.mark.parametrize(
    ("steps_before", "max_num_seqs"),
    [
        pytest.param(0, 2, id="before it arrives"),
        pytest.param(2, 1, id="while it waits"),
        pytest.param(5, 2, id="while it decodes"),
    ],
)
def test_abort(steps_before: int, max_num_seqs: int) -> None:
    records = [a_record("stays"), a_record("leaves", arrival_step=1)]
    engine = an_engine(records, max_num_seqs=max_num_seqs)
    for _ in range(steps_before):
        engine.step()
    engine.abort_request("leaves")
    finished = [request.id for step in steps_of(engine) for request in step.finished]

    assert finished == ["stays"]
    assert engine.requests["leaves"].finish_reason == "abort"
    assert not engine.scheduler.running


def test_abort_of_finished_or_unknown_request_changes_nothing() -> None:
    engine = an_engine([a_record("r1")])
    steps_of(engine)
    engine.abort_request(["r1", "unknown"])

    assert engine.requests["r1"].finish_reason == "stop"


def test_abort_of_all_requests_ends_the_run() -> None:
    engine = an_engine([a_record("r1", arrival_step=5)])
    engine.abort_request("r1")

    assert engine.step() == []
    assert not engine.has_unfinished_requests()


# ---- Steps


def test_idle_steps_use_up_their_numbers() -> None:
    engine = an_engine([a_record("now", response="a"), a_record("later", response="b", arrival_step=10**12)])

    assert [step.step for step in steps_of(engine)] == [0, 1, 10**12, 10**12 + 1]


def test_run_stops_at_max_steps() -> None:
    engine = an_engine([a_record(response="abc")])

    with pytest.raises(StepLimitError, match="1 of 1 requests are unfinished after 2 steps"):
        engine.run(max_steps=2)
    assert engine.counts.steps == 2


def test_empty_response_ends_in_the_step_of_its_first_token() -> None:
    steps = steps_of(an_engine([a_record(response="")]))

    assert [[(f.id, f.finish_reason) for f in step.finished] for step in steps] == [[], [("r1", "stop")]]
    assert [step.emitted for step in steps] == [[], []]


def test_vllm_v0_emits_the_first_token_in_the_prefill() -> None:
    simple, v0 = (
        [len(step.emitted) for step in steps_of(an_engine([a_record(response="abc")], engine=engine))]
        for engine in ("simple", "vllm-v0")
    )

    assert (simple, v0) == ([0, 1, 1, 1], [1, 1, 1])


def test_stop_strings_need_text() -> None:
    with pytest.raises(RequestError, match="the recorded response has no text"):
        an_engine().add_record(a_record(input_length=3, output_length=3), SamplingParams(stop="x"))


def test_recorded_ids_have_text_where_the_tokenizer_spells_it() -> None:
    spelled = a_record("spelled", response="ab", response_token_ids=[97, 98])
    foreign = a_record("foreign", response="ab", response_token_ids=[7])
    tokens = [token for step in steps_of(an_engine([spelled, foreign])) for token in step.emitted]

    assert [(token.id, token.token_id, token.text) for token in tokens] == [
        ("spelled", 97, "a"),
        ("foreign", 7, None),
        ("spelled", 98, "b"),
    ]


# ---- The KV cache


def test_last_token_of_a_cached_prefix_is_computed() -> None:
    records = [a_record("r1", prompt="01234567"), a_record("r2", prompt="01234567", arrival_step=9)]
    engine = an_engine(records, engine="vllm-v1", block_size=4, enable_prefix_caching=True)
    (step,) = [step for step in steps_of(engine) if step.step == 9]

    assert step.prefill == [ScheduledTokens("r2", computed=4, tokens=4)]
    assert step.cached == [CachedTokens("r2", tokens=4)]
    assert (summarize(engine).cached_tokens, summarize(engine).prefix_cache_hit_rate) == (4, 0.25)


@pytest.mark.parametrize(("hash_block_size", "cached_tokens"), [(None, 512), (64, 64), (16, 16)])
def test_hash_ids_stand_for_the_records_hash_block_size(
    hash_block_size: int | None, cached_tokens: int
) -> None:
    """Two prompts have their first hash id in common."""
    length = 2 * (hash_block_size or 512)
    records = [
        a_record(
            name,
            input_length=length,
            output_length=1,
            hash_ids=hash_ids,
            hash_block_size=hash_block_size,
            arrival_step=step,
        )
        for name, hash_ids, step in (("r1", (1, 2), 0), ("r2", (1, 3), 1))
    ]
    engine = an_engine(records, engine="vllm-v1", enable_prefix_caching=True)

    assert steps_of(engine)[1].cached == [CachedTokens("r2", cached_tokens)]


def test_no_cached_tokens_without_prefix_caching() -> None:
    engine = an_engine([a_record()], engine="vllm-v1")

    assert [step.cached for step in steps_of(engine)] == [None] * 6
    assert summarize(engine).prefix_cache_hit_rate is None


def test_peak_usage_counts_the_last_step() -> None:
    """8 prompt tokens fill 2 of 4 blocks; the second output token is the first in the third block."""
    engine = an_engine(
        [a_record(prompt="p" * 8, response="abc")], engine="vllm-v0", block_size=4, num_gpu_blocks=4
    )
    engine.run()

    assert summarize(engine).peak_kv_cache_usage == 0.75
