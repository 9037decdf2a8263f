"""`TraceSimulator` by itself: recordings are found by their prompts and come out token by token."""

from __future__ import annotations

import random
import string
import time

import pytest

from factories import a_record
from tracesim import SamplingParams, TokenizerError, TraceSimulator, UnknownPromptError, load_tokenizer
from tracesim.tokenizers.loading import LazyTokenizer


def a_simulator(*prompts: str) -> TraceSimulator:
    return TraceSimulator([a_record(prompt=prompt) for prompt in prompts], load_tokenizer("char"))


def test_it_can_be_driven_without_an_engine() -> None:
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


def test_what_is_tokenized_ahead_is_what_is_tokenized_at_once() -> None:
    batches = [
        [a_record(prompt="Hi", response="漢字"), a_record(prompt_token_ids=[7, 8], response="there")],
        [a_record(input_length=3, output_length=2)],
        [a_record(prompt="Hi", response_token_ids=[104, 105])],
    ]
    at_once, simulator = map(a_simulator, ["Hi", "Hi"])
    for batch in batches:
        simulator.tokenize_ahead(batch)

    for batch in batches:
        for expected, actual in zip(at_once.tokenize(batch), simulator.tokenize(batch), strict=True):
            assert (expected.record, expected.prompt_token_ids) == (actual.record, actual.prompt_token_ids)
            assert expected.recording[:2] == actual.recording[:2]


def test_a_tokenizer_that_cannot_be_loaded_is_an_error_where_its_tokens_are_wanted() -> None:
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
def test_an_unknown_prompt_is_told_the_nearest(wanted: str, nearest: str) -> None:
    simulator = a_simulator(
        "Hi", "Hello", "hello world", "Tell me a long story about the sea, please", "hello " * 400
    )

    with pytest.raises(UnknownPromptError, match=f"the nearest is '{nearest}'"):
        simulator.find(wanted)


def test_the_nearest_of_many_long_prompts_is_found_soon() -> None:
    letters = random.Random(1).choices(string.ascii_lowercase + "   ", k=30_000)
    prompts = ["".join(letters[start : start + 2_000]) for start in range(20_000)]
    simulator = a_simulator(*prompts[::2])
    wanted = prompts[5_000][:700] + "?" + prompts[5_000][701:]
    started = time.perf_counter()

    with pytest.raises(UnknownPromptError, match=prompts[5_000][:70]):
        simulator.find(wanted)
    assert time.perf_counter() - started < 2
