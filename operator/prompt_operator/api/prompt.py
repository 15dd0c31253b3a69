"""Prompt: which version should be active, and how it is watched, rolled out and rolled back."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from prompt_operator.api.common import (
    AGE,
    ApiModel,
    Column,
    Definition,
    Duration,
    Mode,
    ObjectName,
    PolicyRef,
    Resource,
    SemVer,
    Unit,
    cel,
    condition_column,
    list_atomic,
    validated,
)
from prompt_operator.api.policyblocks import MetricsSource, RollbackPolicy, Rules
from prompt_operator.api.promptstatus import PromptStatus

Strategy = Literal["Immediate", "Canary"]


class RolloutStep(ApiModel):
    """A share of traffic, and how long it is kept."""

    weight: Annotated[int, Field(ge=1, le=100)] = Field(description="Percent of traffic that gets the new version.")
    pause: Duration | None = Field(
        default=None, description="How long this share is kept. Absent: until a person promotes or aborts."
    )


class Rollout(ApiModel):
    """How a new desired version replaces the active one."""

    model_config = validated(
        cel("self.strategy != 'Canary' || has(self.steps)", "steps are required when strategy is Canary"),
        cel("self.strategy == 'Canary' || !has(self.steps)", "steps are only allowed when strategy is Canary"),
        cel(
            "!has(self.steps) || (self.steps.map(s, s.weight).isSorted()"
            " && self.steps.all(a, self.steps.exists_one(b, b.weight == a.weight)))",
            "weights of steps must grow from each step to the next",
        ),
    )

    strategy: Strategy = Field(
        description="Immediate: all traffic at once. Canary: by steps. First activations and rollbacks are immediate."
    )
    steps: Annotated[tuple[RolloutStep, ...], list_atomic(20), Field(min_length=1)] | None = Field(
        default=None, description="Growing shares of traffic for Canary; all traffic follows the last one."
    )
    unit: Unit | None = Field(
        default=None, description="What keeps its version while shares grow. Absent: User; without an id each request."
    )


class Delivery(ApiModel):
    """How applications get the prompt."""

    config_map_name: ObjectName | None = Field(
        default=None, description="Name of the ConfigMap to write. Absent: prompt-<name of the Prompt>."
    )


class Retention(ApiModel):
    """How many versions are kept."""

    versions: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=20, description="Versions that `kubectl prompt prune` keeps; the operator itself deletes none."
    )


class Owner(ApiModel):
    """Who answers for the prompt."""

    team: Annotated[str, Field(max_length=253)] | None = Field(default=None, description="Team that owns the prompt.")
    channel: Annotated[str, Field(max_length=253)] | None = Field(
        default=None, description="Where to reach the team, such as #support-bot."
    )
    docs: Annotated[str, Field(max_length=2048)] | None = Field(
        default=None, description="Address of the page that explains the prompt."
    )


class PromptSpec(ApiModel):
    """What should be the case."""

    version: SemVer = Field(description="The desired version; a PromptVersion named <prompt>-<version> must exist.")
    suspend: bool | None = Field(
        default=None, description="true: nothing automatic happens; applications keep what they are served."
    )
    mode: Mode = Field(
        default="Active", description="Fallback tells applications to use the text they were built with."
    )
    policy_ref: PolicyRef | None = Field(
        default=None, description="Policy this prompt is under. Absent: the one named default, else the built-in one."
    )
    rules: Rules = Field(default=(), description="Rules beside those of the policy; one of the same name replaces it.")
    rollout: Rollout | None = Field(
        default=None, description="How a new version replaces the active one. Absent: all traffic at once."
    )
    rollback: RollbackPolicy | None = Field(
        default=None, description="When automatic rollbacks are allowed. Fields given here win over the policy's."
    )
    delivery: Delivery | None = Field(default=None, description="How applications get the prompt.")
    metrics: MetricsSource | None = Field(
        default=None, description="Where the numbers for the rules come from. Fields given here win over the policy's."
    )
    retention: Retention | None = Field(default=None, description="How many versions are kept.")
    owner: Owner | None = Field(default=None, description="Who answers for the prompt; shown in describe and notices.")


class Prompt(Resource):
    """A prompt in production: the desired version, and how it is watched, rolled out and rolled back."""

    model_config = validated(
        cel(
            "size(self.metadata.name) <= 63 && !self.metadata.name.contains('.')",
            "metadata.name of a Prompt has at most 63 characters and no dots: it becomes a label",
        )
    )
    definition: ClassVar = Definition(
        kind="Prompt",
        plural="prompts",
        short="prm",
        columns=(
            condition_column("Ready", "Ready", "status", "Whether the desired version is active."),
            Column("Active", ".status.activeVersion", "The version applications are served."),
            Column("Desired", ".spec.version", "The version that should be active."),
            condition_column("Reason", "Ready", "reason", "Why Ready is as it is."),
            AGE,
            condition_column("Healthy", "Healthy", "status", "Whether the rules are content.", wide=True),
            Column("Rolled back", ".status.rollbacks.lastAt", "Time of the last rollback.", type="date", wide=True),
            Column("Hash", ".status.activeHash", "Content hash of the active version.", wide=True),
        ),
        selectable=(".spec.version", ".spec.policyRef.name"),
    )

    kind: Literal["Prompt"] = "Prompt"
    spec: PromptSpec = Field(description="Which version should be active, and by which rules.")
    status: PromptStatus = Field(default_factory=PromptStatus, description="What is the case; written by the operator.")
