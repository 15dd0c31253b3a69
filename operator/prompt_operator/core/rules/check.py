"""Does a condition make sense? Known metrics, units that agree, thresholds that can be reached."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from prompt_operator.core.rules.errors import RuleError, UnknownMetricError
from prompt_operator.core.rules.interval import combined, holds
from prompt_operator.core.rules.metrics import ALIASES, Metric, Slower
from prompt_operator.core.rules.slower import EXAMPLE, metric_of
from prompt_operator.core.rules.syntax import (
    Arithmetic,
    Baseline,
    Comparator,
    Comparison,
    Expression,
    MetricRef,
    Number,
    comparisons,
    leaves,
    metric_refs,
    predicate_text,
)
from prompt_operator.core.rules.units import Dimension, plain
from prompt_operator.core.rules.values import decimal_of, format_value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prompt_operator.core.rules.interval import Interval
    from prompt_operator.core.rules.syntax import Predicate

D = Dimension
_PLAIN_NUMBERS_DO = frozenset({D.COUNT, D.TOKENS, D.COST, D.SCORE})
"""Dimensions without a unit of their own: a bare number compares with them."""

MIRRORED: dict[Comparator, Comparator] = {">": "<", ">=": "<=", "<": ">", "<=": ">=", "==": "==", "!=": "!="}
"""Comparator -> the one that says the same with the sides swapped."""


def check(predicate: Predicate, catalogue: Mapping[str, Metric]) -> None:
    """Raise RuleError for the first comparison that does not make sense; `catalogue` holds the metrics there are."""
    for comparison in comparisons(predicate):
        named = _named(comparison, catalogue)
        metric = _of_baseline(comparison, named)
        left = _dimension(comparison.left, named, metric)
        right = _dimension(comparison.right, named, metric)
        _check_sides(comparison, metric, left, right)
        _check_reach(comparison, _span(comparison.left, named, metric), _span(comparison.right, named, metric))


def single(comparison: Comparison) -> tuple[MetricRef, Comparator, Expression] | None:
    """Read a comparison as `metric comparator threshold`, whichever side the metric is on; None for any other form."""
    if len(list(metric_refs(comparison))) != 1:
        return None
    if isinstance(comparison.left, MetricRef):
        return comparison.left, comparison.comparator, comparison.right
    if isinstance(comparison.right, MetricRef):
        return comparison.right, MIRRORED[comparison.comparator], comparison.left
    return None


def constant(expression: Expression) -> float | None:
    """Return the value of an expression of literals alone, else None; RuleError for a division by zero."""
    match expression:
        case Number(value):
            return value
        case Arithmetic(operator, left, right):
            return _fold(operator, constant(left), constant(right), expression.column)
    return None


def _fold(operator: str, left: float | None, right: float | None, column: int) -> float | None:
    if operator == "/" and right == 0:
        raise RuleError("division by zero", column)
    if left is None or right is None:
        return None
    if operator in "+-":
        return left + right if operator == "+" else left - right
    return left * right if operator == "*" else left / right


def _named(comparison: Comparison, catalogue: Mapping[str, Metric]) -> dict[str, Metric]:
    """Return the metrics a comparison names, at least one; RuleError for a name that there is not."""
    refs = list(metric_refs(comparison))
    named = {ref.name: metric for ref in refs if (metric := metric_of(ref.name, catalogue))}
    for ref in refs:
        if ref.name not in named:
            raise UnknownMetricError(ref.name, [*catalogue, *ALIASES, EXAMPLE], ref.column)
    if not refs:
        raise RuleError("this comparison reads no metric, so it never changes: name one", comparison.column)
    return named


def _of_baseline(comparison: Comparison, named: Mapping[str, Metric]) -> Metric:
    """Return the metric a baseline in this comparison stands for; RuleError when that is not one metric."""
    for side in (comparison.left, comparison.right):
        for leaf in leaves(side):
            if isinstance(leaf, Baseline) and any(isinstance(metric.formula, Slower) for metric in named.values()):
                raise RuleError("a share of slow requests has no baseline: compare it with a percentage", leaf.column)
            if isinstance(leaf, Baseline) and len(named) > 1:
                raise RuleError(
                    f"baseline of which metric, {' or '.join(sorted(named))}? Compare one metric at a time", leaf.column
                )
    return named[min(named)]


def _dimension(expression: Expression, named: Mapping[str, Metric], metric: Metric) -> Dimension:
    match expression:
        case Number(_, dimension):
            return dimension
        case MetricRef(name):
            return named[name].dimension
        case Baseline():
            return metric.dimension
        case Arithmetic(operator, left, right):
            constant(expression)
            combine = _summed if operator in "+-" else _multiplied if operator == "*" else _divided
            return combine(expression, _dimension(left, named, metric), _dimension(right, named, metric))


def _summed(expression: Arithmetic, left: Dimension, right: Dimension) -> Dimension:
    if left == right or (right is D.NUMBER and left in _PLAIN_NUMBERS_DO):
        return left
    if left is D.NUMBER and right in _PLAIN_NUMBERS_DO:
        return right
    verb = "added to" if expression.operator == "+" else "subtracted from"
    raise RuleError(f"{right.value} cannot be {verb} {left.value}{_factor_hint(expression)}", expression.column)


def _factor_hint(expression: Arithmetic) -> str:
    """`baseline + 20%` is meant as a factor."""
    right = expression.right
    if isinstance(expression.left, Baseline) and isinstance(right, Number) and right.dimension is D.RATIO:
        factor = 1 + right.value if expression.operator == "+" else 1 - right.value
        return f": did you mean baseline * {plain(decimal_of(factor))}?"
    return ""


def _multiplied(expression: Arithmetic, left: Dimension, right: Dimension) -> Dimension:
    """A factor is a bare number or a percentage; anything else times anything else has no unit we know."""
    if right in {D.NUMBER, D.RATIO}:
        return left
    if left in {D.NUMBER, D.RATIO}:
        return right
    raise RuleError(f"{left.value} cannot be multiplied by {right.value}", expression.column)


def _divided(expression: Arithmetic, left: Dimension, right: Dimension) -> Dimension:
    if right is D.NUMBER:
        return left
    if left == right:
        return D.NUMBER
    if left in _PLAIN_NUMBERS_DO and right is D.COUNT:
        return left
    raise RuleError(f"{left.value} cannot be divided by {right.value}", expression.column)


def _check_sides(comparison: Comparison, metric: Metric, left: Dimension, right: Dimension) -> None:
    bare = D.NUMBER in {left, right}
    other = right if left is D.NUMBER else left
    if left != right and not (bare and other in _PLAIN_NUMBERS_DO | {D.RATIO, D.TIME}):
        raise RuleError(
            f"{left.value} cannot be compared with {right.value}{_unit_hint(comparison, metric)}", comparison.column
        )
    if bare and other is D.TIME:
        raise RuleError(_time_message(comparison), _threshold_column(comparison))
    if reading := single(comparison):
        _check_range(metric, *reading[1:])


def _unit_hint(comparison: Comparison, metric: Metric) -> str:
    reading = single(comparison)
    if reading and isinstance(reading[2], Number) and metric.dimension in _PLAIN_NUMBERS_DO:
        return ": write a number without a unit"
    return ""


def _threshold_column(comparison: Comparison) -> int:
    reading = single(comparison)
    return reading[2].column if reading else comparison.column


def _time_message(comparison: Comparison) -> str:
    reading = single(comparison)
    value = constant(reading[2]) if reading else None
    if value is None:
        return "a time needs a unit: write for example 3000ms or 3s"
    return f"a time needs a unit: did you mean {plain(decimal_of(value))}ms?"


def _check_range(metric: Metric, comparator: Comparator, threshold: Expression) -> None:
    """A constant threshold must be one that the metric can pass and can fail to pass."""
    value = constant(threshold)
    if value is None:
        return
    if metric.dimension is D.RATIO and not 0 <= value <= 1:
        raise RuleError(_share_message(value, threshold), threshold.column)
    if metric.dimension is D.RATIO and threshold == Number(1.0):
        raise RuleError("1 of a share is all of it: did you mean 1%? Else write 100%", threshold.column)
    if not metric.low <= value <= metric.high:
        raise RuleError(
            f"{metric.name} is always {_range(metric)}: {format_value(metric, value)} is never reached",
            threshold.column,
        )
    if (comparator == ">" and value == metric.high) or (comparator == "<" and value == metric.low):
        raise RuleError(_never(metric, comparator, value, threshold), threshold.column)


def _range(metric: Metric) -> str:
    if metric.high == float("inf"):
        return f"{format_value(metric, metric.low)} or more"
    return f"between {format_value(metric, metric.low)} and {format_value(metric, metric.high)}"


def _share_message(value: float, threshold: Expression) -> str:
    if isinstance(threshold, Number) and threshold.dimension is D.NUMBER and value <= 100:  # noqa: PLR2004  a percentage
        return f"a share is between 0% and 100%: did you mean {plain(decimal_of(value))}%?"
    return "a share is between 0% and 100%"


def _never(metric: Metric, comparator: Comparator, value: float, threshold: Expression) -> str:
    text = f"{metric.name} {comparator} {format_value(metric, value)} can never be true"
    if isinstance(threshold, Number) and metric.dimension is D.RATIO and threshold.dimension is D.NUMBER:
        return f"{text}: did you mean {plain(decimal_of(value))}%?"
    return text


def _span(expression: Expression, named: Mapping[str, Metric], metric: Metric) -> Interval:
    """Return the least and the most that an expression can be, whatever is measured."""
    match expression:
        case Number(value):
            return value, value
        case MetricRef(name):
            return named[name].low, named[name].high
        case Baseline():
            return metric.low, metric.high
        case Arithmetic(operator, left, right):
            a, b = _span(left, named, metric), _span(right, named, metric)
            return (-inf, inf) if operator == "/" and holds(b, 0) else combined(operator, a, b)


def _check_reach(comparison: Comparison, left: Interval, right: Interval) -> None:
    """A comparison that is the same whatever is measured says nothing, or fires on every version there is."""
    comparator = comparison.comparator
    apart = left[1] < right[0] or right[1] < left[0]
    never, always = apart and comparator == "==", apart and comparator == "!="
    if comparator in {"<", "<="}:
        left, right, comparator = right, left, MIRRORED[comparator]
    if comparator in {">", ">="}:
        never = left[1] < right[0] or (left[1] == right[0] and comparator == ">")
        always = left[0] > right[1] or (left[0] == right[1] and comparator == ">=")
    if never or always:
        says = "can never be true" if never else "is always true"
        raise RuleError(f"{predicate_text(comparison)} {says}", comparison.column)
