"""Gaps kept as progressions are equal to the same gaps written out."""

from __future__ import annotations

from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracesim.timing.token_gaps import TokenGaps

strides = st.lists(
    st.tuples(
        st.integers(0, 10**6) | st.integers(0, 50), st.integers(0, 40), st.integers(1, 30), st.integers(1, 5)
    ),
    min_size=1,
    max_size=12,
)


@pytest.mark.parametrize("most_written", [0, 1_000_000])
@given(strides=strides, single=st.lists(st.integers(0, 100), max_size=5))
def test_gaps(most_written: int, strides: list[tuple[int, int, int, int]], single: list[int]) -> None:
    """Gaps are looked up in buckets that are written out, and by bisection in those that are too large."""
    gaps, written = TokenGaps(), list(single)
    for gap in single:
        gaps.add(gap)
    for first, growth, steps, count in strides:
        gaps.add_stride(first, growth, steps, count)
        written += [first + growth * step for step in range(steps) for _ in range(count)]
    written.sort()
    ordered = gaps.ordered()
    with mock.patch("tracesim.timing.token_gaps._MAX_WRITTEN", most_written):
        found = [ordered[rank] for rank in range(len(written))]

    assert (len(written), sum(written)) == (len(ordered), gaps.total())
    assert written == found
    assert written == [gap for gap, count in sorted(gaps.counts().items()) for _ in range(count)]
