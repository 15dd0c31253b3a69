"""How sure is a measured share, mean or quantile? Score intervals, from counts and sums alone."""

from __future__ import annotations

from functools import lru_cache
from math import ceil, exp, floor, inf, lgamma, log, nextafter, sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@lru_cache(maxsize=64)
def z_score(confidence: float) -> float:
    """Return the standard normal quantile that leaves (1 - confidence) / 2 on either side."""
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def wilson(events: float, total: float, confidence: float) -> tuple[float, float]:
    """Return the two-sided Wilson score interval of a proportion, without continuity correction.

    Source: E. B. Wilson (1927), "Probable Inference, the Law of Succession, and Statistical Inference", JASA 22,
    209-212; recommended for small samples by Brown, Cai, DasGupta (2001), Statistical Science 16 (2), 101-133.
    `0 <= events <= total`, `total > 0`; both may be fractional, as Prometheus extrapolates.
    """
    z = z_score(confidence)
    share, weight = events / total, z * z / total
    middle = share + weight / 2
    half = z * sqrt(share * (1 - share) / total + weight / (4 * total))
    low, high = (middle - half) / (1 + weight), (middle + half) / (1 + weight)
    # At the ends the bound is the end itself; rounding must not make "more than none" of no events.
    return (0.0 if events <= 0 else max(0.0, low)), (1.0 if events >= total else min(1.0, high))


def mean_interval(mean: float, count: float, limits: tuple[float, float], confidence: float) -> tuple[float, float]:
    """Return bounds of the mean of values that all lie within `limits`, from their number and their mean alone.

    Values between a and b with the mean m have at most the variance (m - a)(b - m), which is reached when each is a or
    b (R. Bhatia and C. Davis (2000), "A Better Bound on the Variance", American Mathematical Monthly 107, 353-357).
    The score interval with that variance is Wilson's, of the share (m - a)/(b - a): exact in the same sense for values
    that are all a or b, and wider than need be for all others. `a <= mean <= b`, `count > 0`.
    """
    lowest, highest = limits
    width = highest - lowest
    low, high = wilson((mean - lowest) / width * count, count, confidence)
    return lowest + low * width, lowest + high * width


_FEW = 10
"""With fewer values Student's expansion is too short, and their spread says too little."""


def t_interval(mean: float, squares: float, count: float, confidence: float) -> tuple[float, float]:
    """Return Student's interval of the mean of any values, from their number, mean and sum of squares.

    Times, tokens and costs are skewed to the right. For these the lower end is surer than asked for: whatever makes
    the mean large by chance makes the spread larger. The upper end is not: a sample without the rare large value knows
    nothing of it. docs/decisions/evidence-bounds.md has the figures. Infinite with fewer than ten values.
    """
    if count < _FEW:
        return -inf, inf
    variance = max(0.0, squares - count * mean * mean) / (count - 1)
    half = t_score(count - 1, confidence) * sqrt(variance / count)
    return mean - half, mean + half


def t_score(degrees: float, confidence: float) -> float:
    """Return the quantile of Student's t distribution that leaves (1 - confidence) / 2 on either side.

    Expansion 26.7.5 of M. Abramowitz and I. A. Stegun (1964), "Handbook of Mathematical Functions"; at 9 degrees of
    freedom and 99.99 % it is 0.13 % too small, from 19 on 0.004 %.
    """
    z = z_score(confidence)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / degrees**power for power, term in enumerate(terms, 1))


def quantile(buckets: Sequence[tuple[float, float]], q: float) -> float:
    """Return the q-quantile of a cumulative histogram, interpolated linearly as Prometheus' `histogram_quantile` does.

    `buckets` are (upper bound, count at or below) of non-negative values, ascending, +Inf last, with at least one
    observation. A quantile in the last bucket is reported as the highest finite bound: the least that is known.
    """
    rank = q * buckets[-1][1]
    lower, below = 0.0, 0.0
    for upper, count in buckets:
        if count >= rank and count > below:
            return lower if upper == inf else lower + (upper - lower) * (rank - below) / (count - below)
        lower, below = upper, count
    return lower


def quantile_interval(buckets: Sequence[tuple[float, float]], q: float, confidence: float) -> tuple[float, float]:
    """Return bounds of the q-quantile, from the shares of observations beyond each bucket bound.

    The quantile is above a bound exactly when more than `1 - q` of all values are. So it is surely above the highest
    bucket bound beyond which so many observations lie as chance shows with probability (1 - confidence) / 2 at most
    if the share is `1 - q`; and surely below the lowest one beyond which so few lie. Nothing is interpolated: an
    observation counts as slower than a threshold only if its whole bucket is, so a threshold between two bounds is
    judged by the upper one (lower one, for `<`). Where nothing is sure the bounds are 0 and infinity. A bound is passed
    strictly: no value falls exactly on one.
    """
    total = buckets[-1][1]
    # Extrapolated counts are fractional: each is rounded to the side on which it proves less.
    most, least = ceil(total - _NOISE), floor(total + _NOISE)
    surely_more = most_by_chance(most, 1 - q, confidence) + 1
    surely_less = least - most_by_chance(least, q, confidence) - 1
    low, high, edge, below = 0.0, inf, 0.0, 0.0
    for upper, count in buckets:
        slower = total - below
        if slower + _NOISE >= surely_more:
            low = nextafter(edge, inf)
        elif slower - _NOISE <= surely_less:
            high = nextafter(edge, 0.0)
            break
        edge, below = upper, count
    return low, high


_NOISE = 1e-6
"""By so much a whole count may miss its number after it was added up from fractions."""
_EXACT_BELOW = 1e4
"""Variance from which on the expansion is right to one event."""


@lru_cache(maxsize=4096)
def most_by_chance(total: int, share: float, confidence: float) -> int:
    """Return the smallest count that more events than it have at most the probability (1 - confidence) / 2.

    The exact binomial tail, the test that Clopper and Pearson (1934), Biometrika 26, 404-413, turn into an interval;
    above a variance of 10,000 the expansion of Cornish and Fisher (1938), Review of the International Statistical
    Institute 5, 307-320, to its skewness term, rounded up. `0 < share < 1`. A miss of the cache costs about 10 us.
    """
    variance = total * share * (1 - share)
    z, allowed = z_score(confidence), (1 - confidence) / 2
    guess = total * share + z * sqrt(variance) + (1 - 2 * share) * (z * z - 1) / 6
    if variance > _EXACT_BELOW:
        return min(total, ceil(guess))
    count = min(total, max(0, floor(guess)))
    beyond = _upper_tail(count + 1, total, share)
    while count < total and beyond > allowed:
        count += 1
        beyond -= _probability(count, total, share)
    while (wider := beyond + _probability(count, total, share)) <= allowed:
        count, beyond = count - 1, wider
    return count


def _upper_tail(count: int, total: int, share: float) -> float:
    """Return the binomial probability of `count` events or more, from the terms that still matter."""
    term, tail, odds = _probability(count, total, share), 0.0, share / (1 - share)
    while count <= total and term > tail * 1e-15:
        tail += term
        term *= (total - count) / (count + 1) * odds
        count += 1
    return tail


def _probability(count: int, total: int, share: float) -> float:
    if count > total:
        return 0.0
    ways = lgamma(total + 1) - lgamma(count + 1) - lgamma(total - count + 1)
    return exp(ways + count * log(share) + (total - count) * log(1 - share))
