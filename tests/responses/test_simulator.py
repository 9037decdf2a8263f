"""`TraceSimulator` without an engine: recordings are found by prompt and emitted token by token."""

from __future__ import annotations

import random
import string

import pytest

from factories import a_record
from tracesim import SamplingParams, TokenizerError, TraceSimulator, UnknownPromptError, load_tokenizer
from tracesim.tokenizers.loading import LazyTokenizer


def a_simulator(*prompts: str) -> TraceSimulator:
    return TraceSimulator([a_record(prompt=prompt) for prompt in prompts], load_tokenizer("char"))


def test_prefill_and_decode() -> None:
    simulator = a_simulator("Hi", "Hello")
    simulator.on_add_request("r1", "Hello")
    simulator.on_add_request("r2", "Hi", SamplingParams(max_tokens=2))
    with pytest.raises(KeyError):
        simulator.simulate_decode(["r1"])
    simulator.simulate_prefill(["r1", "r2"])
    steps = [
        [(token.request_id, token.text) for token in simulator.simulate_decode(["r1", "r2"])]
        for _ in range(3)
    ]

    assert steps == [[("r1", " "), ("r2", " ")], [("r1", "t"), ("r2", "t")], [("r1", "h")]]
    assert (simulator.response("r2").finish_reason, simulator.response("r2").text) == ("length", " t")


def test_tokenizing_ahead_gives_the_same_tokens() -> None:
    batches = [
        [a_record(prompt="Hi", response="漢字"), a_record(prompt_token_ids=[7, 8], response="there")],
        [a_record(input_length=3, output_length=2)],
        [a_record(prompt="Hi", response_token_ids=[104, 105])],
    ]
    at_once, ahead = a_simulator(), a_simulator()
    for batch in batches:
        ahead.tokenize_ahead(batch)

    for batch in batches:
        for expected, actual in zip(at_once.tokenize(batch), ahead.tokenize(batch), strict=True):
            assert (expected.record, expected.prompt_token_ids) == (actual.record, actual.prompt_token_ids)
            assert expected.recording[:2] == actual.recording[:2]


def test_error_of_tokenizing_ahead_is_raised_later() -> None:
    simulator, batch = TraceSimulator([], LazyTokenizer("nothing")), [a_record()]
    simulator.tokenize_ahead(batch)

    with pytest.raises(TokenizerError, match="there is no tokenizer 'nothing'"):
        simulator.tokenize(batch)


@pytest.mark.parametrize(
    ("wanted", "nearest"),
    [
        ("Helo", "Hello"),
        ("helo wrld", "hello world"),
        ("Tell me a long stroy about the sea, please", "Tell me a long story about the sea, please"),
        ("x", "Hi"),
    ],
)
def test_error_names_the_nearest_prompt(wanted: str, nearest: str) -> None:
    simulator = a_simulator(
        "Hi", "Hello", "hello world", "Tell me a long story about the sea, please", "hello " * 400
    )

    with pytest.raises(UnknownPromptError, match=f"the nearest is '{nearest}'"):
        simulator.find(wanted)


def test_nearest_of_many_long_prompts() -> None:
    rng = random.Random(1)
    prompts = ["".join(rng.choices(string.ascii_lowercase + "   ", k=2_000)) for _ in range(500)]
    simulator = a_simulator(*prompts)

    with pytest.raises(UnknownPromptError, match=f"; the nearest is '{prompts[300][:70]}"):
        simulator.find("?" + prompts[300][:700] + prompts[300][710:])
