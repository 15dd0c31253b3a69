"""A rule, compiled: what the engine evaluates."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

from prompt_operator.core.duration import exact
from prompt_operator.core.rules.errors import RuleError, did_you_mean
from prompt_operator.core.rules.floor import parse_floor
from prompt_operator.core.rules.grammar import parse
from prompt_operator.core.rules.metrics import METRICS, Metric
from prompt_operator.core.rules.slower import metric_of
from prompt_operator.core.rules.syntax import comparisons, metric_refs, to_text
from prompt_operator.core.rules.units import NO_TIME, parse_duration, parse_window

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import timedelta

    from prompt_operator.core.rules.syntax import Condition

DEFAULT_WINDOW = "5m"


class Severity(StrEnum):
    """How bad it is when the rule fires; chooses the escalation."""

    WARNING = "Warning"
    CRITICAL = "Critical"


class Action(StrEnum):
    """What happens when the rule fires."""

    ALERT = "Alert"
    ROLLBACK = "Rollback"
    REVIEW = "Review"


class Confidence(StrEnum):
    """How much the author trusts the rule; shown, and orders rules that fire together."""

    LOW = "Low"
    MEDIUM = "Medium"
    HIGH = "High"


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that compiled.

    `metrics` holds the metrics that the condition names, by name; `window` is for metrics without their own; `hold` is
    how long the condition must stay true before the rule fires; `keep_firing_for` how long it must stay false before a
    firing rule is resolved; `baseline_floor` (base units) is the least that counts as the baseline.
    """

    name: str
    condition: Condition
    metrics: Mapping[str, Metric] = field(hash=False)
    window: timedelta
    hold: timedelta = NO_TIME
    severity: Severity = Severity.WARNING
    actions: frozenset[Action] = frozenset({Action.ALERT})
    confidence: Confidence = Confidence.MEDIUM
    keep_firing_for: timedelta = NO_TIME
    baseline_floor: float | None = None

    @property
    def text(self) -> str:
        """The condition in normal form."""
        return to_text(self.condition)


def compile_rule(
    name: str,
    condition: str,
    *,
    window: str | None = None,
    for_: str | None = None,
    severity: str | None = None,
    actions: Iterable[str] | None = None,
    confidence: str | None = None,
    keep_firing_for: str | None = None,
    baseline_floor: str | None = None,
    catalogue: Mapping[str, Metric] = METRICS,
) -> Rule:
    """Compile a rule as it is written; RuleError for anything that cannot be used. None means the default.

    `catalogue` holds every metric that the condition may name.
    """
    parsed = parse(condition, catalogue)
    named = {ref.name for comparison in comparisons(parsed.predicate) for ref in metric_refs(comparison)}
    return Rule(
        name=name,
        condition=parsed,
        metrics={name: metric for name in sorted(named) if (metric := metric_of(name, catalogue))},
        window=parse_window(window or DEFAULT_WINDOW),
        hold=_hold(parsed.hold, for_),
        severity=_member(Severity, severity, Severity.WARNING),
        actions=frozenset(_member(Action, action, Action.ALERT) for action in actions or (Action.ALERT,)),
        confidence=_member(Confidence, confidence, Confidence.MEDIUM),
        keep_firing_for=parse_duration(keep_firing_for) if keep_firing_for else NO_TIME,
        baseline_floor=parse_floor(baseline_floor, parsed.predicate, catalogue) if baseline_floor else None,
    )


def compile_spec(spec: Any, catalogue: Mapping[str, Metric] = METRICS) -> Rule:
    """Compile an API rule: an object with the parameters of `compile_rule` as attributes; missing ones are None."""
    names = ("window", "for_", "severity", "actions", "confidence", "keep_firing_for", "baseline_floor")
    given = {name: getattr(spec, name, None) for name in names}
    return compile_rule(str(spec.name), str(spec.condition or ""), catalogue=catalogue, **given)


def _hold(of_condition: timedelta | None, of_rule: str | None) -> timedelta:
    if not of_rule:
        return of_condition or NO_TIME
    hold = parse_duration(of_rule)
    if of_condition not in {None, hold}:
        raise RuleError(
            f"the condition says for {exact(of_condition or NO_TIME)}, the rule for {exact(hold)}: keep one"
        )
    return hold


E = TypeVar("E", bound=StrEnum)


def _member(kind: type[E], value: str | None, default: E) -> E:
    """Return the member with this value, given as text or as a member of an equal enum."""
    if value is None:
        return default
    text = str(getattr(value, "value", value))
    if text not in list(kind):
        raise RuleError(f"unknown {kind.__name__.lower()} '{text}': {did_you_mean(text, list(kind))}")
    return kind(text)
