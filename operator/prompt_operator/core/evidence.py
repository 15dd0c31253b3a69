"""What was measured when something was decided, in the form the API keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prompt_operator.api.common import Evidence
from prompt_operator.core.rules.baseline import BaselineValue
from prompt_operator.core.rules.units import format_window

if TYPE_CHECKING:
    from datetime import datetime

    from prompt_operator.core.facts import RuleReading
    from prompt_operator.core.rules.judgement import Finding

LIMIT = 16


def evidence_of(reading: RuleReading) -> tuple[Evidence, ...]:
    """Return the findings of a rule at the confidence of rollbacks, one per metric it reads."""
    return tuple(_evidence(reading.rule.name, finding, reading.at) for finding in reading.rollback.findings[:LIMIT])


def _evidence(rule: str, finding: Finding, at: datetime) -> Evidence:
    baseline = finding.baseline if isinstance(finding.baseline, BaselineValue) else None
    return Evidence(
        metric=finding.metric.name,
        value=decimal(finding.value),
        threshold=decimal(finding.threshold),
        baseline=decimal(baseline.value) if baseline else None,
        baseline_from=baseline.source if baseline else None,
        bound=decimal(finding.bound),
        confidence=f"{finding.confidence * 100:.6g}%",
        samples=None if finding.samples is None else round(finding.samples),
        window=format_window(finding.window),
        rule=rule,
        at=at,
    )


def decimal(value: float | None) -> str | None:
    """Write a number as the API does, with six significant digits; None stays None."""
    return None if value is None else f"{value:.6g}"
