"""Wilson bounds and quantiles against published and independently computed values."""

from __future__ import annotations

from itertools import pairwise
from math import inf, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompt_operator.core.rules.statistics import quantile, quantile_interval, wilson, z_score

LEVELS = (0.9, 0.95, 0.99, 0.999)


@pytest.mark.parametrize(("confidence", "z"), [(0.90, 1.644854), (0.95, 1.959964), (0.99, 2.575829), (0.999, 3.290527)])
def test_z_scores(confidence: float, z: float) -> None:
    """The two-sided normal quantiles are those of any table."""
    assert z_score(confidence) == pytest.approx(z, abs=1e-6)


@pytest.mark.parametrize(
    ("events", "total", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),  # Newcombe (1998), Statistics in Medicine 17, 857-872, table I, method 3
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_agrees_with_published_values(events: float, total: float, low: float, high: float) -> None:
    """The 95 % interval is Newcombe's to all four digits he prints."""
    assert wilson(events, total, 0.95) == pytest.approx((low, high), abs=5e-5)


@given(st.floats(0, 1), st.floats(1, 1e6), st.sampled_from(LEVELS))
def test_wilson_holds_the_share_and_solves_the_score_equation(share: float, total: float, confidence: float) -> None:
    """The bounds enclose the share, lie in 0..1, and are where the score test is just not significant."""
    low, high = wilson(share * total, total, confidence)
    assert 0 <= low <= share + 1e-9
    assert share - 1e-9 <= high <= 1
    for bound in (low, high):
        deviation = z_score(confidence) * sqrt(bound * (1 - bound) / total)
        assert abs(share - bound) == pytest.approx(deviation, rel=1e-6, abs=1e-6)


@given(st.floats(0, 1), st.floats(1, 1e5))
def test_more_confidence_means_wider(share: float, total: float) -> None:
    """Each higher confidence gives an interval that holds the lower one's."""
    bounds = [wilson(share * total, total, level) for level in LEVELS]
    for (low, high), (wider_low, wider_high) in pairwise(bounds):
        assert wider_low <= low + 1e-12
        assert wider_high >= high - 1e-12


BUCKETS = ((1.0, 50.0), (2.0, 90.0), (4.0, 100.0), (inf, 100.0))


@pytest.mark.parametrize(("q", "value"), [(0.25, 0.5), (0.5, 1.0), (0.7, 1.5), (0.95, 3.0), (1.0, 4.0)])
def test_quantile_interpolates_as_prometheus_does(q: float, value: float) -> None:
    """Within a bucket the quantile is interpolated linearly."""
    assert quantile(BUCKETS, q) == pytest.approx(value)


def test_quantile_beyond_the_last_bound_is_that_bound() -> None:
    """What lies in +Inf is reported as the highest finite bound."""
    assert quantile(((1.0, 10.0), (2.0, 20.0), (inf, 100.0)), 0.95) == 2.0
    assert quantile(((inf, 100.0),), 0.95) == 0.0


def test_empty_buckets_are_passed_over() -> None:
    """A bucket without observations is never the quantile's."""
    assert quantile(((1.0, 0.0), (2.0, 0.0), (4.0, 10.0), (inf, 10.0)), 0.5) == pytest.approx(3.0)


histograms = st.lists(st.integers(0, 200), min_size=2, max_size=8).filter(any)


@given(histograms, st.sampled_from([0.5, 0.95, 0.99]), st.sampled_from(LEVELS))
def test_quantile_interval_is_the_wilson_test_of_the_share_beyond_each_bound(
    counts: list[int], q: float, confidence: float
) -> None:
    """The quantile is surely above a bound exactly where Wilson's interval of the slower share is above 1 - q."""
    bounds = [*(float(index + 1) for index in range(len(counts) - 1)), inf]
    buckets = tuple((bound, float(sum(counts[: index + 1]))) for index, bound in enumerate(bounds))
    total = buckets[-1][1]
    low, high = quantile_interval(buckets, q, confidence)
    for edge, below in ((0.0, 0.0), *buckets[:-1]):
        share_low, share_high = wilson(total - below, total, confidence)
        if abs(share_low - (1 - q)) > 1e-9:
            assert (low > edge) == (share_low > 1 - q)
        if abs(share_high - (1 - q)) > 1e-9:
            assert (high <= edge) == (share_high < 1 - q)
