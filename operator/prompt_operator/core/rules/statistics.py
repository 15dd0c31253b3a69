"""How sure is a measured share, mean or quantile? Score intervals, from counts and sums alone."""

from __future__ import annotations

from functools import lru_cache
from math import inf, nextafter, sqrt
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
    bucket bound beyond which the Wilson interval of that share lies wholly above `1 - q`, and surely below the lowest
    one beyond which it lies wholly under. Nothing is interpolated: an observation counts as slower than a threshold
    only if its whole bucket is, so a threshold between two bounds is judged by the upper one (lower one, for `<`).
    Where nothing is sure the bounds are 0 and infinity. A bound is passed strictly: no value falls exactly on one.
    """
    total, rare = buckets[-1][1], 1 - q
    margin = z_score(confidence) * sqrt(total * q * rare)
    surely_more, surely_less = total * rare + margin, total * rare - margin
    low, high, edge, below = 0.0, inf, 0.0, 0.0
    for upper, count in buckets:
        slower = total - below
        if slower > surely_more:
            low = nextafter(edge, inf)
        elif slower < surely_less:
            high = nextafter(edge, 0.0)
            break
        edge, below = upper, count
    return low, high
