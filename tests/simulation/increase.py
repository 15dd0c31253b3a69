"""What Prometheus' `increase()` says of a counter: the documented extrapolation, as a function.

Source: https://prometheus.io/docs/prometheus/latest/querying/functions/#increase and the remarks on `rate`; the cases
of test_increase.py are put to the real Prometheus too, and both answer the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

NEAR = 1.1
"""A window's edge within this many sample distances is taken for a part of the series' life."""


def increase(samples: Sequence[tuple[float, float]], end: float, window: float) -> float | None:
    """Return `increase(counter[window])` at `end`; None with fewer than two samples.

    `samples` are (time, value) in seconds, ascending, of a counter that was not reset. The window is open on the left.
    """
    inside = [(time, value) for time, value in samples if end - window < time <= end]
    if len(inside) < 2:
        return None
    (first_time, first), (last_time, last) = inside[0], inside[-1]
    covered = last_time - first_time
    distance = covered / (len(inside) - 1)
    before = _reach(first_time - (end - window), distance)
    after = _reach(end - last_time, distance)
    return extrapolated(first, last, covered, before, after)


def _reach(gap: float, distance: float) -> float:
    """How far the series is thought to go on beyond its last sample inside the window."""
    return gap if gap < NEAR * distance else distance / 2


def extrapolated(first: float, last: float, covered: float, before: float, after: float) -> float:
    """Stretch a counter's growth over the seconds before and after; before, not further than to where it was zero."""
    grown = last - first
    if grown <= 0:
        return 0.0
    return grown * (covered + min(before, covered * first / grown) + after) / covered
