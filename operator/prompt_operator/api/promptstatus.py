"""Status of a Prompt: what is served, why, and what must survive a restart.

Nothing in here changes with every tick; values of rules live in metrics.
"""

from typing import Annotated, Literal

from pydantic import Field

from prompt_operator.api.common import (
    ApiModel,
    Conditions,
    ContentHash,
    Evidence,
    Generation,
    Identifier,
    Inputs,
    LongText,
    Measurement,
    ObjectName,
    SemVer,
    Severity,
    Text,
    Timestamp,
    Token,
    list_atomic,
    list_map,
)

OverrideCause = Literal["Rollback", "ManualRollback", "Experiment"]
DecisionKind = Literal["Rollback", "ManualRollback", "Activation"]
RuleState = Literal["Normal", "Pending", "Firing", "Recovering", "Unknown"]
LeaveCause = Literal["Activation", "Rollback", "ManualRollback", "Experiment"]
Verb = Literal["Retry", "Promote", "Abort", "Review"]
DecisionId = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]


class Override(ApiModel):
    """Another version than the desired one is active; valid only while spec.version equals `against`."""

    version: SemVer = Field(description="The version that is active instead.")
    because: OverrideCause = Field(description="What put it there.")
    reason: Text | None = Field(default=None, description="Why, for people.")
    since: Timestamp = Field(description="When the override began.")
    against: SemVer = Field(description="The desired version it stands against; the override ends when that changes.")


class Decision(ApiModel):
    """The last decision, with all that is needed to finish it after a crash."""

    id: DecisionId = Field(description="Unique name of the decision; its PromptRollback record has the same name.")
    kind: DecisionKind = Field(description="What was decided.")
    decision: Literal["Executed", "DryRun"] = Field(description="DryRun: decided and recorded, but nothing switched.")
    from_version: SemVer | None = Field(
        default=None, alias="from", description="The version that was active; absent at a first activation."
    )
    to_version: SemVer | None = Field(default=None, alias="to", description="The version that became active.")
    from_hash: ContentHash | None = Field(
        default=None, description="Content hash of the version that was active; a rollback rejects this content."
    )
    to_hash: ContentHash | None = Field(default=None, description="Content hash of the version that became active.")
    rule: Identifier | None = Field(default=None, description="The rule that fired.")
    reason: Text | None = Field(default=None, description="Why, for people.")
    requested_by: Annotated[str, Field(max_length=253)] | None = Field(
        default=None, description="Who asked for it; absent for automatic decisions."
    )
    request_ref: ObjectName | None = Field(
        default=None, alias="request", description="Name of the PromptRollback that asked for it."
    )
    at: Timestamp = Field(description="When it was decided.")
    evidence: Annotated[tuple[Evidence, ...], list_atomic(16)] = Field(
        default=(), description="What was measured when it was decided."
    )
    inputs: Inputs | None = None  # until the record has them


class Held(ApiModel):
    """A rejected version; nothing automatic activates it until it is released or retried."""

    version: SemVer = Field(description="The rejected version.")
    content_hash: ContentHash | None = Field(default=None, description="Content hash of the rejected version.")
    reason: Text | None = Field(default=None, description="Why it was rejected.")
    since: Timestamp = Field(description="When it was rejected.")
    record: ObjectName | None = Field(
        default=None, description="The PromptRollback that rejected it; set spec.release there to lift the hold."
    )


class RolloutStatus(ApiModel):
    """A rollout under way."""

    candidate: SemVer = Field(description="The version that is being rolled out.")
    candidate_hash: ContentHash | None = Field(default=None, description="Content hash of that version.")
    step: Annotated[int, Field(ge=0, le=20)] = Field(description="Number of the present step, beginning with 0.")
    weight: Annotated[int, Field(ge=0, le=100)] = Field(description="Percent of traffic that gets the candidate.")
    since: Timestamp = Field(description="When the present step began.")


class RuleStatus(ApiModel):
    """State of one rule; written only when it changes."""

    name: Identifier = Field(description="Name of the rule.")
    state: RuleState = Field(description="Pending: condition holds, not yet for long enough. Unknown: no usable value.")
    since: Timestamp = Field(description="When the rule came into this state.")
    fired_at: Timestamp | None = Field(
        default=None, description="When the rule fired, if it is Recovering, or Unknown and has not been resolved."
    )
    message: Text | None = Field(default=None, description="What was seen, or what is wrong with the rule.")
    measured_at: Timestamp | None = Field(
        default=None, description="When that was measured; absent while the rule is Unknown."
    )
    query: LongText | None = Field(
        default=None,
        description="The PromQL queries that give the values, one a line, to run them again; absent while Unknown.",
    )


