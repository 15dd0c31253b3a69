"""Readings and rules for the tests, in a few words."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from prompt_operator.core.rules.baseline import of_values
from prompt_operator.core.rules.measure import Amount, Histogram, Need
from prompt_operator.core.rules.metrics import Quantity
from prompt_operator.core.rules.model import compile_rule
from prompt_operator.core.rules.units import parse_window
from prompt_operator.core.rules.verdict import judge

if TYPE_CHECKING:
    from prompt_operator.core.rules.judgement import Judgement
    from prompt_operator.core.rules.measure import Measured

Reading = dict[Need, "Measured"]


def reading(window: str = "5m", **quantities: float) -> Reading:
    """Amounts by the name of their quantity."""
    return {Need(Quantity(name), parse_window(window)): Amount(value) for name, value in quantities.items()}


def latencies(counts: dict[float, float], window: str = "5m") -> Reading:
    """A latency histogram from upper bound -> observations in that bucket alone (inf: beyond the last bound)."""
    total, cumulative = 0.0, []
    for bound, count in sorted({**counts, inf: counts.get(inf, 0.0)}.items()):
        total += count
        cumulative.append((bound, total))
    return {Need(Quantity.LATENCY_BUCKETS, parse_window(window)): Histogram(tuple(cumulative))}


def judged(
    condition: str,
    measured: Reading,
    baseline: dict[str, float] | None = None,
    *,
    min_samples: int = 20,
    confidence: float = 0.95,
) -> Judgement:
    """Judge a condition over 5m as a rule of its own."""
    rule = compile_rule("rule", condition)
    return judge(rule, measured, of_values(baseline or {}), min_samples=min_samples, confidence=confidence)
