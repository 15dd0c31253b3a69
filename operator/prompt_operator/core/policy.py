"""The policy in force for a prompt: built-in < policy < prompt, block by block, rules by name.

The built-in policy is data. A bad rule is off, and where it replaces an inherited one that one stays in force.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

from prompt_operator.api.common import ApiModel
from prompt_operator.api.policyblocks import CorrelatedBreach, EvidencePolicy, MetricsSource, RollbackPolicy, RuleSpec
from prompt_operator.core import duration
from prompt_operator.core.rules.custom import BUILT_IN, catalogue
from prompt_operator.core.rules.errors import RuleError, UnknownMetricError
from prompt_operator.core.rules.model import Rule, compile_spec

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import timedelta

    from prompt_operator.api.prompt import PromptSpec
    from prompt_operator.api.promptpolicy import PromptPolicySpec
    from prompt_operator.core.rules.custom import Catalogue

M = TypeVar("M", bound=ApiModel)


def _rule(
    name: str, condition: str, window: str, severity: str, actions: tuple[str, ...], confidence: str | None = None
) -> RuleSpec:
    return RuleSpec.model_validate(
        {
            "name": name,
            "condition": condition,
            "window": window,
            "severity": severity,
            "actions": actions,
            "confidence": confidence,
        }
    )


BUILT_IN_RULES = (
    _rule("critical-error-rate", "error_rate > 5%", "5m", "Critical", ("Alert", "Rollback")),
    _rule("elevated-error-rate", "error_rate > 3%", "15m", "Warning", ("Alert",)),
    _rule("high-latency-p95", "latency_p95 > baseline * 2.0", "5m", "Critical", ("Alert",)),
    _rule("elevated-latency", "latency_p95 > baseline * 1.5", "15m", "Warning", ("Alert",)),
    _rule("low-success-rate", "success_rate < 95%", "10m", "Critical", ("Alert", "Rollback")),
    _rule("calibration-drift", "avg_calibration_delta > 2.0", "1h", "Warning", ("Alert", "Review")),
    _rule("user-satisfaction-drop", "avg_user_feedback < 3.0", "24h", "Warning", ("Alert",)),
    _rule("elevated-failure", "success_rate < 97%", "15m", "Warning", ("Alert",)),
    _rule("runaway-errors", "error_rate > 10% for 5 minutes", "1m", "Critical", ("Rollback",), "High"),
    _rule("collapsed-success", "success_rate < 85% for 10 minutes", "1m", "Critical", ("Rollback",), "High"),
    _rule("stuck-latency", "latency_p99 > 10000ms for 5 minutes", "1m", "Critical", ("Rollback",), "Medium"),
    _rule("lasting-latency", "latency_p95 > baseline * 2.0 for 30 minutes", "5m", "Warning", ("Review",)),
    _rule("negative-feedback", "user_feedback_negative_rate > 20%", "24h", "Warning", ("Review",)),
)
BUILT_IN_ROLLBACK = RollbackPolicy(
    auto="Enabled",
    cooldown="15m",
    max_per_day=3,
    recovery_window="15m",
    initial_delay="2m",
    global_rate_limit="10/min",
    correlated_breach=CorrelatedBreach(share="20%", at_least=3),
)
BUILT_IN_EVIDENCE = EvidencePolicy(
    min_samples=20, alert_confidence="95%", rollback_confidence="99.99%", unknown_after="10m"
)
BUILT_IN_METRICS = MetricsSource(profile="native")


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` in any span of `per`."""

    count: int
    per: timedelta


@dataclass(frozen=True, slots=True)
class Effective:
    """The policy in force, ready to use."""

    mode: str
    rules: tuple[Rule, ...]
    problems: tuple[str, ...]
    """A sentence per rule of the prompt itself that cannot be used."""
    policy_problems: tuple[str, ...]
    """The same for rules of its PromptPolicy; shown there, they do not touch the prompt's Ready."""
    metric_problems: tuple[str, ...]
    """A sentence per custom metric of the PromptPolicy that cannot be used; shown there, too."""
    auto: str
    cooldown: timedelta
    max_per_day: int
    recovery_window: timedelta
    initial_delay: timedelta
    global_rate: Rate
    """Of the automatic rollbacks of all prompts."""
    correlated_share: float
    correlated_at_least: int
    min_samples: int
    alert_confidence: float
    rollback_confidence: float
    unknown_after: timedelta
    profile: str
    source: str
    """Name of a metric source; empty means the default one."""


def effective(prompt: PromptSpec, policy: PromptPolicySpec | None, namespace: str) -> Effective:
    """Return the policy in force for a prompt of a namespace; `policy` is its PromptPolicy, None when it has none."""
    # Custom metrics are read in their policy's namespace only; without any, policies are shared across namespaces.
    confined_to = namespace if policy and policy.custom_metrics else ""
    return _merged(prompt.mode, prompt.rules, prompt.rollback, prompt.metrics, policy, confined_to)


