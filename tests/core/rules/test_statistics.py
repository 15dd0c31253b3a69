"""Bounds of shares, means and quantiles against published and independently computed values."""

from __future__ import annotations

from itertools import pairwise
from math import ceil, floor, inf, sqrt
from random import Random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom
from scipy.stats import t as student

from prompt_operator.core.rules.statistics import (
    mean_interval,
    most_by_chance,
    quantile,
    quantile_interval,
    t_interval,
    t_score,
    wilson,
    z_score,
)

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


@pytest.mark.parametrize("total", [1, 19, 20, 21, 40, 100, 999, 5000, 100_000, 10**9])
@pytest.mark.parametrize("share", [0.01, 0.05, 0.5, 0.95, 0.99])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.999, 0.9999])
def test_most_by_chance_is_the_quantile_of_the_binomial_distribution(
    total: int, share: float, confidence: float
) -> None:
    """SciPy gives the same count; for very many samples ours may be one larger, never smaller."""
    expected = int(binom.isf((1 - confidence) / 2, total, share))
    large = total * share * (1 - share) > 1e4
    tie = binom.sf(expected, total, share) == pytest.approx((1 - confidence) / 2)
    assert expected <= most_by_chance(total, share, confidence) <= expected + (large or tie)


@given(histograms, st.sampled_from([0.5, 0.95, 0.99]), st.sampled_from(LEVELS), st.sampled_from([1.0, 20 / 19, 4 / 3]))
def test_quantile_interval_is_the_exact_test_of_the_share_beyond_each_bound(
    counts: list[int], q: float, confidence: float, stretch: float
) -> None:
    """A bound is surely passed only where chance alone shows so many (so few) with alpha / 2 at most, rounded down."""
    bounds = [*(float(index + 1) for index in range(len(counts) - 1)), inf]
    buckets = tuple((bound, float(sum(counts[: index + 1])) * stretch) for index, bound in enumerate(bounds))
    total = buckets[-1][1]
    low, high = quantile_interval(buckets, q, confidence)
    for edge, below in ((0.0, 0.0), *buckets[:-1]):
        slower, allowed = total - below, (1 - confidence) / 2 * (1 + 1e-9)
        if low > edge:
            assert binom.sf(floor(slower + 1e-6) - 1, ceil(total - 1e-6), 1 - q) <= allowed
        if high <= edge:
            assert binom.cdf(ceil(slower - 1e-6), floor(total + 1e-6), 1 - q) <= allowed
        if stretch == 1.0 and binom.sf(slower - 1, total, 1 - q) < allowed * 0.999:
            assert low > edge
        if stretch == 1.0 and binom.cdf(slower, total, 1 - q) < allowed * 0.999:
            assert high <= edge


@pytest.mark.parametrize(("confidence", "needed"), [(0.95, 2), (0.999, 4), (0.9999, 4)])
def test_slow_requests_that_twenty_need(confidence: float, needed: int) -> None:
    """With 1 % slow requests two of 20 come once in sixty looks: enough for a notice, not for a rollback."""
    for slow in range(6):
        low, _ = quantile_interval(((10.0, 20.0 - slow), (inf, 20.0)), 0.99, confidence)
        assert (low > 10) == (slow >= needed)


def test_the_interval_of_a_mean_of_zeros_and_ones_is_wilsons() -> None:
    """Published intervals of shares are those of means between 0 and 1, and of any other range when stretched."""
    assert mean_interval(81 / 263, 263, (0.0, 1.0), 0.95) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert mean_interval(1 + 4 * 81 / 263, 263, (1.0, 5.0), 0.95) == pytest.approx((2.0212, 2.4648), abs=2e-4)


@given(st.floats(1, 5), st.floats(1, 1e5), st.sampled_from(LEVELS))
def test_the_interval_of_a_mean_stays_within_its_range(mean: float, count: float, confidence: float) -> None:
    """The bounds enclose the mean and leave the range of its values by rounding at most."""
    low, high = mean_interval(mean, count, (1.0, 5.0), confidence)
    assert 1 - 1e-9 <= low <= mean + 1e-9
    assert mean - 1e-9 <= high <= 5 + 1e-9


@pytest.mark.parametrize(("degrees", "off"), [(9, 2e-3), (19, 1e-4), (60, 1e-5), (5000, 1e-6)])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.999, 0.9999])
def test_t_scores_are_those_of_scipy(degrees: int, off: float, confidence: float) -> None:
    """The expansion is close from ten values on."""
    assert t_score(degrees, confidence) == pytest.approx(student.ppf(0.5 + confidence / 2, degrees), rel=off)


def test_the_interval_of_skewed_values_errs_where_it_is_said_to() -> None:
    """Of 400 samples of 30 exponential times the lower end misses less often than asked for, the upper end more."""
    dice = Random(3)  # noqa: S311  repeatable, nothing secret
    above = below = 0
    for _ in range(400):
        values = [dice.expovariate(1.0) for _ in range(30)]
        low, high = t_interval(fmean(values), sum(value * value for value in values), 30, 0.95)
        above, below = above + (low > 1), below + (high < 1)
    assert above <= 400 * 0.025
    assert below > 400 * 0.025
    assert t_interval(1.0, 9.0, 9, 0.95) == (-inf, inf)


RATINGS = {
    "all alike": (0, 0, 0, 1, 0),
    "evenly spread": (1, 1, 1, 1, 1),
    "only the ends": (3, 0, 0, 0, 7),
    "mostly the best": (2, 0, 0, 0, 38),
    "one peak": (1, 3, 8, 20, 8),
}
"""Shape of the ratings 1 to 5 -> their weights."""


@pytest.mark.parametrize("weights", RATINGS.values(), ids=RATINGS)
@pytest.mark.parametrize("count", [20, 100])
def test_a_mean_lies_in_its_interval_as_often_as_promised(weights: tuple[int, ...], count: int) -> None:
    """Over 200 samples the 95 % interval misses the true mean in at most 5 %, give or take three standard errors."""
    dice = Random(11)  # noqa: S311  repeatable, nothing secret
    true = sum(rating * weight for rating, weight in enumerate(weights, 1)) / sum(weights)
    missed = 0
    for _ in range(200):
        low, high = mean_interval(fmean(dice.choices((1, 2, 3, 4, 5), weights, k=count)), count, (1.0, 5.0), 0.95)
        missed += not low - 1e-9 <= true <= high + 1e-9
    assert missed <= 200 * 0.05 + 3 * sqrt(200 * 0.05 * 0.95)
