"""Comparing steps: equal logs are equal, and what differs is found at its step and by its name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count, islice, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steps import a_logged_step
from tracesim.analysis.step_diff import Comparison, StepDiff, align, diff_steps
from tracesim.analysis.step_log import GOLDEN_FIELDS, STEP_FIELDS, LoggedStep, StepLog
from tracesim.errors import ConfigError

LOG_FIELDS = {name: parts for name, parts in STEP_FIELDS.items() if name not in ("cached", "discarded")}

ids = st.sampled_from(["r1", "r2", "r3"])
figures = st.integers(0, 9)
batches = st.lists(st.fixed_dictionaries({"id": ids, "computed": figures, "tokens": figures}), max_size=3)
DRAWN_FIELDS = {
    "prefill": batches,
    "decode": batches,
    "emitted": st.lists(
        st.fixed_dictionaries(
            {"id": ids, "token_id": figures, "text": st.none() | st.sampled_from(["", "a", "é"])}
        ),
        max_size=3,
    ),
    "finished": st.lists(
        st.fixed_dictionaries({"id": ids, "finish_reason": st.just("stop"), "stop_reason": st.none()}),
        max_size=2,
    ),
    "preempted": st.lists(ids, max_size=2),
    "running": figures,
    "waiting": figures,
    "free_blocks": st.none() | figures,
}
logs = st.lists(st.fixed_dictionaries(DRAWN_FIELDS), min_size=1, max_size=8).map(
    lambda steps: [LoggedStep(number, fields) for number, fields in enumerate(steps)]
)


def compare(
    left: Iterable[LoggedStep], right: Iterable[LoggedStep], *ignore: str, context: int = 3
) -> StepDiff:
    comparison = Comparison(a_log(left), a_log(right), ignore)
    return diff_steps(comparison.pairs(), context)


def a_log(steps: Iterable[LoggedStep] = ()) -> StepLog:
    return StepLog("log", LOG_FIELDS, iter(steps))


def a_golden_log(steps: Iterable[LoggedStep] = ()) -> StepLog:
    fields = {name: parts for name, parts in GOLDEN_FIELDS.items() if name != "discarded"}
    return StepLog("golden", fields, iter(steps), frozenset({"finished", "preempted"}), "case")


@given(logs)
def test_a_log_is_equal_to_itself(steps: list[LoggedStep]) -> None:
    diff = compare(steps, steps)

    assert (len(steps), 0, None) == (diff.steps, diff.differing, diff.first)


@given(logs, st.data())
def test_one_changed_field_is_found_at_its_step_and_named(steps: list[LoggedStep], data: Any) -> None:
    at = data.draw(st.integers(0, len(steps) - 1))
    name = data.draw(st.sampled_from(sorted(DRAWN_FIELDS)))
    old = steps[at].fields[name]
    new = data.draw(DRAWN_FIELDS[name].filter(lambda value: value != old))
    changed = [*steps[:at], LoggedStep(at, {**steps[at].fields, name: new}), *steps[at + 1 :]]
    diff = compare(steps, changed)

    assert diff.first is not None
    assert (at, (name,), 1, at) == (diff.first.number, diff.first.fields, diff.differing, diff.steps_before)
    assert not compare(steps, changed, name).differing


@given(logs, st.data())
def test_a_step_that_is_left_out_is_only_in_the_other_log(steps: list[LoggedStep], data: Any) -> None:
    at = data.draw(st.integers(0, len(steps) - 1))
    fewer = [*steps[:at], *steps[at + 1 :]]

    assert counts(compare(steps, fewer)) == (1, 1, 0)
    assert counts(compare(fewer, steps)) == (1, 0, 1)


def counts(diff: StepDiff) -> tuple[int, int, int]:
    return diff.differing, diff.only_left, diff.only_right


def test_steps_are_matched_by_number() -> None:
    diff = compare(map(a_logged_step, [0, 2, 4]), map(a_logged_step, [0, 3, 4, 7]))

    assert (diff.steps, *counts(diff)) == (5, 3, 1, 2)


def test_steps_are_taken_as_they_are_asked_for() -> None:
    unlimited: Iterator[LoggedStep] = map(a_logged_step, count())
    pairs = Comparison(a_log(unlimited), a_log(map(a_logged_step, count()))).pairs()

    assert [pair.number for pair in islice(pairs, 3)] == [0, 1, 2]
    assert next(unlimited).number <= 5


def test_the_steps_around_the_first_difference_are_kept() -> None:
    changed = [a_logged_step(number, running=2 if number in (5, 7) else 1) for number in range(20)]
    diff = compare(map(a_logged_step, range(20)), changed, context=2)

    assert [pair.number for pair in diff.before] == [3, 4]
    assert [(pair.number, pair.differs) for pair in diff.after] == [(6, False), (7, True)]
    assert (diff.differing, diff.steps_before, diff.by_field) == (2, 5, {"running": 2})


def test_one_field_of_the_entries_can_be_ignored() -> None:
    other = a_logged_step(emitted=[{"id": "r1", "token_id": 32, "text": None}])

    assert compare([a_logged_step()], [other]).differing
    assert not compare([a_logged_step()], [other], "emitted.text").differing


def test_an_unknown_field_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"emited: no such field; known are prefill, .*emitted\.text"):
        Comparison(a_log(), a_log(), ["emited"])


def test_what_only_one_format_tells_is_not_compared() -> None:
    golden = a_logged_step(
        emitted=[{"id": "r1"}],
        finished=[{"id": "r1", "finish_reason": "stop"}, {"id": "r2", "finish_reason": "stop"}],
        preempted=["r3", "r4"],
        running_ids=["r1"],
        scheduled=["r1"],
    )
    finished = [{"id": name, "finish_reason": "stop", "stop_reason": "END"} for name in ("r2", "r1")]
    record = a_logged_step(finished=finished, preempted=["r4", "r3"])
    comparison = Comparison(a_golden_log([golden]), a_log([record]))

    assert not diff_steps(comparison.pairs()).differing
    assert comparison.not_compared == [
        "scheduled",
        "running_ids",
        "emitted.token_id",
        "emitted.text",
        "finished.stop_reason",
    ]


def test_two_golden_logs_are_compared_in_all_they_tell() -> None:
    steps = [
        a_logged_step(scheduled=["r1", "r2"], running_ids=order) for order in (["r1", "r2"], ["r2", "r1"])
    ]
    diff = diff_steps(Comparison(a_golden_log(steps[:1]), a_golden_log(steps[1:])).pairs())

    assert diff.first is not None
    assert diff.first.fields == ("running_ids",)


@given(st.lists(st.tuples(ids, figures), max_size=6), st.lists(st.tuples(ids, figures), max_size=6))
def test_aligned_entries_are_those_of_both_sides_in_order(
    left: list[tuple[str, int]], right: list[tuple[str, int]]
) -> None:
    aligned = list(align(left, right))

    assert left == [a for a, _ in aligned if a is not None]
    assert right == [b for _, b in aligned if b is not None]
    assert all(a[0] == b[0] for a, b in aligned if a and b)


def test_thousands_of_equal_ids_are_aligned_at_once() -> None:
    """So are thousands that are in reverse order; both took a time that is quadratic."""
    same = [("r1", number) for number in range(50_000)]
    others = [(f"r{number}", 0) for number in range(50_000)]

    assert list(align(same, same[1:])) == [*pairwise(same), (same[-1], None)]
    assert sum(a is not None and b is not None for a, b in align(others, others[::-1])) == 1
