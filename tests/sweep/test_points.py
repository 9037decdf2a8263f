"""Points: values read from text, grids and samples of them, and their complete settings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep_cases import SETTINGS
from tracesim.errors import ConfigError
from tracesim.sweep.points import describe, grid, make_points, parse_values, sample


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max_num_seqs=64,256", ("max_num_seqs", [64, 256])),
        ("max-num-seqs=64", ("max_num_seqs", [64])),
        ("num_gpu_blocks_override=100", ("num_gpu_blocks", [100])),
        ("num_gpu_blocks=none,100", ("num_gpu_blocks", [None, 100])),
        ("watermark=0,0.1", ("watermark", [0, 0.1])),
        ("async_scheduling=true,false", ("async_scheduling", [True, False])),
        ("rate=2,2.5", ("rate", [2, 2.5])),
        ("profile=vllm-serve", ("profile", ["vllm-serve"])),
        ('clock=["linear:base=5ms,decode=1us"]', ("clock", ["linear:base=5ms,decode=1us"])),
        ("seed=1,1", ("seed", [1])),
    ],
)
def test_values_have_the_types_of_their_setting(text: str, expected: tuple[str, list[object]]) -> None:
    assert parse_values(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_num_seqs", "vary is 'max_num_seqs'; must be NAME=VALUE,VALUE,..."),
        ("max_num_sequences=1", "names 'max_num_sequences', which is no setting of a replay; did you mean"),
        ("max_num_seqs=0", "vary: max_num_seqs is 0; must be an integer >= 1"),
        ("max_num_seqs=many", "vary: max_num_seqs is 'many'; must be an integer >= 1"),
        ("async_scheduling=maybe", "vary: async_scheduling is 'maybe'; must be True or False"),
        ("rate=nan", "vary: rate is 'nan'; must be a number > 0"),
        ("clock=[1,", "whose list is not valid JSON"),
    ],
)
def test_a_value_that_is_not_accepted_is_named(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace(".", r"\.")):
        parse_values(text)


def test_the_last_name_of_a_grid_varies_fastest() -> None:
    points = grid({"max_num_seqs": [1, 2], "seed": [3, 4]})

    assert [describe(each) for each in points] == [
        "max_num_seqs=1 seed=3",
        "max_num_seqs=1 seed=4",
        "max_num_seqs=2 seed=3",
        "max_num_seqs=2 seed=4",
    ]


@given(st.integers(0, 60), st.integers())
def test_a_sample_has_different_combinations_of_the_grid_in_its_order(number: int, seed: int) -> None:
    varied: dict[str, list[object]] = {"a": [1, 2, 3], "b": [*"uvwx"], "c": [0.5, None, True, "x"]}
    drawn = sample(varied, number, seed)
    whole = grid(varied)
    places = [whole.index(each) for each in drawn]

    assert len(drawn) == min(number, len(whole))
    assert places == sorted(set(places))
    assert drawn == sample(varied, number, seed)


def test_a_sample_may_be_of_a_grid_that_is_too_large() -> None:
    varied = {f"n{number}": list(range(100)) for number in range(20)}

    assert len(sample(varied, 3)) == 3
    with pytest.raises(ConfigError, match="has over 1,000,000 combinations; take a sample of fewer"):
        grid(varied)


@pytest.mark.parametrize(
    ("arrivals", "expected"),
    [("trace", "poisson:2.5"), ("constant:9", "constant:2.5"), ("poisson:9", "poisson:2.5")],
)
def test_a_rate_is_that_of_the_arrivals(arrivals: str, expected: str) -> None:
    (point,) = make_points([{"rate": 2.5}], settings={**SETTINGS, "arrivals": arrivals})

    assert expected == point.args.arrivals
    assert point.varied == {"rate": 2.5}


def test_a_profile_that_varies_has_its_settings_and_its_gpus() -> None:
    names = ["h100/llama-3.1-70b-tp4", "h100/llama-3.1-8b"]
    points = make_points([{"profile": name} for name in names], settings={"max_num_seqs": 7})

    assert [point.gpus for point in points] == [4, 1]
    assert [point.args.max_num_seqs for point in points] == [7, 7]
    assert points[0].args.clock != points[1].args.clock


def test_a_combination_that_no_engine_accepts_is_an_error_with_its_values() -> None:
    with pytest.raises(ConfigError, match=r"in the point engine=simple async_scheduling=true"):
        make_points(grid({"engine": ["vllm-v1", "simple"], "async_scheduling": [True]}))


def test_each_replica_has_gpus_of_its_own() -> None:
    (point,) = make_points([{"replicas": 3}], profiles=["h100/llama-3.1-70b-tp4"])

    assert (point.gpus_per_replica, point.gpus) == (4, 12)
    assert point.but(replicas=2).gpus == 8


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"clock": "quick"}, "clock is 'quick'; must be steps"),
        ({"arrivals": "late"}, "arrivals is 'late'; must be trace"),
        ({"replicas": 2, "router": "best"}, "router is 'best'"),
        ({"rate": 2, "sessions": "recorded"}, "sessions is recorded, but arrivals is 'poisson:2'"),
    ],
)
def test_the_text_of_a_setting_is_checked_before_any_replay(
    settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make_points([settings])
