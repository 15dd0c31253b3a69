"""Values as people read them."""

from __future__ import annotations

from decimal import Decimal
from math import isfinite
from typing import TYPE_CHECKING

from prompt_operator.core.rules.units import Dimension, plain

if TYPE_CHECKING:
    from prompt_operator.core.rules.metrics import Metric

_MILLISECONDS_BELOW = 1.0


def decimal_of(value: float) -> Decimal:
    """Return the decimal a person would write for a float (0.1, not 0.1000000000000000055)."""
    return Decimal(repr(value))


def format_value(metric: Metric, value: float) -> str:
    """Print a value of a metric with its unit: `31.0%`, `12.4s`, `640ms`, `200`, `$0.0123`; others as bare numbers."""
    if not isfinite(value):
        return {float("inf"): "infinite", float("-inf"): "-infinite"}.get(value, "not a number")
    return _FORMATS[metric.dimension](value)


def _number(value: float) -> str:
    return f"{value:.4g}"


def _share(value: float) -> str:
    return f"{value * 100:.1f}%"


def _cost(value: float) -> str:
    return f"${value:.4g}"


def _score(value: float) -> str:
    return f"{value:.2f}"


def _time(seconds: float) -> str:
    if abs(seconds) < _MILLISECONDS_BELOW:
        return f"{seconds * 1000:.0f}ms"
    return f"{plain(Decimal(f'{seconds:.2f}'))}s"


def count_text(value: float) -> str:
    """Print a count; Prometheus extrapolates, so counts may be fractional: one digit is shown for small ones only."""
    digits = 0 if abs(value) >= 100 or value == int(value) else 1  # noqa: PLR2004  three digits are enough
    return f"{value:.{digits}f}"


_FORMATS = {
    Dimension.NUMBER: _number,
    Dimension.RATIO: _share,
    Dimension.TIME: _time,
    Dimension.COST: _cost,
    Dimension.COUNT: count_text,
    Dimension.TOKENS: count_text,
    Dimension.SCORE: _score,
}


def format_threshold(metric: Metric, value: float) -> str:
    """Print a threshold as it was written rather than rounded like a measurement: `5%`, `2.5%`, `10s`."""
    if metric.dimension is Dimension.RATIO:
        return f"{plain(Decimal(f'{value * 100:.4f}'))}%"
    if metric.dimension is Dimension.TIME:
        return format_value(metric, value)
    return plain(Decimal(f"{value:.6f}"))
