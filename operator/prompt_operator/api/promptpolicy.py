"""PromptPolicy: rules and safeguards that many prompts share."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from prompt_operator.api.common import (
    AGE,
    Amount,
    ApiModel,
    Column,
    Conditions,
    Definition,
    Generation,
    Identifier,
    MetricName,
    Mode,
    Resource,
    Switch,
    cel,
    condition_column,
    list_map,
    list_set,
    validated,
)
from prompt_operator.api.policyblocks import Escalation, EvidencePolicy, MetricsSource, RollbackPolicy, Rules

Promql = Annotated[str, Field(min_length=1, max_length=1024)]


class CustomMetric(ApiModel):
    """A metric of your own for conditions; queries use $window and $by and group by prompt identity."""

    model_config = validated(
        cel(
            "has(self.value) != (has(self.numerator) || has(self.denominator))",
            "give either value, or numerator and denominator",
        ),
        cel(
            "has(self.numerator) == has(self.denominator)",
            "numerator and denominator must be given together",
        ),
    )

    name: MetricName = Field(description="Name for use in conditions, such as hallucination_rate.")
    unit: Literal["Ratio", "Duration", "Count", "Score", "Currency"] = Field(
        description="Unit that a threshold must have: Ratio takes 5%, Duration 800ms, the others plain numbers."
    )
    value: Promql | None = Field(
        default=None,
        description="PromQL query that gives the value, such as avg by ($by) (drift).",
    )
    numerator: Promql | None = Field(
        default=None, description="PromQL query that counts the cases in question; gives confidence bounds, too."
    )
    denominator: Promql | None = Field(default=None, description="PromQL query that counts all cases.")


class ModelLimits(ApiModel):
    """Where models may be called."""

    providers: Annotated[tuple[Identifier, ...], list_set(64)] | None = Field(
        default=None, description="Providers a version may name. Absent: any."
    )
    hosts: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=259)], ...], list_set(64)] | None = Field(
        default=None, description="Hosts a version may name; *.example.com covers all below it. Absent: any."
    )
    network: Literal["Open", "Allowlist", "None"] | None = Field(
        default=None,
        description="Open: any host. Allowlist: only those in hosts. None: no provider and no host. Absent: Open.",
    )


class Validation(ApiModel):
    """How strictly versions are checked before they are activated."""

    strictness: Literal["Lenient", "Strict"] = Field(
        default="Lenient", description="Lenient warns about findings; Strict refuses to activate."
    )
    scope: Literal["All", "Critical"] = Field(default="All", description="Which findings count.")


class ExperimentLimits(ApiModel):
    """Which kinds of experiments may run."""

    ab_test: Switch | None = Field(default=None, description="A/B tests. Absent: Enabled.")
    bandit: Switch | None = Field(default=None, description="Bandits. Absent: Disabled.")
    shadow: Switch | None = Field(default=None, description="Shadow runs. Absent: Enabled.")


class Reports(ApiModel):
    """Regular reports on all prompts under this policy."""

    schedule: Annotated[str, Field(min_length=1, max_length=63)] = Field(
        description='When, as a cron expression in UTC, such as "0 7 * * 1".'
    )
    channels: Annotated[tuple[Identifier, ...], list_set(16), Field(min_length=1)] = Field(
        description="Channels of the operator's settings that get the report."
    )


class Budget(ApiModel):
    """An amount that a prompt should not pass; passing it is alerted, never a rollback."""

    name: Identifier = Field(description="Name of the budget, unique within the list.")
    metric: Literal["Cost", "Tokens", "Requests"] = Field(description="What is counted. Cost is in US dollars.")
    limit: Amount = Field(description='Most per prompt and period, as a string, such as "25.50".')
    per: Literal["Hour", "Day", "Week", "Month"] = Field(description="The period, ending now: a month is 30 days.")
    warn_share: Annotated[str, Field(max_length=4, pattern=r"^([1-9][0-9]?|100)%$")] | None = Field(
        default=None, description="Share of the limit at which a Warning is sent before the limit is reached."
    )


class PromptPolicySpec(ApiModel):
    """What holds for the prompts under this policy, unless they say otherwise."""

    mode: Mode = Field(
        default="Active",
        description="Fallback tells the applications of all these prompts to use their built-in texts.",
    )
    rules: Rules = Field(
        default=(), description="Rules beside the built-in ones; one of the same name replaces a built-in rule."
    )
    metrics: MetricsSource | None = Field(default=None, description="Where the numbers for the rules come from.")
    custom_metrics: Annotated[tuple[CustomMetric, ...], list_map("name", at_most=16)] = Field(
        default=(), description="Metrics of your own for use in conditions."
    )
    rollback: RollbackPolicy | None = Field(default=None, description="When automatic rollbacks are allowed.")
    evidence: EvidencePolicy | None = Field(default=None, description="How much data a rule needs before it may act.")
    escalation: Escalation | None = Field(default=None, description="Whom to tell, by severity.")
    models: ModelLimits | None = Field(default=None, description="Providers and hosts that versions may name.")
    require: Annotated[
        tuple[
            Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z][A-Za-z0-9]*(\.[a-z][A-Za-z0-9]*)*$")],
            ...,
        ],
        list_set(32),
    ] = Field(
        default=(), description="Fields of PromptVersion.spec that a version must carry, such as message or model.name."
    )
    validation: Validation | None = Field(default=None, description="How strictly versions are checked.")
    experiments: ExperimentLimits | None = Field(default=None, description="Which kinds of experiments may run.")
    reports: Reports | None = Field(default=None, description="Regular reports.")
    budgets: Annotated[tuple[Budget, ...], list_map("name", at_most=16)] = Field(
        default=(), description="Amounts per prompt that are watched."
    )


class PromptPolicyStatus(ApiModel):
    """What the operator made of the policy."""

    observed_generation: Generation | None = Field(
        default=None, description="The metadata.generation this status belongs to."
    )
    prompts: Annotated[int, Field(ge=0, le=1_000_000)] | None = Field(
        default=None, description="How many prompts are under this policy."
    )
    conditions: Conditions = Field(
        default=(), description="Ready is False while the policy is invalid; its last valid form stays in force."
    )


class PromptPolicy(Resource):
    """Rules, safeguards, escalation and limits for many prompts; the one named default applies to a whole namespace."""

    definition: ClassVar = Definition(
        kind="PromptPolicy",
        plural="promptpolicies",
        short="prp",
        columns=(
            condition_column("Ready", "Ready", "status", "Whether the policy is valid and in force."),
            Column("Prompts", ".status.prompts", "How many prompts are under it.", type="integer"),
            Column("Auto", ".spec.rollback.auto", "Whether rules may roll back."),
            condition_column("Reason", "Ready", "reason", "Why Ready is as it is."),
            AGE,
        ),
        selectable=(),
    )

    kind: Literal["PromptPolicy"] = "PromptPolicy"
    spec: PromptPolicySpec = Field(description="What holds for the prompts under this policy.")
    status: PromptPolicyStatus = Field(
        default_factory=PromptPolicyStatus, description="What the operator made of it; written by the operator."
    )
