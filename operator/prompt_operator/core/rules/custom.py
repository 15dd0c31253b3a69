"""A policy's own metrics: what is written in PromptPolicy.spec.customMetrics, made into metrics of the catalogue."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import inf
from typing import TYPE_CHECKING

from prompt_operator.core.rules import tenantql
from prompt_operator.core.rules.errors import RuleError
from prompt_operator.core.rules.grammar import WORDS
from prompt_operator.core.rules.metrics import ALIASES, METRICS, CustomSeries, Formula, Given, Mean, Metric, Share
from prompt_operator.core.rules.slower import PREFIX
from prompt_operator.core.rules.tenantql import Use
from prompt_operator.core.rules.units import Dimension

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prompt_operator.api.promptpolicy import CustomMetric

_UNITS = {
    "Ratio": (Dimension.RATIO, 1.0),
    "Duration": (Dimension.TIME, inf),
    "Count": (Dimension.COUNT, inf),
    "Score": (Dimension.SCORE, inf),
    "Currency": (Dimension.COST, inf),
}
"""Unit of the API -> what it measures, and the most it can be. The least is 0 for all."""


@dataclass(frozen=True, slots=True, eq=False)
class Catalogue:
    """Every metric that the rules under a policy may name; equal policies share one, so it is compared by identity."""

    metrics: Mapping[str, Metric]
    broken: Mapping[str, str]
    """Custom metrics that cannot be used: name -> why."""


BUILT_IN = Catalogue(METRICS, {})


@lru_cache(maxsize=1024)
def catalogue(specs: tuple[CustomMetric, ...], namespace: str) -> Catalogue:
    """Return the built-in metrics and those that a policy of this namespace adds."""
    if not specs:
        return BUILT_IN
    found: dict[str, Metric] = {}
    broken: dict[str, str] = {}
    for spec in specs:
        try:
            found[spec.name] = _metric(spec, namespace)
        except RuleError as error:
            broken[spec.name] = str(error)
    return Catalogue(METRICS | found, broken)


def _metric(spec: CustomMetric, namespace: str) -> Metric:
    if spec.name in METRICS or spec.name in ALIASES:
        raise RuleError(f"{spec.name} is a built-in metric: choose another name")
    if spec.name in WORDS:
        raise RuleError(f"{spec.name} is a word of the condition language: choose another name")
    if spec.name.startswith(PREFIX):
        raise RuleError(f"names that begin with {PREFIX} mean built-in metrics: choose another name")
    dimension, high = _UNITS[spec.unit]
    return Metric(spec.name, dimension, _formula(spec, namespace), high=high)


def _formula(spec: CustomMetric, namespace: str) -> Formula:
    """A ratio of counts is a share, with a bound; any other quotient of counts a mean."""
    if spec.value is not None:
        return Given(_series("value", spec.value, namespace, Use.VALUE))
    numerator = _series("numerator", spec.numerator or "", namespace, Use.COUNT)
    denominator = _series("denominator", spec.denominator or "", namespace, Use.COUNT)
    return Share(numerator, denominator) if spec.unit == "Ratio" else Mean((numerator,), denominator)


def _series(member: str, text: str, namespace: str, use: Use) -> CustomSeries:
    try:
        tenantql.read(text, use)
    except RuleError as error:
        raise RuleError(f"{member}: {error}") from None
    return CustomSeries(namespace, text)
