"""Judging a comparison in another way, for tests: no intervals, only every corner of what the evidence allows.

Each occurrence of a metric is a variable of its own. An expression without a divisor that may be zero is monotonic in
each of them, so its extremes are at the corners of the box. Corners are computed in fractions, with a number beyond
all others in place of infinity.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from math import isinf
from operator import add, eq, ge, gt, le, lt, mul, ne, sub, truediv
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

HUGE = Fraction(10) ** 40
BEYOND = Fraction(10) ** 20
"""Larger ones come from an infinite end."""
_DIGITS = 18
"""What is less comes from a reciprocal of an infinite end, which is zero."""

CALCULATIONS = {"+": add, "-": sub, "*": mul, "/": truediv}
TESTS = {">": gt, ">=": ge, "<": lt, "<=": le, "==": eq, "!=": ne}

Truth: TypeAlias = "bool | None"


class Leaf(NamedTuple):
    """A literal or a metric: the value, and between which ends it lies, by chance and by the last bucket."""

    text: str
    value: float
    by_chance: tuple[float, float]
    by_bucket: tuple[float, float]


class Unmeasured(NamedTuple):
    """A metric that there is nothing of."""

    text: str


class Joined(NamedTuple):
    """Two expressions and what is done with them."""

    left: Any
    operator: str
    right: Any

    @property
    def text(self) -> str:
        """As it is written, in brackets."""
        return f"({self.left.text} {self.operator} {self.right.text})"


def compared(left: Any, comparator: str, right: Any) -> Truth:
    """Return whether a comparison is true; None where that is unknown."""
    if _is_unknown(left) or _is_unknown(right):
        return None
    test = TESTS[comparator]
    by_chance, by_bucket = (_corners(left, right, which) for which in ("by_chance", "by_bucket"))
    may_be_equal = len(by_bucket) > 1 and _meet(by_bucket)
    if comparator == "==":
        return None if may_be_equal else len(by_bucket) == 1 and _value(left) == _value(right)
    if comparator == "!=":
        return True if not _meet(by_chance) else None if may_be_equal else False
    if all(test(*pair) for pair in by_chance):
        return True
    return False if len({test(*pair) for pair in by_bucket}) == 1 else None


def _meet(pairs: set[tuple[Fraction, Fraction]]) -> bool:
    lefts, rights = zip(*pairs, strict=True)
    return not (min(lefts) > max(rights) or max(lefts) < min(rights))


def _corners(left: Any, right: Any, which: str) -> set[tuple[Fraction, Fraction]]:
    return set(product(_ends(left, which), _ends(right, which)))


def _ends(node: Any, which: str) -> set[Fraction]:
    """Return the value of an expression at each corner; what only an infinite end makes huge is one number."""
    return {_snapped(value) for value in _at_corners(node, which)}


def _at_corners(node: Any, which: str) -> Iterator[Fraction]:
    if isinstance(node, Leaf):
        yield from {_fraction(end) for end in getattr(node, which)}
        return
    for a, b in product(set(_at_corners(node.left, which)), set(_at_corners(node.right, which))):
        yield CALCULATIONS[node.operator](a, b)


def _fraction(end: float) -> Fraction:
    return (HUGE if end > 0 else -HUGE) if isinf(end) else Fraction(end)


def _snapped(value: Fraction) -> Fraction:
    if abs(value) > BEYOND:
        return HUGE if value > 0 else -HUGE
    return round(value, _DIGITS)


def _value(node: Any) -> float:
    if isinstance(node, Leaf):
        return node.value
    return float(CALCULATIONS[node.operator](_value(node.left), _value(node.right)))


def _is_unknown(node: Any) -> bool:
    """Nothing is known of what is not measured, and of what is divided by something that may be zero."""
    if not isinstance(node, Joined):
        return isinstance(node, Unmeasured)
    if _is_unknown(node.left) or _is_unknown(node.right):
        return True
    divisors = _ends(node.right, "by_chance") | _ends(node.right, "by_bucket") | {Fraction(_value(node.right))}
    return node.operator == "/" and min(divisors) <= 0 <= max(divisors)
