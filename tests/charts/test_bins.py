"""Bins of time, distributions and texts: what charts are made of."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chart_cases import NASTY, a_stride
from tracesim.charts.bins import StrideBins, bin_edges, span_counts, stride_times
from tracesim.charts.distribution import Distribution
from tracesim.charts.labels import format_duration, format_latency, visible
from tracesim.charts.timeline import Phase, Span, StrideColumns, Timeline


def columns(*strides: tuple[float, float]) -> StrideColumns:
    """Return strides with these starts and durations."""
    timeline = Timeline()
    for number, (start, duration) in enumerate(strides):
        timeline.add(a_stride(2 * number), start, start + duration)
    return timeline.strides


def test_few_strides_are_bins_of_their_own() -> None:
    strides = columns((0, 1), (1, 1), (5, 1))
    bins = StrideBins(strides, bin_edges(stride_times(strides)))
    series = bins.series([4, 2, 3])

    assert bins.edges == [0, 1, 2, 5, 6]
    assert series.low == series.high == series.mean == [4, 2, 0, 3]
    assert bins.series([4, 2, 3], lasting=True).mean == [4, 2, 2, 3]


def test_a_bin_has_the_mean_by_time_and_the_extremes() -> None:
    strides = columns((0, 1), (1, 3), (4, 4))
    series = StrideBins(strides, bin_edges(stride_times(strides), most=2)).series([8, 4, 2])

    assert (series.mean, series.low, series.high) == ([5, 2], [4, 2], [8, 2])


def test_a_ramp_goes_evenly_through_a_stride_and_stays_while_idle() -> None:
    """The first stride lasts from 0 to 8 over 4 bins; after the second the value stays at 6 for a bin."""
    strides = columns((0, 4), (4, 1), (6, 2))
    series = StrideBins(strides, [0, 1, 2, 3, 4, 5, 6, 7, 8]).ramp([0, 8, 6], [8, 6, 6])

    assert series.mean == [1, 3, 5, 7, 7, 6, 6, 6]


def test_the_rounding_of_a_sum_is_no_pause() -> None:
    strides = columns((0.1, 0.2), (0.3, 0.1))

    assert 0.1 + 0.2 != 0.3
    assert 0 not in StrideBins(strides, bin_edges(stride_times(strides))).series([4, 2]).low


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9), st.integers(0, 9)), min_size=1),
    st.integers(1, 60),
)
def test_bins_have_all_the_time_of_all_strides(drawn: list[tuple[int, int, int]], most: int) -> None:
    times, now = [], 0
    for pause, duration, _ in drawn:
        times.append((now + pause, duration))
        now += pause + duration
    values = [value for _, _, value in drawn]
    strides = columns(*times)
    bins = StrideBins(strides, bin_edges(stride_times(strides), most))
    series = bins.series(values)
    widths = [after - before for before, after in pairwise(bins.edges)]

    total = sum(mean * width for mean, width in zip(series.mean, widths, strict=True))
    assert sum(value * duration for _, duration, value in drawn) == pytest.approx(total)
    assert max(values) == max(series.high)
    for low, mean, high in zip(series.low, series.mean, series.high, strict=True):
        assert low - 1e-9 <= mean <= high + 1e-9


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1), st.integers(1, 60))
def test_bins_have_all_the_time_of_all_spans(pairs: list[tuple[int, int]], most: int) -> None:
    spans = [Span(0, Phase.DECODE, min(pair), max(pair)) for pair in pairs]
    edges = bin_edges([time for pair in pairs for time in pair], most)
    counts = span_counts(spans, edges)
    widths = [after - before for before, after in pairwise(edges)]

    total = sum(count * width for count, width in zip(counts, widths, strict=True))
    assert sum(span.end - span.start for span in spans) == pytest.approx(total)
    assert all(-1e-9 <= count <= len(spans) + 1e-9 for count in counts)


def test_percentiles_are_those_of_numpy() -> None:
    values = Distribution({1: 2, 5: 1, 3: 1})

    assert [values.percentile(percent) for percent in (0, 50, 90, 100)] == [1, 2, pytest.approx(4.4), 5]
    assert (values.count, values.mean, values.low, values.high) == (4, 2.5, 1, 5)
    assert [values.below(border) for border in (1, 2, 5, 9)] == [0, 2, 3, 4]


def test_durations_have_the_unit_that_fits() -> None:
    assert [format_duration(value, "steps") for value in (1, 2.5, 1200)] == [
        "1 step",
        "2.5 steps",
        "1,200 steps",
    ]
    assert [format_duration(value, "s") for value in (0.0123, 1.5)] == ["12.3 ms", "1.50 s"]


def test_latencies_have_three_significant_digits() -> None:
    assert [format_latency(value, "s") for value in (0, 0.00015, 0.022, 1.047, 12.34, 3881.3)] == [
        "0.00 ms",
        "0.150 ms",
        "22.0 ms",
        "1.05 s",
        "12.3 s",
        "3,881 s",
    ]
    assert format_latency(12, "steps") == "12 steps"


def test_what_does_not_show_is_escaped_and_what_is_long_is_cut() -> None:
    assert visible(NASTY[2]) == r"a\u202eb\x1b[31m\ud800"
    assert visible("abcdef", 4) == "abc…"
