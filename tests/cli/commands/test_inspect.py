"""`tracesim inspect`, and the figures of a trace."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from command_line import run
from factories import a_record
from paths import FORMATS
from tracesim import load_tokenizer
from tracesim.analysis.trace_statistics import LengthStatistics, TraceStatistics
from tracesim_cli.terminal.lines import plain_text
from tracesim_cli.views.inspect_view import PLAIN, Inspected, format_inspected

inspect = partial(run, "inspect")


def stats_of(*records: Any) -> TraceStatistics:
    stats = TraceStatistics(load_tokenizer("char"))
    stats.add(records)
    return stats


def lengths_of(*lengths: int) -> LengthStatistics:
    stats = LengthStatistics()
    for length in lengths:
        stats.add(length)
    return stats


def test_percentiles_lie_between_lengths_as_those_of_numpy() -> None:
    lengths = lengths_of(30, 10, 20, 40)

    assert [lengths.percentile(percent) for percent in (0, 50, 90, 100)] == [10, 25, 37, 40]
    assert (lengths.total, lengths.mean) == (100, 25)


def test_a_histogram_has_a_row_for_each_power_of_two() -> None:
    assert lengths_of(0, 1, 2, 3, 9, 9).histogram() == [
        (0, 0, 1),
        (1, 1, 1),
        (2, 3, 2),
        (4, 7, 0),
        (8, 15, 2),
    ]


def test_records_are_counted_by_what_they_have() -> None:
    stats = stats_of(
        a_record(prompt="abc", response="de"),
        a_record(prompt_token_ids=(1,), response="de", response_token_ids=(1, 2, 3)),
        a_record(input_length=7, output_length=0, hash_ids=(1,)),
    )

    assert dict(stats.kinds) == {"text": 2, "token ids": 1, "lengths": 1, "hash_ids": 1}
    assert (stats.prompt_tokens.total, stats.output_tokens.total) == (3 + 1 + 7, 2 + 3 + 0)


def test_one_step_is_singular() -> None:
    lengths = '"input_length": 1, "output_length": 1'
    trace = "".join(f'{{"id": "r{step}", {lengths}, "arrival_step": {step}}}\n' for step in (0, 1))

    assert "(from 0 steps to 1 step)" in inspect("-", stdin=trace).stdout


def test_arrivals_are_seconds_or_else_steps() -> None:
    """Four arrivals over 2 s, in two parts of 1 s: the last belongs to the second."""
    timed = stats_of(*[a_record(arrival_time=time) for time in (3.0, 1.0, 2.0, 1.5)]).arrivals
    stepped = stats_of(a_record(arrival_step=0), a_record(arrival_step=4)).arrivals

    assert timed is not None
    assert (timed.unit, timed.first, timed.last, timed.rates(2)) == ("seconds", 1.0, 3.0, [2.0, 2.0])
    assert stepped is not None
    assert (stepped.unit, stepped.rates(60)) == ("steps", [1.0, 0.0, 0.0, 1.0])
    assert stats_of(a_record()).arrivals is None
    assert stats_of(a_record(), a_record(), a_record(arrival_time=5.0)).arrivals is not None


def test_arrivals_within_a_nanosecond_have_no_rate() -> None:
    arrivals = stats_of(a_record(arrival_time=0.0), a_record(arrival_time=1e-308)).arrivals

    assert arrivals
    assert arrivals.rates(60) == []


def test_an_unlimited_cache_finds_every_prefix_seen_before() -> None:
    """Chunks of 512 by id; the second record has two of three, of which the tokens are 1,024 of 1,100."""
    prefixes = stats_of(
        a_record(input_length=1_100, output_length=1, hash_ids=(1, 2, 3)),
        a_record(input_length=1_100, output_length=1, hash_ids=(1, 2, 4)),
        a_record(input_length=100, output_length=1, hash_ids=(2,)),
        a_record(input_length=100, output_length=1),
    ).prefixes

    assert (prefixes.records, prefixes.prompt_tokens, prefixes.found_tokens) == (3, 2_300, 1_024)
    assert (prefixes.blocks, prefixes.found_blocks) == (7, 2)
    assert (prefixes.first_blocks, prefixes.shared_first) == (2, 2)


def test_a_turn_finds_the_prompt_and_the_answer_of_the_turn_before() -> None:
    """The turn before had 1,100 tokens of it, of which whole blocks of 16 are found: 1,088."""
    prefixes = stats_of(
        a_record(input_length=1_000, output_length=100, hash_ids=(1, 2), session_id="s"),
        a_record(input_length=1_500, output_length=1, hash_ids=(1, 3, 4), session_id="s"),
        a_record(input_length=600, output_length=1, hash_ids=(1, 5), session_id="t"),
    ).prefixes

    assert (prefixes.found_tokens, prefixes.found_session_tokens) == (1_088 + 512, 1_088)


def test_tokens_are_found_in_full_blocks_of_sixteen() -> None:
    prefixes = stats_of(a_record(prompt="x" * 40), a_record(prompt="x" * 33 + "y" * 7)).prefixes

    assert (prefixes.prompt_tokens, prefixes.found_tokens, prefixes.blocks) == (80, 32, 4)


def test_the_figures_of_a_sample_are_shown() -> None:
    result = inspect(FORMATS / "azure.csv", COLUMNS="70", PYTHONIOENCODING="utf-8")

    assert result.exit_code == 0
    assert "records         4 (4 with lengths)\n" in result.stdout
    assert "arrivals        4 (from 0 s to 4.5 s)\n" in result.stdout
    assert "shared prefixes" not in result.stdout


def test_the_figures_are_a_json_document() -> None:
    document = json.loads(inspect(FORMATS / "mooncake.jsonl", "--format", "json").stdout)

    assert document["schema"] == "tracesim.inspect/1"
    assert [file["format"] for file in document["files"]] == ["mooncake"]
    assert (document["records"], document["errors"], document["warnings"]) == (5, 0, 0)
    assert document["sessions"] == {
        "sessions": 1,
        "turns": 3,
        "longest": 3,
        "after": 0,
        "delays": 1,
        "mean_delay": 0.4,
    }
    assert document["prompt_tokens"]["max"] == 1536
    assert document["arrivals"]["count"] == 4
    assert sum(document["arrivals"]["rates"]) == pytest.approx(4 * 60 / 2.25)
    assert document["prefixes"]["found_blocks"] == 4
    assert document["tokenizer"] is None


def test_invalid_records_are_reported_and_skipped() -> None:
    result = inspect("-", stdin=b'{"prompt":"a","response":"b"}\n' + b"{\n" * 12)

    assert result.exit_code == 1
    assert "records         1 (1 with text)\nproblems        12 errors" in result.stdout
    assert "<stdin>:2: error: is not JSON" in result.stderr
    assert "... and 7 more [invalid-json]" in result.stderr


def test_a_missing_file_is_wrong_usage() -> None:
    result = inspect("nowhere.jsonl")

    assert (result.exit_code, result.stdout) == (2, "")
    assert "nowhere.jsonl: error: no such file" in result.stderr


def test_the_tokenizer_is_named_if_there_is_text() -> None:
    result = inspect("-", "--tokenizer", "char", stdin=b'{"prompt":"abc","response":"b"}\n')

    assert "tokenizer       char\n" in result.stdout
    assert "no tokenizer" not in inspect("-", "--tokenizer", "nonsense", stdin=b"").stderr
    assert inspect("-", "--tokenizer", "nonsense", stdin=b'{"prompt":"abc","response":"b"}\n').exit_code == 2


def test_without_utf8_bars_are_ascii() -> None:
    stats = stats_of(a_record(arrival_time=0.0), a_record(arrival_time=1.0))
    lines = format_inspected(Inspected({"x": "tracesim"}, stats, {}, "char"), glyphs=PLAIN)

    assert "".join(map(plain_text, lines)).isascii()


records = st.builds(
    a_record,
    prompt=st.text(min_size=1, max_size=30),
    response=st.text(max_size=30),
    arrival_time=st.none() | st.floats(0, 1e12),
) | st.builds(
    a_record,
    input_length=st.integers(1, 2**62),
    output_length=st.integers(0, 2**20),
    hash_ids=st.lists(st.integers(0, 3), min_size=1, max_size=4),
    arrival_step=st.integers(0, 10**15),
)


@given(st.text(min_size=1), st.lists(records, min_size=1, max_size=8), st.integers(40, 220))
def test_no_line_is_wider_than_the_width_or_has_control_characters(
    name: str, some: list[Any], width: int
) -> None:
    inspected = Inspected({name: "tracesim"}, stats_of(*some), {"error": 1}, "char")

    lines = [plain_text(line) for line in format_inspected(inspected, width=width)]

    assert [line for line in lines if cell_len(line) > width or not line.isprintable()] == []
