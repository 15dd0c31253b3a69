"""Whole conditions against a plain three-valued reference, and what a last bucket leaves open through arithmetic."""

from __future__ import annotations

from itertools import product
from math import inf
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.core.rules.builders import judged, latencies, reading
from tests.core.rules.reference import TESTS, Joined, Leaf, Truth, Unmeasured, compared

from prompt_operator.core.rules.baseline import Baselines
from prompt_operator.core.rules.errors import RuleError
from prompt_operator.core.rules.estimate import Estimate, estimate
from prompt_operator.core.rules.judgement import Verdict
from prompt_operator.core.rules.metrics import Metric, Quantile, Quantity, Share, Slower, Total
from prompt_operator.core.rules.model import compile_rule
from prompt_operator.core.rules.reasons import Reason
from prompt_operator.core.rules.units import Dimension, parse_window
from prompt_operator.core.rules.verdict import judge

if TYPE_CHECKING:
    from prompt_operator.core.rules.metrics import Formula
    from prompt_operator.core.rules.model import Rule

FORMULAS: dict[str, Formula] = {
    "requests": Total((Quantity.REQUESTS,)),
    "errors": Share(Quantity.ERRORS, Quantity.REQUESTS),
    "middle": Quantile(Quantity.LATENCY_BUCKETS, 0.5),
    "slowest": Quantile(Quantity.LATENCY_BUCKETS, 0.99),
    "beyond": Slower(Quantity.LATENCY_BUCKETS, 100.0),
    "nothing": Total((Quantity.COST,)),
}
CATALOGUE = {name: Metric(name, Dimension.NUMBER, formula, low=-inf) for name, formula in FORMULAS.items()}
"""Numbers without units or ends, so that each may be compared and computed with anything."""
MEASURED = reading(requests=64, errors=24) | latencies({3.7: 100, 10.3: 100, 20.9: 60, 53.9: 60, inf: 4})
CONFIDENCE = 0.95


def measured(name: str) -> Leaf | Unmeasured:
    """A metric as the reference takes it."""
    found = estimate(CATALOGUE[name], parse_window("5m"), MEASURED, min_samples=1, confidence=CONFIDENCE)
    if not isinstance(found, Estimate):
        return Unmeasured(name)
    return Leaf(name, found.value, (found.low, found.high), found.measured)


METRICS = [measured(name) for name in FORMULAS]
LITERALS = [Leaf(f"{value:g}", value, (value, value), (value, value)) for value in (0, 0.25, 0.5, 1, 2, 8, 64)]


