"""What a rule can never do, told before it is in force: pass a bound that no bucket has, roll back on no evidence."""

from __future__ import annotations

from bisect import bisect_left
from math import isfinite
from typing import TYPE_CHECKING

from prompt_operator.core.rules.check import constant, single
from prompt_operator.core.rules.estimate import MEAN_AT_ITS_WORD
from prompt_operator.core.rules.metrics import Given, Mean, Quantile, Slower
from prompt_operator.core.rules.model import Action
from prompt_operator.core.rules.syntax import (
    All,
    Comparison,
    Number,
    Some,
    comparisons,
    metric_refs,
    number_text,
    predicate_text,
)
from prompt_operator.core.rules.units import Dimension

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from prompt_operator.core.rules.metrics import Metric
    from prompt_operator.core.rules.model import Rule
    from prompt_operator.core.rules.profile import Profile
    from prompt_operator.core.rules.syntax import Predicate

_SAME = 1e-9
"""Relative; a bound that was scaled from milliseconds is the one that was written."""


def unreachable(rule: Rule, profile: Profile) -> Iterator[str]:
    """Yield what the default bucket bounds of a profile make of comparisons of a quantile, or of slow requests.

    Nothing where the profile does not say its bounds.
    """
    for comparison in comparisons(rule.condition.predicate):
        seconds = _asks_for_more_than(comparison, rule)
        if seconds is not None and profile.latency_bounds:
            yield from _misfit(comparison, seconds, profile)


def _asks_for_more_than(comparison: Comparison, rule: Rule) -> float | None:
    """Return the seconds that requests have to exceed for a comparison to be true; None for any other form."""
    found = single(comparison)
    if found is None or not found[1].startswith(">"):
        return None
    formula = rule.metrics[found[0].name].formula
    if isinstance(formula, Slower):
        return formula.bound
    return constant(found[2]) if isinstance(formula, Quantile) else None


def _misfit(comparison: Comparison, seconds: float, profile: Profile) -> Iterator[str]:
    bounds, text = profile.latency_bounds, predicate_text(comparison)
    if seconds > bounds[-1] * (1 + _SAME):
        last = _time(bounds[-1])
        yield (
            f"{text} can never be true: the last bucket of profile {profile.name} begins at {last}, as exported by "
            f"default, and how much slower a request was is not known; use {last} at most, or export more buckets"
        )
    elif (between := _between(seconds, bounds)) is not None:
        lower, upper = map(_time, between)
        yield (
            f"{text} is judged as if it said {upper}: only whole buckets count, and those of profile {profile.name} "
            f"end at {lower} and {upper}, as exported by default"
        )


def _between(seconds: float, bounds: Sequence[float]) -> tuple[float, float] | None:
    """Return the two bounds around a time; None where it is one."""
    at = bisect_left(bounds, seconds * (1 - _SAME))
    is_bound = bounds[at] <= seconds * (1 + _SAME)
    return None if is_bound else (bounds[at - 1] if at else 0.0, bounds[at])


def _time(seconds: float) -> str:
    return number_text(Number(seconds, Dimension.TIME))


def idle_rollback(rule: Rule, profile: Profile, confidence: float) -> str:
    """Say why a rule that asks for a rollback never gets one; empty where it may.

    `confidence` is that of rollbacks: up to a notice's, a value is taken at its word.
    """
    if Action.ROLLBACK not in rule.actions or confidence <= MEAN_AT_ITS_WORD:
        return ""
    if _may_be_sure(rule.condition.predicate, rule, profile):
        return ""
    refs = (ref for comparison in comparisons(rule.condition.predicate) for ref in metric_refs(comparison))
    metrics = (rule.metrics[ref.name] for ref in refs)
    metric = next(metric for metric in metrics if not _has_bound(metric, profile))
    return f"Rollback never comes: {_cause(metric, profile)}, so it gives notice only"


def _may_be_sure(predicate: Predicate, rule: Rule, profile: Profile) -> bool:
    """Tell whether any evidence could make a condition true at the confidence of a rollback."""
    match predicate:
        case All(terms):
            return all(_may_be_sure(term, rule, profile) for term in terms)
        case Some(terms):
            return any(_may_be_sure(term, rule, profile) for term in terms)
        case Comparison():
            judged_by_value = predicate.comparator == "=="
            return judged_by_value or all(_has_bound(rule.metrics[ref.name], profile) for ref in metric_refs(predicate))


def _has_bound(metric: Metric, profile: Profile) -> bool:
    match metric.formula:
        case Given():
            return False
        case Mean(squares=squares):
            return isfinite(metric.high) or squares in profile.quantities
    return True


def _cause(metric: Metric, profile: Profile) -> str:
    if isinstance(metric.formula, Given):
        return f"how many requests the value of {metric.name} rests on is not known (a numerator and denominator tell)"
    if isinstance(metric.formula, Mean) and metric.formula.squares is not None:
        return (
            f"profile {profile.name} has no {metric.formula.squares.value}, which says how far {metric.name} may be off"
        )
    return f"a sum and a count do not say how far {metric.name} may be off"
