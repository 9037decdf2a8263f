"""The search for the last place at which something holds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tracesim.sweep.search import Ladder, find_last

PLACES = st.integers(-50, 50)


def search(start: int, step: int, lowest: int, highest: int, last: int) -> tuple[int | None, list[int]]:
    """Return what a search finds where everything up to `last` holds, and the places that it tried."""
    tried = []
    places = find_last(start, step, lowest, highest)
    try:
        place = next(places)
        while True:
            tried.append(place)
            place = places.send(place <= last)
    except StopIteration as end:
        return end.value, tried


@given(PLACES, st.integers(1, 20), PLACES, PLACES, st.integers(-60, 60))
def test_a_search_finds_the_last_place_that_holds(
    start: int, step: int, one: int, other: int, last: int
) -> None:
    lowest, highest = min(one, other), max(one, other)
    found, tried = search(start, step, lowest, highest, last)

    assert (None if last < lowest else min(last, highest)) == found
    assert len(set(tried)) == len(tried)
    assert all(lowest <= place <= highest for place in tried)


def test_a_search_tries_few_places() -> None:
    found, tried = search(0, 16, -10_000, 10_000, last=777)

    assert found == 777
    assert len(tried) <= 16


@given(st.integers(-500, 500), st.sampled_from([0.001, 0.01, 0.05, 1.0]))
def test_the_rates_of_a_ladder_ascend_and_know_their_place(place: int, precision: float) -> None:
    ladder = Ladder(precision)

    assert ladder.rate(place) < ladder.rate(place + 1)
    assert abs(ladder.place(ladder.rate(place)) - place) <= 1