class RollbackEntry(ApiModel):
    """One rollback in the ledger."""

    id: DecisionId = Field(description="Id of the decision, and name of its PromptRollback record.")
    trigger: Literal["Manual", "Automatic"] = Field(description="Who set it off; only automatic ones count to the cap.")
    from_version: SemVer = Field(alias="from", description="The rejected version.")
    to_version: SemVer = Field(alias="to", description="The restored version.")
    at: Timestamp = Field(description="When it was decided.")


class Rollbacks(ApiModel):
    """Ledger of rollbacks, for the cooldown and the daily limit."""

    last_at: Timestamp | None = Field(default=None, description="Time of the last rollback, manual ones included.")
    recent: Annotated[tuple[RollbackEntry, ...], list_map("id", at_most=100)] = Field(
        default=(), description="Rollbacks of the last 24 hours."
    )


class Incident(ApiModel):
    """Trouble that somebody was told of."""

    id: DecisionId = Field(description="Unique name of the incident; notices carry it.")
    rule: Identifier | None = Field(default=None, description="The rule that fired, if it was one.")
    version: SemVer | None = Field(default=None, description="The version that was active.")
    severity: Severity = Field(description="Which escalation applies.")
    message: Text | None = Field(default=None, description="What is wrong.")
    since: Timestamp = Field(description="When it began.")
    notified_at: Timestamp | None = Field(default=None, description="When the last notice was sent.")
    escalated_at: Timestamp | None = Field(default=None, description="When the notice was escalated.")
    acknowledged_at: Timestamp | None = Field(default=None, description="When a person took it.")
    acknowledged_by: Annotated[str, Field(max_length=253)] | None = Field(default=None, description="Who took it.")


class HistoryEntry(ApiModel):
    """An activation in the past."""

    version: SemVer = Field(description="The version that was activated.")
    hash: ContentHash = Field(description="Content hash at that time.")
    at: Timestamp = Field(description="When it was activated.")
    by: Annotated[str, Field(max_length=253)] | None = Field(
        default=None, description="Who asked: a person, else the manager that set spec.version, else unknown."
    )
    reason: Text | None = Field(default=None, description="Why it was activated.")
    left_because: LeaveCause | None = Field(
        default=None, description="What ended it; versions left by a rollback are not chosen as a target."
    )


class ProjectionStatus(ApiModel):
    """The ConfigMap as last written."""

    config_map: ObjectName = Field(description="Name of the ConfigMap.")
    revision: Annotated[int, Field(ge=0, le=2**53 - 1)] = Field(description="Grows with each change of the ConfigMap.")
    content_hash: ContentHash | None = Field(
        default=None, description="Content hash of the version in it; absent in Fallback."
    )
    at: Timestamp = Field(description="When it was written.")


class HandledRequest(ApiModel):
    """An annotation that was acted on."""

    verb: Verb = Field(description="The verb of the annotation, such as Retry for promptops.dev/retryAt.")
    value: Token = Field(description="Value of the annotation; the same value is not acted on again.")


class PromptStatus(ApiModel):
    """What is the case."""

    observed_generation: Generation | None = Field(
        default=None, description="The metadata.generation this status belongs to."
    )
    active_version: SemVer | None = Field(default=None, description="The version applications are served.")
    active_hash: ContentHash | None = Field(default=None, description="Content hash of the active version.")
    activated_at: Timestamp | None = Field(default=None, description="When the active version was activated.")
    previous_version: SemVer | None = Field(default=None, description="The version that was active before.")
    override: Override | None = Field(
        default=None, description="Present while another version than spec.version is active on purpose."
    )
    decision: Decision | None = Field(default=None, description="The last decision about the active version.")
    held: Annotated[tuple[Held, ...], list_map("version", at_most=100)] = Field(
        default=(), description="Rejected versions, not activated again until released or retried."
    )
    rollout: RolloutStatus | None = Field(default=None, description="The rollout under way.")
    baseline: Annotated[tuple[Measurement, ...], list_map("metric", at_most=64)] = Field(
        default=(), description="Values measured before the activation; rules compare with them."
    )
    rules: Annotated[tuple[RuleStatus, ...], list_map("name", at_most=192)] = Field(
        default=(), description="State of the rules in force."
    )
    rollbacks: Rollbacks | None = Field(default=None, description="Past rollbacks, for cooldown and daily limit.")
    incidents: Annotated[tuple[Incident, ...], list_map("id", at_most=32)] = Field(
        default=(), description="Open incidents."
    )
    history: Annotated[tuple[HistoryEntry, ...], list_atomic(10)] = Field(
        default=(), description="The last ten activations, newest first."
    )
    projection: ProjectionStatus | None = Field(default=None, description="The ConfigMap as last written.")
    handled_requests: Annotated[tuple[HandledRequest, ...], list_map("verb", at_most=8)] = Field(
        default=(), description="Annotations that were acted on."
    )
    conditions: Conditions = Field(
        default=(), description="Ready, Serving, Healthy and Propagated always; Reconciling and Stalled while True."
    )
