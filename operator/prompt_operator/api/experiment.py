"""Experiment: A/B test, bandit or shadow run over versions of one prompt."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from prompt_operator.api.common import (
    AGE,
    ApiModel,
    Column,
    Conditions,
    Decimal,
    Definition,
    Duration,
    Fraction,
    Generation,
    Identifier,
    MetricName,
    Percent,
    PromptRef,
    Resource,
    SemVer,
    Text,
    Timestamp,
    Unit,
    cel,
    condition_column,
    list_map,
    validated,
)
from prompt_operator.api.policyblocks import Rules

ArmName = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
ExperimentType = Literal["ABTest", "Bandit", "Shadow"]


class Arm(ApiModel):
    """A version that takes part."""

    name: ArmName = Field(description="Name of the arm, such as control; a label in metrics.")
    version: SemVer = Field(description="The version this arm serves.")
    weight: Annotated[int, Field(ge=0, le=100)] | None = Field(
        default=None, description="Percent of traffic, all arms together 100. Absent in all arms: equal shares."
    )


class PrimaryMetric(ApiModel):
    """The metric that decides."""

    metric: MetricName = Field(description="Name of the metric, such as success_rate.")
    direction: Literal["Increase", "Decrease"] = Field(description="Which way is better.")
    minimum_effect: Decimal | None = Field(
        default=None, description='Smallest difference that matters, in the unit of the metric, such as "0.02".'
    )


def _seconds(member: str) -> str:
    """CEL for a duration's seconds; CEL's own duration() knows neither days nor weeks."""
    text = f"self.{member}"
    units = "{'s': 1, 'm': 60, 'h': 3600, 'd': 86400, 'w': 604800}"
    return f"int({text}.substring(0, size({text}) - 1)) * {units}[{text}.substring(size({text}) - 1)]"


class ExperimentEvidence(ApiModel):
    """When there is enough evidence to decide."""

    model_config = validated(
        cel(
            "!has(self.minDuration) || !has(self.maxDuration) || "
            f"{_seconds('minDuration')} <= {_seconds('maxDuration')}",
            "minDuration must not be longer than maxDuration",
        )
    )

    alpha: Fraction = Field(default="0.05", description="Most false winners that are accepted, looking at every tick.")
    min_per_arm: Annotated[int, Field(ge=1, le=100_000_000)] = Field(
        default=100, description="Observations each arm needs before anything is decided."
    )
    min_duration: Duration = Field(default="24h", description="Nothing is decided before this time has passed.")
    max_duration: Duration = Field(default="14d", description="Without a winner by then the experiment ends undecided.")


class Bandit(ApiModel):
    """How a bandit shifts traffic to better arms."""

    algorithm: Literal["Thompson", "EpsilonGreedy"] = Field(description="How the next shares are drawn.")
    epsilon: Fraction | None = Field(default=None, description='Share of exploration for EpsilonGreedy, such as "0.1".')
    min_initial_samples: Annotated[int, Field(ge=0, le=1_000_000)] | None = Field(
        default=None, description="Observations per arm before shares are shifted at all."
    )
    optimistic_initial_value: Fraction | None = Field(
        default=None, description="Success share that an arm without data is taken to have."
    )
    floor: Percent = Field(default="5%", description="Least share of each arm.")
    update_interval: Duration = Field(default="10m", description="How often shares are drawn anew.")
    backfill: bool | None = Field(default=None, description="true: begin with what the arms' versions earned before.")


class Shadow(ApiModel):
    """A version that answers beside the active one; its answers go to nobody."""

    version: SemVer = Field(description="The version that is tried.")
    sample: Percent = Field(description="Share of requests that are sent to it as well, such as 10%.")
    max_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        default=None, description="Most such requests per minute and process."
    )
    max_tokens_per_day: Annotated[int, Field(ge=1, le=10_000_000_000)] | None = Field(
        default=None, description="Most tokens that such requests may take in 24 hours."
    )


class ExperimentSpec(ApiModel):
    """What is tried, on whom, and what decides."""

    model_config = validated(
        cel("self.type == 'Shadow' || has(self.arms)", "arms are required for ABTest and Bandit"),
        cel("self.type == 'Shadow' || has(self.primary)", "primary is required for ABTest and Bandit"),
        cel(
            "(self.type == 'Shadow') == has(self.shadow)", "shadow is required for type Shadow, and only allowed there"
        ),
        cel("self.type != 'Shadow' || !has(self.arms)", "arms are not allowed for type Shadow: use shadow.version"),
        cel("self.type == 'Bandit' || !has(self.bandit)", "bandit is only allowed for type Bandit"),
        cel(
            "!has(self.arms) || self.arms.all(a, self.arms.exists_one(b, b.version == a.version))",
            "each arm must serve another version",
        ),
        cel(
            "!has(self.arms) || self.arms.all(a, has(a.weight)) || self.arms.all(a, !has(a.weight))",
            "give a weight to all arms or to none",
        ),
        cel(
            "!has(self.arms) || !self.arms.all(a, has(a.weight)) || self.arms.map(a, a.weight).sum() == 100",
            "weights of arms must add to 100",
        ),
        cel("self.promptRef == oldSelf.promptRef", "promptRef cannot be changed: create a new experiment instead"),
        cel("self.type == oldSelf.type", "type cannot be changed: create a new experiment instead"),
    )

    prompt_ref: PromptRef = Field(description="The prompt whose versions are compared.")
    type: ExperimentType = Field(description="ABTest compares, Bandit also shifts traffic, Shadow only watches.")
    arms: Annotated[tuple[Arm, ...], list_map("name", at_most=8), Field(min_length=2)] | None = Field(
        default=None,
        description="The versions that share the traffic; the one with the desired version is the control.",
    )
    unit: Unit | None = Field(
        default=None, description="What keeps its arm. Absent: User; without an id each request is on its own."
    )
    primary: PrimaryMetric | None = Field(default=None, description="The metric that decides.")
    guardrails: Rules = Field(default=(), description="Rules on each arm; one that fires ends the experiment.")
    evidence: ExperimentEvidence | None = Field(default=None, description="When there is enough evidence to decide.")
    bandit: Bandit | None = Field(default=None, description="How a bandit shifts traffic; only for type Bandit.")
    shadow: Shadow | None = Field(default=None, description="What a shadow run tries; only for type Shadow.")
    on_decision: Literal["Recommend", "Promote"] | None = Field(
        default=None,
        description="Recommend names the winner; Promote also makes it the active version. Absent: Recommend.",
    )
    suspend: bool | None = Field(default=None, description="true: shares stay as they are and nothing is decided.")


class ArmStatus(ApiModel):
    """What an arm earned so far."""

    name: ArmName = Field(description="Name of the arm.")
    version: SemVer = Field(description="The version it serves.")
    weight: Annotated[int, Field(ge=0, le=10000)] = Field(description="Present share of traffic, in 1/10000.")
    exposures: Annotated[int, Field(ge=0, le=2**53 - 1)] = Field(description="Requests that were given this arm.")
    successes: Annotated[int, Field(ge=0, le=2**53 - 1)] | None = Field(
        default=None, description="Those that counted as a success, where the metric is a share."
    )
    mean: Decimal | None = Field(default=None, description="Mean of the primary metric, in base units.")
    variance: Decimal | None = Field(default=None, description="Variance of the primary metric.")
    alive: bool | None = Field(default=None, description="false: dropped for a guardrail or a rejected version.")


class EvidenceStatus(ApiModel):
    """The evidence so far, as natural logarithms of e-values."""

    log_e_value: Decimal | None = Field(default=None, description="Against no difference; decided above ln(1/alpha).")
    sample_ratio_log_e_value: Decimal | None = Field(
        default=None, description="Against traffic being split as planned; high values make the experiment invalid."
    )
    effect: Decimal | None = Field(default=None, description="Estimated difference of the best arm to the control.")
    lower: Decimal | None = Field(default=None, description="Lower bound of that difference.")
    upper: Decimal | None = Field(default=None, description="Upper bound of that difference.")
    at: Timestamp | None = Field(default=None, description="When the numbers were last carried on.")


class ExperimentDecision(ApiModel):
    """How it ended."""

    result: Literal["Winner", "NoDifference", "Undecided", "Aborted"] = Field(description="How it ended.")
    winner: ArmName | None = Field(default=None, description="The arm that won.")
    version: SemVer | None = Field(default=None, description="The version of that arm.")
    reason: Text | None = Field(default=None, description="Why, for people.")
    at: Timestamp = Field(description="When it was decided.")


class ExperimentStatus(ApiModel):
    """Durable state: a restart continues from these numbers."""

    observed_generation: Generation | None = Field(
        default=None, description="The metadata.generation this status belongs to."
    )
    started_at: Timestamp | None = Field(default=None, description="When traffic was first split.")
    allocation: Identifier | None = Field(default=None, description="Id of the split that applications see.")
    arms: Annotated[tuple[ArmStatus, ...], list_map("name", at_most=8)] = Field(
        default=(), description="What each arm earned so far."
    )
    evidence: EvidenceStatus | None = Field(default=None, description="The evidence so far.")
    decision: ExperimentDecision | None = Field(default=None, description="How it ended; absent while it runs.")
    conditions: Conditions = Field(
        default=(), description="Ready: runs. Valid: the split is as planned. Decided: it ended."
    )


class Experiment(Resource):
    """An A/B test, a bandit or a shadow run over versions of one prompt."""

    definition: ClassVar = Definition(
        kind="Experiment",
        plural="experiments",
        short="pex",
        columns=(
            Column("Prompt", ".spec.promptRef.name", "The prompt."),
            Column("Type", ".spec.type", "ABTest, Bandit or Shadow."),
            condition_column("Ready", "Ready", "status", "Whether it runs."),
            Column("Result", ".status.decision.result", "How it ended."),
            Column("Winner", ".status.decision.winner", "The arm that won."),
            AGE,
        ),
        selectable=(".spec.promptRef.name", ".spec.type"),
    )

    kind: Literal["Experiment"] = "Experiment"
    spec: ExperimentSpec = Field(description="What is tried, on whom, and what decides.")
    status: ExperimentStatus = Field(
        default_factory=ExperimentStatus, description="What was measured and decided; written by the operator."
    )
