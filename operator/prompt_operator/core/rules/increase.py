"""What Prometheus' `increase()` says of a counter: its documented extrapolation, as a function.

Source: https://prometheus.io/docs/prometheus/latest/querying/functions/#increase and the remarks on `rate`; the cases
of tests/core/rules/test_increase.py are put to the real Prometheus too, and both answer the same.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

NEAR = 1.1
"""A window's edge within this many sample distances is taken for a part of the series' life."""


def increase(samples: Sequence[tuple[float, float]], end: float, window: float) -> float | None:
    """Return `increase(counter[window])` at `end`; None with fewer than two samples.

    `samples` are (time, value) in seconds, ascending. The window is open on the left. A value below the one before it
    is a counter that began anew at zero.
    """
    inside = [(time, value) for time, value in samples if end - window < time <= end]
    if len(inside) < 2:  # noqa: PLR2004  a growth needs two ends
        return None
    (first_time, first), (last_time, _) = inside[0], inside[-1]
    covered = last_time - first_time
    distance = covered / (len(inside) - 1)
    before = _reach(first_time - (end - window), distance)
    after = _reach(end - last_time, distance)
    return extrapolated(first, grown([value for _, value in inside]), covered, before, after)


def grown(values: Sequence[float]) -> float:
    """Return by how much a counter grew, over its resets."""
    return values[-1] - values[0] + sum(before for before, after in pairwise(values) if after < before)


def _reach(gap: float, distance: float) -> float:
    """How far the series is thought to go on beyond its last sample inside the window."""
    return gap if gap < NEAR * distance else distance / 2


def extrapolated(first: float, growth: float, covered: float, before: float, after: float) -> float:
    """Stretch a counter's growth over the seconds before and after; before, not further than to where it was zero."""
    if growth <= 0:
        return 0.0
    return growth * (covered + min(before, covered * first / growth) + after) / covered
