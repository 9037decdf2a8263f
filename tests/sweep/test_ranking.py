"""The order of results by an objective, and the points that no other exceeds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep_cases import some_points
from tracesim.errors import ConfigError
from tracesim.sweep.figures import parse_objective
from tracesim.sweep.ranking import Row, pareto_front, rank
from tracesim.sweep.replay_point import Outcome, Replay
from tracesim.sweep.results_file import Result

(POINT,) = some_points(max_num_seqs=[4])


def a_result(varied: dict[str, Any], **figures: float) -> Result:
    names = {name.replace("__", "."): value for name, value in figures.items()}
    point = type(POINT)(varied, POINT.args)
    return Result(Replay(point), Outcome(names) if figures else Outcome(error="it cannot run"), "0")


def test_the_best_is_first_and_what_has_no_figure_last() -> None:
    results = [
        a_result({"rate": 1}, goodput=2),
        a_result({"rate": 2}),
        a_result({"rate": 3}, goodput=3, ttft__p99=1),
    ]
    by_goodput = rank(results, parse_objective("goodput"))
    by_latency = rank(results, parse_objective("ttft.p99"))

    assert [row.varied["rate"] for row in by_goodput] == [3, 1, 2]
    assert by_latency[0].varied["rate"] == 3
    assert [row.error for row in by_goodput] == [None, None, "it cannot run"]


def test_seeds_are_one_row_with_means_and_a_spread() -> None:
    results = [a_result({"rate": 1, "seed": seed}, goodput=value) for seed, value in [(1, 2.0), (2, 5.0)]]
    (row,) = rank(results, parse_objective("goodput"))

    assert (row.varied, row.figures["goodput"], row.spread("goodput")) == ({"rate": 1}, 3.5, (2.0, 5.0))


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12))
def test_no_row_exceeds_one_of_the_front_in_both_figures(values: list[tuple[int, int]]) -> None:
    rows = [Row({}, [], {"x": x, "y": y}) for x, y in values]
    front = [(row.figures["x"], row.figures["y"]) for row in pareto_front(rows, "x", "y")]
    expected = {
        (x, y) for x, y in values if not any((a, b) != (x, y) and a >= x and b >= y for a, b in values)
    }

    assert sorted(expected) == front


def test_short_names_stand_for_figures() -> None:
    assert parse_objective("throughput").name == "output_token_throughput"
    assert parse_objective("goodput-per-gpu").name == "goodput_per_gpu"
    with pytest.raises(ConfigError, match="of which neither more nor less is better"):
        parse_objective("prompt_tokens")