def joined(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Two expressions with an operator between them; literals divided are refused by the language, if by zero."""
    return st.builds(Joined, inner, st.sampled_from("+-*/"), inner).filter(lambda node: not _divides_by_nothing(node))


def _divides_by_nothing(node: Any) -> bool:
    return isinstance(node, Joined) and (
        (node.operator == "/" and _constant(node.right) == 0)
        or any(_divides_by_nothing(side) for side in (node.left, node.right))
    )


def _constant(node: Any) -> float | None:
    if isinstance(node, Joined):
        a, b = _constant(node.left), _constant(node.right)
        if a is None or b is None or (node.operator == "/" and b == 0):
            return None
        return {"+": a + b, "-": a - b, "*": a * b, "/": a / (b or 1)}[node.operator]
    return node.value if node in LITERALS else None


EXPRESSIONS = st.recursive(st.sampled_from(METRICS) | st.sampled_from(LITERALS), joined, max_leaves=3)
COMPARISONS = st.tuples(EXPRESSIONS, st.sampled_from(sorted(TESTS)), EXPRESSIONS).filter(
    lambda each: any(metric.text in f"{each[0].text} {each[2].text}" for metric in METRICS)
)
"""At least one metric in each: the language refuses a comparison that never changes."""
CONDITIONS = st.recursive(
    COMPARISONS.map(lambda each: (f"{each[0].text} {each[1]} {each[2].text}", compared(*each))),
    lambda inner: st.builds(
        lambda a, word, b: (f"({a[0]}) {word} ({b[0]})", TABLES[word][a[1], b[1]]),
        inner,
        st.sampled_from(["and", "or"]),
        inner,
    ),
    max_leaves=3,
)
_EACH: list[Truth] = [False, None, True]
TABLES: dict[str, dict[tuple[Truth, Truth], Truth]] = {
    "and": {(a, b): _EACH[min(_EACH.index(a), _EACH.index(b))] for a, b in product(_EACH, repeat=2)},
    "or": {(a, b): _EACH[max(_EACH.index(a), _EACH.index(b))] for a, b in product(_EACH, repeat=2)},
}
VERDICTS = {False: Verdict.FALSE, None: Verdict.UNKNOWN, True: Verdict.TRUE}


def compiled(text: str) -> Rule:
    """Return a rule; one that is the same whatever is measured is refused by the language, and not looked at."""
    try:
        return compile_rule("any", text, catalogue=CATALOGUE)
    except RuleError as error:
        assume("can never be true" not in str(error) and "is always true" not in str(error))
        raise


@given(CONDITIONS)
def test_conditions_are_judged_as_the_reference_judges_them(condition: tuple[str, Truth]) -> None:
    """Arithmetic, comparisons, `and`, `or` and brackets: true at every corner, open in the last bucket, or false."""
    text, expected = condition
    judgement = judge(compiled(text), MEASURED, Baselines(), min_samples=1, confidence=CONFIDENCE)
    assert judgement.verdict is VERDICTS[expected], (text, judgement)


OPEN = latencies({5.0: 1800, 10.0: 0, 20.0: 100, inf: 100})
"""5 % lie beyond the last bound, so the p99 does, too."""


@pytest.mark.parametrize(
    "condition",
    [
        "slower_than_30s * 2 > 5%",
        "slower_than_30s + 1% > 2%",
        "100% - slower_than_30s < 99%",
        "10% - slower_than_30s * 2 <= 5%",
        "latency_p99 + 1s > 70s",
        "70s < latency_p99 + 1s",
        "latency_p99 / 2 > 15s",
        "60s - latency_p99 < 10s",
        "latency_p99 - latency_p50 > 30s",
        "latency_p99 / latency_p50 > 20",
        "latency_p50 / latency_p99 < 5%",
        "latency_p99 == 30s",
        "latency_p99 != 30s",
        "latency_p99 - 10s == 20s",
        "slower_than_30s == 2%",
    ],
)
def test_what_the_last_bucket_leaves_open_is_unknown(condition: str) -> None:
    """However it is computed with: where the value lies beyond the last bound is not known, so neither is this."""
    judgement = judged(condition, OPEN)
    assert (judgement.verdict, judgement.because) == (Verdict.UNKNOWN, Reason.BEYOND_BUCKETS)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("slower_than_30s * 2 > 12%", (Verdict.FALSE, Reason.WITHIN_BOUNDS)),
        ("100% - slower_than_30s > 90%", (Verdict.TRUE, Reason.BREACHED)),
        ("latency_p99 + 1s > 20s", (Verdict.TRUE, Reason.BREACHED)),
        ("latency_p99 + 1s < 20s", (Verdict.FALSE, Reason.WITHIN_BOUNDS)),
        ("latency_p99 * 2 != 30s", (Verdict.TRUE, Reason.BREACHED)),
        ("latency_p99 == 19s", (Verdict.FALSE, Reason.WITHIN_BOUNDS)),
        ("latency_p50 + 1s > 70s", (Verdict.FALSE, Reason.WITHIN_BOUNDS)),
    ],
)
def test_what_holds_wherever_in_the_last_bucket_is_known(condition: str, expected: tuple[Verdict, Reason]) -> None:
    """An open end alone makes nothing unknown."""
    judgement = judged(condition, OPEN)
    assert (judgement.verdict, judgement.because) == expected
