"""Where and why a recorded response stops."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paths import GOLDEN
from tracesim import RecordedResponse, SamplingParams, load_tokenizer
from tracesim.responses.recorded_response import RecordedTokens
from tracesim.tokenizers.interface import Tokenizer

BYTE = load_tokenizer("byte")
CHAR = load_tokenizer("char")


def a_response(
    text: str, tokenizer: Tokenizer = CHAR, limit: int | None = None, **params: Any
) -> RecordedResponse:
    token_ids = tokenizer.encode(text)
    recording = RecordedTokens(len(token_ids), token_ids, tokenizer.decode_tokens_bytes)
    return RecordedResponse(recording, SamplingParams(**params), limit)


def end_of(response: RecordedResponse) -> dict[str, Any]:
    return {name: getattr(response, name) for name in ("num_tokens", "text", "finish_reason", "stop_reason")}


GOLDEN_STOPS = [json.loads(line) for line in (GOLDEN / "stop.jsonl").read_bytes().split(b"\n") if line]


def test_number_of_golden_stops() -> None:
    assert len(GOLDEN_STOPS) == 400


@pytest.mark.parametrize("case", GOLDEN_STOPS, ids=range(400))
def test_golden_stop(case: dict[str, Any]) -> None:
    response = a_response(
        case["response"],
        BYTE,
        stop=case["stop"],
        max_tokens=case["max_tokens"],
        min_tokens=case["min_tokens"],
        include_stop_str_in_output=case["include_stop"],
    )

    assert case["expected"] == end_of(response)


class WordTokenizer:
    """Tokens of several characters: the text between bars."""

    name = "words"

    def __init__(self, text: str) -> None:
        self.pieces = [piece.encode() for piece in text.split("|")]

    def encode(self, text: str) -> list[int]:
        return list(range(len(self.pieces)))

    def encode_batch(self, texts: Any) -> list[Any]:
        return [self.encode(text) for text in texts]

    def decode_tokens_bytes(self, token_ids: Any) -> list[bytes]:
        return [self.pieces[token_id] for token_id in token_ids]

    def ends_in(self, text: str, token_ids: Any) -> None:
        return None


@pytest.mark.parametrize(
    ("tokens", "params", "expected"),
    [
        ("one STOP two", {"stop": ["two", "STOP"]}, (1, "one ", "stop", "STOP")),
        ("ab|cd", {"stop": ["bc", "abc"]}, (2, "a", "stop", "bc")),
        ("ab|cd", {"stop": ["abc", "bc"]}, (2, "", "stop", "abc")),
        ("a|b|a|b", {"stop": "ab", "min_tokens": 2}, (4, "ab", "stop", "ab")),
        ("aST|OP", {"stop": "STOP", "include_stop_str_in_output": True}, (2, "aSTOP", "stop", "STOP")),
        ("ab|STOP", {"stop": "STOP", "max_tokens": 2}, (2, "ab", "stop", "STOP")),
        ("ab|STOP", {"stop": "STOP", "max_tokens": 1}, (1, "ab", "length", None)),
        ("ab|cd", {"max_tokens": 2}, (2, "abcd", "stop", None)),
    ],
)
def test_tokens_of_several_characters(tokens: str, params: dict[str, Any], expected: tuple[Any, ...]) -> None:
    response = a_response(tokens, WordTokenizer(tokens), **params)

    assert dict(zip(("num_tokens", "text", "finish_reason", "stop_reason"), expected, strict=True)) == end_of(
        response
    )


def test_empty_response() -> None:
    assert end_of(a_response("")) == {
        "num_tokens": 0,
        "text": "",
        "finish_reason": "stop",
        "stop_reason": None,
    }


def test_limit_of_the_model_length_cuts_like_max_tokens() -> None:
    response = a_response("abcdef", max_tokens=5, limit=2)

    assert (response.text, response.finish_reason) == ("ab", "length")


def test_cut_inside_a_character_drops_it() -> None:
    assert end_of(a_response("a漢", BYTE, max_tokens=3))["text"] == "a"


def test_recording_of_a_length_has_only_a_count() -> None:
    response = RecordedResponse(RecordedTokens(3), SamplingParams(max_tokens=2))

    assert (
        response.num_tokens,
        response.finish_reason,
        response.text,
        response.token_ids,
        response.piece(0),
    ) == (2, "length", None, None, None)


@given(st.text(), st.lists(st.text(min_size=1, max_size=3), max_size=3), st.integers(0, 9), st.booleans())
def test_pieces_make_the_text(text: str, stop: list[str], min_tokens: int, include: bool) -> None:
    text = text.encode(errors="ignore").decode()
    stop = [string.encode(errors="ignore").decode() or "x" for string in stop]
    response = a_response(text, BYTE, stop=stop, min_tokens=min_tokens, include_stop_str_in_output=include)

    assert response.text == "".join(response.piece(index) or "" for index in range(response.num_tokens))
    assert response.text == response.text_after(response.num_tokens)
    assert text.startswith(response.text or "")


@given(
    st.text("ab"), st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=3), st.integers(0, 9)
)
def test_stop_is_where_a_check_after_every_token_finds_it(
    text: str, stop: list[str], min_tokens: int
) -> None:
    """The model checks the text after each token."""
    expected: tuple[int, str | None] = (len(text), None)
    for count in range(min_tokens + 1, len(text) + 1):
        complete = [string for string in stop if text[:count].endswith(string)]
        if complete:
            expected = (count, complete[0])
            break

    response = a_response(text, stop=stop, min_tokens=min_tokens)

    assert expected == (response.num_tokens, response.stop_reason)
