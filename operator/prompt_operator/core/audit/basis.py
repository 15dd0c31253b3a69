"""What a rule was judged on: the counts as they came from the metric source, and the judging of them once more."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, assert_never

from prompt_operator.core.rules.baseline import NO_BASELINE, Baselines, BaselineValue, Origin
from prompt_operator.core.rules.measure import Amount, Histogram, Need, Unusable
from prompt_operator.core.rules.metrics import CustomSeries, Quantity
from prompt_operator.core.rules.model import compile_rule
from prompt_operator.core.rules.reasons import Reason
from prompt_operator.core.rules.units import format_window, parse_window
from prompt_operator.core.rules.verdict import judge

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    from prompt_operator.core.facts import RuleReading
    from prompt_operator.core.rules.baseline import Found
    from prompt_operator.core.rules.judgement import Judgement
    from prompt_operator.core.rules.measure import Measured
    from prompt_operator.core.rules.metrics import Metric


def told(reading: RuleReading) -> dict[str, str]:
    """Return the rule as it was in force."""
    rule = reading.rule
    return {
        "name": rule.name,
        "condition": rule.text,
        "window": format_window(rule.window),
        "confidence": rule.confidence.value,
        "severity": rule.severity.value,
        "firedAt": reading.streak.fired_at.isoformat() if reading.streak.fired_at else "",
    }


def basis_of(reading: RuleReading) -> dict[str, Any] | None:
    """Return the counts behind the judgement; None where they were not kept, or belong to a policy's own metric.

    What such a metric means stands in the policy and not in the rule, so that its verdict is taken as it was.
    """
    if reading.basis is None or any(isinstance(need.quantity, CustomSeries) for need in reading.basis):
        return None
    measured = sorted(reading.basis.items(), key=lambda item: (str(item[0].quantity), item[0].window))
    baselines = {
        f"{finding.metric.name} {format_window(finding.window)}": repr(finding.baseline.value)
        for finding in reading.rollback.findings
        if isinstance(finding.baseline, BaselineValue)
    }
    return {"measured": [_measured(need, found) for need, found in measured], "baselines": baselines}


def judged_again(inputs: Mapping[str, Any]) -> Judgement | None:
    """Judge the recorded rule on the recorded counts; None where there are none."""
    basis, policy = inputs.get("basis"), inputs["policy"]
    if basis is None:
        return None
    rule = compile_rule(inputs["rule"]["name"], inputs["rule"]["condition"], window=inputs["rule"]["window"])
    return judge(
        rule,
        dict(map(_read, basis["measured"])),
        _Recorded(recorded=basis["baselines"]),
        min_samples=int(policy["minSamples"]),
        confidence=float(policy["rollbackConfidence"]),
    )


@dataclass(frozen=True, slots=True)
class _Recorded(Baselines):
    """Baselines as they were chosen then."""

    recorded: Mapping[str, str] = field(default_factory=dict)

    def of(self, metric: Metric, window: timedelta, *, floor: float | None, min_samples: int) -> Found:  # noqa: ARG002
        value = self.recorded.get(f"{metric.name} {format_window(window)}")
        return BaselineValue(float(value), Origin.DECLARED) if value is not None else NO_BASELINE


def _measured(need: Need, found: Measured) -> dict[str, Any]:
    asked = {"quantity": str(need.quantity), "window": format_window(need.window)}
    match found:
        case Amount(value):
            return {**asked, "count": repr(value)}
        case Histogram(buckets):
            return {**asked, "buckets": [f"{bound!r} {count!r}" for bound, count in buckets]}
        case Unusable(reason, detail):
            return {**asked, "unusable": reason.value, "detail": detail[:256]}
        case other:
            assert_never(other)


def _read(told: Mapping[str, Any]) -> tuple[Need, Measured]:
    need = Need(Quantity(told["quantity"]), parse_window(told["window"]))
    if "count" in told:
        return need, Amount(float(told["count"]))
    if "buckets" in told:
        return need, Histogram(tuple(map(_bucket, told["buckets"])))
    return need, Unusable(Reason(told["unusable"]), told["detail"])


def _bucket(text: str) -> tuple[float, float]:
    bound, count = text.split(" ")
    return float(bound), float(count)
