"""Interval arithmetic: what is computed of two intervals holds every result of values that lie in them."""

from __future__ import annotations

from math import isinf
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from prompt_operator.core.rules.syntax import Operator

Interval: TypeAlias = tuple[float, float]
"""Lower and upper end. An infinite end stands for "as far as you like" and belongs to no value."""


def combined(operator: Operator, a: Interval, b: Interval) -> Interval:
    """Return the interval of `a operator b`, whose values are taken to be independent; no divisor may hold zero."""
    match operator:
        case "+":
            return a[0] + b[0], a[1] + b[1]
        case "-":
            return a[0] - b[1], a[1] - b[0]
        case "*":
            ends = [_times(x, y) for x in a for y in b]
        case "/":
            ends = [_times(x, 1 / y) if isinf(y) else x / y for x in a for y in b]
    return min(ends), max(ends)


def holds(interval: Interval, value: float) -> bool:
    """Tell whether a value lies in an interval, ends included."""
    return interval[0] <= value <= interval[1]


def _times(x: float, y: float) -> float:
    """Multiply two ends; zero times any value is zero, however far off the end is that is not there."""
    return 0.0 if 0 in {x, y} else x * y