@lru_cache(maxsize=1024)
def _merged(
    mode: str,
    rules: tuple[RuleSpec, ...],
    rollback: RollbackPolicy | None,
    metrics: MetricsSource | None,
    policy: PromptPolicySpec | None,
    namespace: str,
) -> Effective:
    """Merge the three layers; thousands of prompts with equal blocks share one result."""
    known = catalogue(policy.custom_metrics, namespace) if policy else BUILT_IN
    layers = (BUILT_IN_RULES, policy.rules if policy else (), rules)
    merged_rules, policy_problems, problems = _merged_rules(layers, known)
    safeguards = _overlay(BUILT_IN_ROLLBACK, policy.rollback if policy else None, rollback)
    evidence = _overlay(BUILT_IN_EVIDENCE, policy.evidence if policy else None)
    source = _overlay(BUILT_IN_METRICS, policy.metrics if policy else None, metrics)
    correlated = _overlay(
        BUILT_IN_ROLLBACK.correlated_breach or CorrelatedBreach(),
        *(block.correlated_breach for block in (policy and policy.rollback, rollback) if block),
    )
    switches = [block.auto for block in (policy and policy.rollback, rollback) if block]
    return Effective(
        mode="Fallback" if "Fallback" in (mode, policy.mode if policy else "") else "Active",
        rules=merged_rules,
        problems=problems,
        policy_problems=policy_problems,
        metric_problems=tuple(f"custom metric {name}: {why}; it is off" for name, why in known.broken.items()),
        auto="Disabled" if "Disabled" in switches else str(safeguards.auto),
        cooldown=duration.parse(safeguards.cooldown or ""),
        max_per_day=safeguards.max_per_day or 0,
        recovery_window=duration.parse(safeguards.recovery_window or ""),
        initial_delay=duration.parse(safeguards.initial_delay or ""),
        global_rate=_rate(safeguards.global_rate_limit or ""),
        correlated_share=share(correlated.share or ""),
        correlated_at_least=correlated.at_least or 1,
        min_samples=evidence.min_samples or 1,
        alert_confidence=share(evidence.alert_confidence or ""),
        rollback_confidence=share(evidence.rollback_confidence or ""),
        unknown_after=duration.parse(evidence.unknown_after or ""),
        profile=source.profile or "",
        source=source.source or "",
    )


def share(percent: str) -> float:
    """Return the share a percentage of the API means: `99.9%` is 0.999."""
    return round(float(percent.removesuffix("%")) / 100, 9)


def _rate(text: str) -> Rate:
    """Read `10/min`."""
    count, unit = text.split("/")
    return Rate(int(count), duration.parse({"min": "1m"}.get(unit, f"1{unit}")))


def _overlay(base: M, *blocks: M | None) -> M:
    """Lay blocks over the base, field by field; what a block leaves out stays."""
    for block in blocks:
        if block is not None:
            given = {name: value for name in block.model_fields_set if (value := getattr(block, name)) is not None}
            base = base.model_copy(update=given)
    return base


def _merged_rules(
    layers: Iterable[Iterable[RuleSpec]], known: Catalogue
) -> tuple[tuple[Rule, ...], tuple[str, ...], tuple[str, ...]]:
    """Return the rules in force and the problems of the second and the third layer."""
    rules: dict[str, Rule] = {}
    problems: list[tuple[str, ...]] = []
    for layer in layers:
        found = []
        for spec in layer:
            problem = _lay(rules, spec, known)
            found += [problem] if problem else []
        problems.append(tuple(found))
    return tuple(rules.values()), problems[1], problems[2]


def _lay(rules: dict[str, Rule], spec: RuleSpec, known: Catalogue) -> str:
    if spec.state == "Disabled":
        rules.pop(spec.name, None)
        return ""
    compiled = compiled_rule(spec, known)
    if isinstance(compiled, RuleError):
        kept = "the inherited rule of this name stays in force" if spec.name in rules else "it is off"
        return f"rule {spec.name}: {compiled}; {kept}"
    rules[spec.name] = compiled
    return ""


@lru_cache(maxsize=4096)
def compiled_rule(spec: RuleSpec, known: Catalogue = BUILT_IN) -> Rule | RuleError:
    """Compile a rule once; thousands of prompts share the same few."""
    try:
        return compile_spec(spec, known.metrics)
    except UnknownMetricError as error:
        if error.name in known.broken:
            return RuleError(f"custom metric {error.name} of the policy cannot be used", error.column)
        return error
    except RuleError as error:
        return error
