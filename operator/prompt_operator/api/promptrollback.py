"""PromptRollback: a person's request, or the operator's record of one decision."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from prompt_operator.api.common import (
    AGE,
    ApiModel,
    Column,
    Conditions,
    ContentHash,
    Definition,
    Evidence,
    Generation,
    Identifier,
    Inputs,
    Measurement,
    ObjectName,
    Outcome,
    PromptRef,
    ReasonWord,
    Resource,
    SemVer,
    Text,
    Timestamp,
    cel,
    immutable,
    list_atomic,
    list_map,
    validated,
)

Trigger = Literal["Manual", "Automatic"]
UserName = Annotated[str, Field(min_length=1, max_length=253)]


class RequestRef(ApiModel):
    """The request that a record answers."""

    name: ObjectName = Field(description="Name of the PromptRollback with the request.")
    uid: Annotated[str, Field(max_length=63)] | None = Field(
        default=None, description="Its uid: a later request of the same name is another one."
    )


class Signature(ApiModel):
    """Who did it, and why."""

    by: UserName = Field(description="Name of the user, as the API server knows it; checked at admission.")
    reason: Annotated[str, Field(min_length=1, max_length=1024)] = Field(
        description="Why, for those who read it later."
    )


_FIXED = immutable(
    *("promptRef", "fromVersion", "toVersion", "reason", "requestedBy", "trigger", "decision", "decidedAt"),
    *("requestRef", "contentHash", "guard", "rule", "evidence", "inputs"),
    instead="create a new PromptRollback instead",
)


def _record_only(*names: str) -> tuple[dict[str, str], ...]:
    """Rules that keep members for the operator's records."""
    return tuple(
        cel(
            f"!has(self.{name}) || self.trigger == 'Automatic' || has(self.requestRef)",
            f"{name} belongs to a record: it needs trigger Automatic or a requestRef",
        )
        for name in names
    )


def _once(name: str) -> dict[str, str]:
    return cel(
        f"!has(oldSelf.{name}) || (has(self.{name}) && self.{name} == oldSelf.{name})",
        f"{name} can be set once and not be changed or taken back",
    )


class PromptRollbackSpec(ApiModel):
    """Immutable, but for `release` and `acknowledge`, each set once."""

    model_config = validated(
        *_FIXED,
        _once("release"),
        _once("acknowledge"),
        cel(
            "self.trigger != 'Manual' || (has(self.reason) && has(self.requestedBy))",
            "a manual rollback needs reason and requestedBy",
        ),
        cel(
            "!has(self.toVersion) || self.toVersion != self.fromVersion",
            "toVersion must differ from fromVersion",
        ),
        cel(
            "self.trigger != 'Automatic' || (has(self.decision) && has(self.decidedAt))",
            "an automatic rollback is a record: it needs decision and decidedAt",
        ),
        *_record_only("decision", "decidedAt", "inputs"),
        cel(
            "has(self.decision) == has(self.decidedAt)",
            "decision and decidedAt must be given together",
        ),
        cel(
            "!has(self.guard) || (has(self.decision) && self.decision != 'Executed')",
            "guard is for records whose decision is Refused or DryRun",
        ),
    )

    prompt_ref: PromptRef = Field(description="The prompt to roll back.")
    from_version: SemVer = Field(
        description="The version to leave: the active one or the candidate of a rollout. Any other is refused."
    )
    to_version: SemVer | None = Field(
        default=None,
        description="The version to go back to. Absent: the version's reference, else the newest usable one.",
    )
    reason: Annotated[str, Field(min_length=1, max_length=1024)] | None = Field(
        default=None, description="Why; required for a manual rollback."
    )
    requested_by: UserName | None = Field(
        default=None, description="Who asks, as the API server knows the user; required for a manual rollback."
    )
    trigger: Trigger = Field(
        default="Manual", description="Manual: a person asked. Automatic: a rule fired; only the operator writes these."
    )
    decision: Outcome | None = Field(
        default=None, description="What was decided; only in records. DryRun: it would have switched."
    )
    decided_at: Timestamp | None = Field(default=None, description="When it was decided; only in records.")
    request_ref: RequestRef | None = Field(default=None, description="The request this record answers.")
    content_hash: ContentHash | None = Field(
        default=None, description="Content hash of the rejected version; this content is held, whatever its name."
    )
    guard: ReasonWord | None = Field(default=None, description="The safeguard that objected, such as CoolingDown.")
    rule: Identifier | None = Field(default=None, description="The rule that fired.")
    evidence: Annotated[tuple[Evidence, ...], list_atomic(16)] = Field(
        default=(), description="What was measured when it was decided."
    )
    inputs: Inputs | None = None
    release: Signature | None = Field(
        default=None, description="Set it to lift the hold on the rejected version; it may then be activated again."
    )
    acknowledge: Signature | None = Field(
        default=None, description="Set it to say that a person takes care; notices are no longer repeated."
    )


class PromptRollbackStatus(ApiModel):
    """What came of it."""

    observed_generation: Generation | None = Field(
        default=None, description="The metadata.generation this status belongs to."
    )
    outcome: Literal["Recovered", "NotRecovered", "Inconclusive", "Refused", "DryRun"] | None = Field(
        default=None, description="How it ended. Inconclusive: too little traffic to judge by."
    )
    record: ObjectName | None = Field(default=None, description="The record that answers this request.")
    accepted_at: Timestamp | None = Field(default=None, description="When the operator took it up.")
    executed_at: Timestamp | None = Field(default=None, description="When applications were served the other version.")
    judged_at: Timestamp | None = Field(default=None, description="When the outcome was judged.")
    before: Annotated[tuple[Measurement, ...], list_map("metric", at_most=32)] = Field(
        default=(), description="Metrics of the rejected version, before the switch."
    )
    after: Annotated[tuple[Measurement, ...], list_map("metric", at_most=32)] = Field(
        default=(), description="Metrics of the restored version, when the outcome was judged."
    )
    message: Text | None = Field(default=None, description="The outcome in one sentence.")
    conditions: Conditions = Field(default=(), description="Accepted, Executed and Recovered.")


class PromptRollback(Resource):
    """One rollback: who, why, from, to, on what evidence, and what came of it."""

    definition: ClassVar = Definition(
        kind="PromptRollback",
        plural="promptrollbacks",
        short="prr",
        columns=(
            Column("Prompt", ".spec.promptRef.name", "The prompt."),
            Column("From", ".spec.fromVersion", "The version that was left."),
            Column("To", ".spec.toVersion", "The version that was restored."),
            Column("Trigger", ".spec.trigger", "Manual or Automatic."),
            Column("Decision", ".spec.decision", "Executed, Refused or DryRun; empty for a request."),
            Column("Outcome", ".status.outcome", "How it ended."),
            AGE,
            Column("Guard", ".spec.guard", "The safeguard that objected.", wide=True),
            Column("Rule", ".spec.rule", "The rule that fired.", wide=True),
            Column("By", ".spec.requestedBy", "Who asked.", wide=True),
            Column("Released", ".spec.release.by", "Who lifted the hold.", wide=True),
        ),
        selectable=(".spec.promptRef.name", ".spec.trigger", ".spec.decision"),
    )

    kind: Literal["PromptRollback"] = "PromptRollback"
    spec: PromptRollbackSpec = Field(
        description="The request or the record; only release and acknowledge can be set later."
    )
    status: PromptRollbackStatus = Field(
        default_factory=PromptRollbackStatus, description="What came of it; written by the operator."
    )
