"""Judging a rule by interval arithmetic: true only where every value that the evidence allows makes it true."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import isfinite
from operator import add, eq, ge, gt, le, lt, mul, ne, sub, truediv
from typing import TYPE_CHECKING

from prompt_operator.core.rules.baseline import NO_BASELINE, BaselineValue
from prompt_operator.core.rules.check import MIRRORED
from prompt_operator.core.rules.estimate import Estimate, Outcome, Unknown, constant, estimate, exact
from prompt_operator.core.rules.interval import combined, holds
from prompt_operator.core.rules.judgement import Finding, Judgement, Verdict, all_of, some_of
from prompt_operator.core.rules.reasons import Reason
from prompt_operator.core.rules.syntax import (
    All,
    Arithmetic,
    Baseline,
    Comparison,
    Expression,
    MetricRef,
    Number,
    Some,
    metric_refs,
    names_baseline,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prompt_operator.core.rules.baseline import Baselines, Found
    from prompt_operator.core.rules.measure import Measured, Need
    from prompt_operator.core.rules.model import Rule
    from prompt_operator.core.rules.syntax import Comparator, Operator, Predicate


def judge(
    rule: Rule,
    reading: Mapping[Need, Measured],
    baselines: Baselines,
    *,
    min_samples: int,
    confidence: float,
    told: bool = True,
) -> Judgement:
    """Judge a rule's condition (not its hold) on what was measured of one prompt version.

    Args:
        rule: The compiled rule.
        reading: What was pulled for this version; a need that is absent has no series.
        baselines: What may count as normal.
        min_samples: Shares, means and quantiles of fewer samples are unknown. Counts have no minimum.
        confidence: Of the two-sided intervals, such as 0.95 for a notice and 0.9999 for a rollback.
        told: Whether the findings are wanted. Without them the verdict and its reason are the same, for half the time:
            of many thousand rules hardly any has something to tell.

    True needs the whole interval beyond the threshold, so the same reading can be true at 0.95 and false
    (NotConfident) at 0.999. Equality has no "beyond" and is judged on the measured value itself.
    """
    return _Bench(rule, reading, baselines, min_samples, confidence, told).predicate(rule.condition.predicate)


@dataclass(slots=True)  # made for each rule of each prompt: frozen ones take three times as long to make
class _Bench:
    """One case: a rule and the evidence."""

    rule: Rule
    reading: Mapping[Need, Measured]
    baselines: Baselines
    min_samples: int
    confidence: float
    told: bool

    def predicate(self, node: Predicate) -> Judgement:
        match node:
            case Comparison():
                return self.comparison(node)
            case All(terms):
                return all_of([self.predicate(term) for term in terms])
            case Some(terms):
                return some_of([self.predicate(term) for term in terms])

    def comparison(self, node: Comparison) -> Judgement:
        left, right = self.value(node.left, node), self.value(node.right, node)
        verdict, because = _compare(node.comparator, left, right)
        if not self.told:
            return _untold(verdict, because)
        case = _Case(node, left, right, verdict, because)
        refs = dict.fromkeys(metric_refs(node))
        return Judgement(verdict, because, tuple(self.finding(case, ref, self.metric(ref)) for ref in refs))

    def value(self, expression: Expression, node: Comparison) -> Outcome:
        match expression:
            case MetricRef():
                return self.metric(expression)
            case Number(value):
                return constant(value)
            case Baseline():
                found = self.baseline(next(metric_refs(node)))
                return exact(found.value) if isinstance(found, BaselineValue) else Unknown(Reason.NO_BASELINE)
            case Arithmetic(operator, left, right):
                a, b = self.value(left, node), self.value(right, node)
                if isinstance(a, Unknown) or isinstance(b, Unknown):
                    return a if isinstance(a, Unknown) else b
                return _combine(operator, a, b)

    def metric(self, ref: MetricRef) -> Outcome:
        window = ref.window or self.rule.window
        metric = self.rule.metrics[ref.name]
        return estimate(metric, window, self.reading, min_samples=self.min_samples, confidence=self.confidence)

    def baseline(self, ref: MetricRef) -> Found:
        metric, window = self.rule.metrics[ref.name], ref.window or self.rule.window
        return self.baselines.of(metric, window, floor=self.rule.baseline_floor, min_samples=self.min_samples)

    def finding(self, case: _Case, ref: MetricRef, one: Outcome) -> Finding:
        metric, window = self.rule.metrics[ref.name], ref.window or self.rule.window
        if isinstance(one, Unknown):
            return Finding(
                metric,
                window,
                case.verdict,
                one.reason,
                self.confidence,
                case.node,
                samples=one.samples,
                detail=one.detail,
            )
        comparator, threshold = case.against(ref)
        baseline = self.baseline(ref) if names_baseline(case.node) else NO_BASELINE
        return Finding(
            metric=metric,
            window=window,
            verdict=case.verdict,
            reason=case.because,
            confidence=self.confidence,
            comparison=case.node,
            value=one.value,
            comparator=comparator,
            threshold=threshold,
            baseline=baseline,
            samples=one.samples,
            events=one.events,
            bound=_nearest(comparator, one),
        )


@dataclass(frozen=True, slots=True)
class _Case:
    """One comparison, evaluated."""

    node: Comparison
    left: Outcome
    right: Outcome
    verdict: Verdict
    because: Reason

    def against(self, ref: MetricRef) -> tuple[Comparator | None, float | None]:
        """Return what a metric that stands alone on one side is compared with; None twice for any other metric."""
        if ref == self.node.left and isinstance(self.right, Estimate):
            return self.node.comparator, self.right.value
        if ref == self.node.right and isinstance(self.left, Estimate):
            return MIRRORED[self.node.comparator], self.left.value
        return None, None


def _nearest(comparator: Comparator | None, one: Estimate) -> float | None:
    """Return the end of the interval that has to pass the threshold; None where nothing bounds the value."""
    if comparator is None or comparator in {"==", "!="} or one.low == one.high:
        return None
    bound = one.low if comparator in {">", ">="} else one.high
    return bound if isfinite(bound) else None


@cache
def _untold(verdict: Verdict, because: Reason) -> Judgement:
    return Judgement(verdict, because)


_CALCULATIONS = {"+": add, "-": sub, "*": mul, "/": truediv}


def _combine(operator: Operator, a: Estimate, b: Estimate) -> Outcome:
    """Compute value, confidence interval and what a last bucket leaves open, each for itself."""
    if operator == "/" and (holds((b.low, b.high), 0) or holds(b.measured, 0)):
        return Unknown(Reason.NOT_A_NUMBER)
    value = _CALCULATIONS[operator](a.value, b.value)
    if not isfinite(value):
        return Unknown(Reason.NOT_A_NUMBER)
    is_known = a.possible is None and b.possible is None
    return Estimate(
        value,
        *combined(operator, (a.low, a.high), (b.low, b.high)),
        possible=None if is_known else combined(operator, a.measured, b.measured),
    )


_TESTS = {">": gt, ">=": ge, "<": lt, "<=": le, "==": eq, "!=": ne}


def _compare(comparator: Comparator, left: Outcome, right: Outcome) -> tuple[Verdict, Reason]:
    if isinstance(left, Unknown):
        return Verdict.UNKNOWN, left.reason
    if isinstance(right, Unknown):
        return Verdict.UNKNOWN, right.reason
    if _is_open(comparator, left, right):
        return Verdict.UNKNOWN, Reason.BEYOND_BUCKETS
    if _surely(comparator, left, right):
        return Verdict.TRUE, Reason.BREACHED
    beyond = _TESTS[comparator](left.value, right.value)
    return Verdict.FALSE, Reason.NOT_CONFIDENT if beyond else Reason.WITHIN_BOUNDS


def _is_open(comparator: Comparator, left: Estimate, right: Estimate) -> bool:
    """Say whether the comparison turns on where in a last bucket a value lies, of which nothing is known."""
    if left.possible is None and right.possible is None:
        return False
    (least, most), other = left.measured, right.measured
    if comparator == "==":
        return least <= other[1] and other[0] <= most and (least < most or other[0] < other[1])
    if _surely(comparator, left, right):
        return False
    if comparator == "!=":
        return _is_open("==", left, right)
    test = _TESTS[comparator]
    return len({bool(test(a, b)) for a in (least, most) for b in other}) > 1


def _surely(comparator: Comparator, left: Estimate, right: Estimate) -> bool:
    """Say whether every pair of values from the two intervals passes (for `==`, whether the measured values do)."""
    match comparator:
        case ">" | ">=":
            return bool(_TESTS[comparator](left.low, right.high))
        case "<" | "<=":
            return bool(_TESTS[comparator](left.high, right.low))
        case "!=":
            return left.low > right.high or left.high < right.low
        case "==":
            return left.value == right.value
