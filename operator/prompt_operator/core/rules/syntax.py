"""The syntax tree of a condition, and its normal form.

Columns (1-based, of the first character) are kept for error messages and do not count for equality, so two spellings
of one condition are equal once parsed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Literal, TypeAlias

from prompt_operator.core.duration import exact
from prompt_operator.core.rules.units import Dimension, format_window, plain

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import timedelta

Comparator: TypeAlias = Literal[">", ">=", "<", "<=", "==", "!="]
Operator: TypeAlias = Literal["+", "-", "*", "/"]


@dataclass(frozen=True, slots=True)
class Number:
    """A literal in its base unit: seconds for a time, 0..1 for a percentage."""

    value: float
    dimension: Dimension = Dimension.NUMBER
    column: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class MetricRef:
    """A metric, read over its own window or, when None, over the rule's."""

    name: str
    window: timedelta | None = None
    column: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Baseline:
    """The baseline of the one metric named in the same comparison."""

    column: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Two expressions joined by + - * or /."""

    operator: Operator
    left: Expression
    right: Expression
    column: int = field(default=0, compare=False)


Expression: TypeAlias = Number | MetricRef | Baseline | Arithmetic


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two expressions compared."""

    comparator: Comparator
    left: Expression
    right: Expression
    column: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class All:
    """True when every term is (`and`)."""

    terms: tuple[Predicate, ...]


@dataclass(frozen=True, slots=True)
class Some:
    """True when at least one term is (`or`)."""

    terms: tuple[Predicate, ...]


Predicate: TypeAlias = Comparison | All | Some


@dataclass(frozen=True, slots=True)
class Condition:
    """A predicate and how long it has to hold; `hold` is None when the condition does not say."""

    predicate: Predicate
    hold: timedelta | None = None


def leaves(expression: Expression) -> Iterator[Number | MetricRef | Baseline]:
    """Yield the literals, metrics and baselines of an expression, from left to right."""
    if isinstance(expression, Arithmetic):
        yield from leaves(expression.left)
        yield from leaves(expression.right)
    else:
        yield expression


def comparisons(predicate: Predicate) -> Iterator[Comparison]:
    """Yield the comparisons of a predicate, from left to right."""
    if isinstance(predicate, Comparison):
        yield predicate
    else:
        for term in predicate.terms:
            yield from comparisons(term)


def metric_refs(comparison: Comparison) -> Iterator[MetricRef]:
    """Yield the metrics a comparison reads, from left to right, repeats included."""
    for side in (comparison.left, comparison.right):
        yield from (leaf for leaf in leaves(side) if isinstance(leaf, MetricRef))


def names_baseline(comparison: Comparison) -> bool:
    """Say whether a comparison names a baseline, which is that of the one metric in it."""
    sides = (comparison.left, comparison.right)
    return any(isinstance(leaf, Baseline) for side in sides for leaf in leaves(side))


def depth(node: Predicate | Expression) -> int:
    """Return how deep a tree is nested; a single comparison of two leaves has depth 2."""
    match node:
        case All(terms) | Some(terms):
            return 1 + max(depth(term) for term in terms)
        case Comparison(_, left, right) | Arithmetic(_, left, right):
            return 1 + max(depth(left), depth(right))
    return 1


def to_text(condition: Condition) -> str:
    """Print the normal form: equal conditions give equal text, and the text parses back to the same condition."""
    text = predicate_text(condition.predicate)
    return text if condition.hold is None else f"{text} for {exact(condition.hold)}"


def predicate_text(predicate: Predicate) -> str:
    """Print a predicate in normal form; brackets only where they change the meaning."""
    match predicate:
        case Comparison(comparator, left, right):
            return f"{expression_text(left)} {comparator} {expression_text(right)}"
        case All(terms):
            return " and ".join(
                _bracketed(term) if isinstance(term, All | Some) else predicate_text(term) for term in terms
            )
        case Some(terms):
            return " or ".join(_bracketed(term) if isinstance(term, Some) else predicate_text(term) for term in terms)


def _bracketed(predicate: Predicate) -> str:
    return f"({predicate_text(predicate)})"


_RANK = {"+": 1, "-": 1, "*": 2, "/": 2}


def expression_text(expression: Expression) -> str:
    """Print an expression in normal form."""
    match expression:
        case Number():
            return number_text(expression)
        case MetricRef(name, window):
            return name if window is None else f"{name}[{format_window(window)}]"
        case Baseline():
            return "baseline"
        case Arithmetic(operator, left, right):
            return f"{_operand(left, _RANK[operator])} {operator} {_operand(right, _RANK[operator] + 1)}"


def _operand(expression: Expression, least: int) -> str:
    text = expression_text(expression)
    loose = isinstance(expression, Arithmetic) and _RANK[expression.operator] < least
    return f"({text})" if loose else text


def number_text(number: Number) -> str:
    """Print a literal exactly: shares in percent, times in ms below a second and in s from there."""
    value = Decimal(repr(number.value))
    if number.dimension is Dimension.RATIO:
        return f"{plain(value * 100)}%"
    if number.dimension is Dimension.TIME:
        return f"{plain(value * 1000)}ms" if 0 < value < 1 else f"{plain(value)}s"
    return plain(value)
