"""Gaps in progressions against the same gaps written out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tracesim.timing.token_gaps import TokenGaps

runs = st.lists(
    st.tuples(
        st.integers(0, 10**6) | st.integers(0, 50), st.integers(0, 40), st.integers(1, 30), st.integers(1, 5)
    ),
    min_size=1,
    max_size=12,
)


@given(runs, st.lists(st.integers(0, 100), max_size=5))
def test_gaps_are_those_written_out(runs: list[tuple[int, int, int, int]], alone: list[int]) -> None:
    gaps, written = TokenGaps(), list(alone)
    for gap in alone:
        gaps.add(gap)
    for first, growth, steps, count in runs:
        gaps.add_stride(first, growth, steps, count)
        written += [first + growth * step for step in range(steps) for _ in range(count)]
    written.sort()
    ranks = gaps.ordered()

    assert (len(ranks), gaps.total()) == (len(written), sum(written))
    assert [ranks[rank] for rank in range(len(written))] == written
    assert [gap for gap, count in sorted(gaps.counts().items()) for _ in range(count)] == written
