"""Gaps kept as progressions are equal to the same gaps written out."""

from __future__ import annotations

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


@given(strides, st.lists(st.integers(0, 100), max_size=5))
def test_gaps(strides: list[tuple[int, int, int, int]], single: list[int]) -> None:
    gaps, written = TokenGaps(), list(single)
    for gap in single:
        gaps.add(gap)
    for first, growth, steps, count in strides:
        gaps.add_stride(first, growth, steps, count)
        written += [first + growth * step for step in range(steps) for _ in range(count)]
    written.sort()
    ordered = gaps.ordered()

    assert (len(written), sum(written)) == (len(ordered), gaps.total())
    assert written == [ordered[rank] for rank in range(len(written))]
    assert written == [gap for gap, count in sorted(gaps.counts().items()) for _ in range(count)]
