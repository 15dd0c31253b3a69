"""Blocks that a prompt and its policy share; they merge field by field, so no field has a default here.

Absent means: as the next wider level says (prompt, then policy, then the built-in policy).
"""

from typing import Annotated, Literal

from pydantic import Field

from prompt_operator.api.common import (
    Action,
    ApiModel,
    BaselineFloor,
    Confidence,
    Duration,
    Identifier,
    Percent,
    Rate,
    Severity,
    Switch,
    Token,
    Window,
    cel,
    list_atomic,
    list_map,
    list_set,
    validated,
)


class RuleSpec(ApiModel):
    """A rule watches one condition; a rule replaces an inherited one of the same name."""

    model_config = validated(
        cel(
            "has(self.condition) || (has(self.state) && self.state == 'Disabled')",
            "condition is required unless state is Disabled",
        )
    )

    name: Identifier = Field(description="Name of the rule, unique within the list.")
    condition: Annotated[str, Field(min_length=1, max_length=512)] | None = Field(
        default=None,
        description='When the rule fires, such as "error_rate > 5%" or "latency_p95 > baseline * 2.0 for 5 minutes".',
    )
    window: Window | None = Field(
        default=None, description="Time span the metrics are taken over, unless the condition names one. Absent: 5m."
    )
    for_: Duration | None = Field(
        default=None,
        alias="for",
        description="How long the condition must hold before the rule fires. Absent: as the condition says, else 0s.",
    )
    keep_firing_for: Duration | None = Field(
        default=None, description="How long the rule keeps firing after the condition ceased to hold. Absent: 0s."
    )
    severity: Severity | None = Field(
        default=None, description="Which escalation applies, and whether Healthy becomes False. Absent: Warning."
    )
    actions: Annotated[tuple[Action, ...], list_set(3)] | None = Field(
        default=None,
        description="Alert sends a notice, Rollback switches back, Review asks a person to look. Absent: Alert.",
    )
    confidence: Confidence | None = Field(
        default=None, description="How sure the author is of the rule; orders rules that fire together. Absent: Medium."
    )
    baseline_floor: BaselineFloor | None = Field(
        default=None,
        description="The least that counts as the baseline of this rule, such as 200ms; it also stands in for a "
        "missing one. Absent: what was measured or declared, whatever it is.",
    )
    state: Switch | None = Field(
        default=None, description="Disabled switches an inherited rule of this name off. Absent: Enabled."
    )


Rules = Annotated[tuple[RuleSpec, ...], list_map("name", at_most=64)]


class CorrelatedBreach(ApiModel):
    """When many prompts fail at once, the cause is elsewhere and rolling back would not help."""

    share: Percent | None = Field(
        default=None, description="Share of comparable prompts that must breach in the same window, such as 20%."
    )
    at_least: Annotated[int, Field(ge=1, le=10000)] | None = Field(
        default=None, description="Number of comparable prompts that must breach as well."
    )


class RollbackPolicy(ApiModel):
    """Safeguards of automatic rollbacks. A person's PromptRollback is not bound by them."""

    auto: Literal["Enabled", "DryRun", "Disabled"] | None = Field(
        default=None,
        description="Whether rules may roll back. DryRun decides and records but does not switch. Built in: Enabled.",
    )
    cooldown: Duration | None = Field(
        default=None, description="Least time between a rollback and the next automatic one. Built in: 15m."
    )
    max_per_day: Annotated[int, Field(ge=0, le=100)] | None = Field(
        default=None, description="Most automatic rollbacks of one prompt in any 24 hours. Built in: 3."
    )
    recovery_window: Duration | None = Field(
        default=None,
        description="How long the restored version is watched before recovery is judged; at least the rule's window. "
        "Built in: 15m.",
    )
    initial_delay: Duration | None = Field(
        default=None,
        description="Time after an activation in which nothing is judged, for pods to catch up. Built in: 2m.",
    )
    global_rate_limit: Rate | None = Field(
        default=None, description="Most automatic rollbacks over all prompts, as count/unit. Built in: 10/min."
    )
    correlated_breach: CorrelatedBreach | None = Field(
        default=None,
        description="Refuse to roll back when this many comparable prompts breach at once. Built in: 20%, at least 3.",
    )


class EvidencePolicy(ApiModel):
    """How much data a rule needs before it may act."""

    min_samples: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        default=None, description="Fewer observations than this in the window decide nothing. Built in: 20."
    )
    alert_confidence: Percent | None = Field(
        default=None, description="Confidence of the Wilson bound that must pass the threshold to alert. Built in: 95%."
    )
    rollback_confidence: Percent | None = Field(
        default=None,
        description="Confidence of the Wilson bound that must pass the threshold to roll back. Built in: 99.99%.",
    )
    unknown_after: Duration | None = Field(
        default=None, description="A rule without a usable value for this long is alerted as unknown. Built in: 10m."
    )


class MetricsSource(ApiModel):
    """Where the numbers come from."""

    profile: Identifier | None = Field(
        default=None,
        description="Set of metric and label names that applications export, such as otel-genai-v1. Built in: native.",
    )
    source: Token | None = Field(
        default=None, description="Name of a Prometheus from the operator's settings. Absent: the default one."
    )


class EscalationLevel(ApiModel):
    """Whom to tell, and what happens while nobody answers."""

    channels: Annotated[tuple[Identifier, ...], list_set(16)] | None = Field(
        default=None, description="Channels of the operator's settings that get the notice, such as slack."
    )
    repeat_after: Duration | None = Field(
        default=None, description="The notice is repeated after this long while the rule still fires."
    )
    escalate_after: Duration | None = Field(
        default=None, description="Without acknowledgement for this long, escalateTo is told too."
    )
    escalate_to: Annotated[tuple[Identifier, ...], list_atomic(16)] | None = Field(
        default=None, description="Channels told when nobody acknowledged in time, in this order."
    )


class Escalation(ApiModel):
    """Notices by the severity of the rule."""

    warning: EscalationLevel | None = Field(default=None, description="For rules of severity Warning.")
    critical: EscalationLevel | None = Field(default=None, description="For rules of severity Critical.")
