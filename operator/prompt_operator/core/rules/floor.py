"""The floor under a rule's baseline: a literal in the unit of the metric that the rule compares with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prompt_operator.core.rules.errors import RuleError
from prompt_operator.core.rules.grammar import parse
from prompt_operator.core.rules.syntax import Comparison, Number, comparisons, metric_refs, names_baseline

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prompt_operator.core.rules.metrics import Metric
    from prompt_operator.core.rules.syntax import Predicate


def parse_floor(text: str, predicate: Predicate, metrics: Mapping[str, Metric]) -> float:
    """Return a floor such as `200ms` in base units; RuleError, whose column is that in `text`, for any other."""
    found = filter(names_baseline, comparisons(predicate))
    names = sorted({ref.name for comparison in found for ref in metric_refs(comparison)})
    if len(names) != 1:
        which = f"baselines of {' and '.join(names)}" if names else "no baseline"
        raise RuleError(f"baselineFloor {text}: the condition names {which}, it must be that of one metric")
    before = f"{names[0]} == "
    try:
        condition = parse(f"{before}{text}", metrics)
    except RuleError as error:
        raise RuleError(f"baselineFloor {text}: {error.message}", max(error.column - len(before), 1)) from error
    literal = condition.predicate.right if isinstance(condition.predicate, Comparison) else None
    if not isinstance(literal, Number) or condition.hold is not None or literal.value <= 0:
        raise RuleError(f"baselineFloor {text}: write one number above zero with its unit, such as 200ms or 5%")
    return literal.value
