"""Status of the kinds beside Prompt: PromptVersion, PromptPolicy, Experiment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from prompt_operator.api.promptpolicy import PromptPolicyStatus
from prompt_operator.api.promptversion import PromptVersionStatus
from prompt_operator.core.conditions import Wanted, summary, transition
from prompt_operator.core.reasons import ConditionType, Reason
from prompt_operator.core.unimplemented import EXPERIMENT, PROMPT_POLICY, PROMPT_VERSION, not_implemented

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from prompt_operator.api.experiment import ExperimentStatus
    from prompt_operator.core.versions import VersionRecord


def version_settled(record: VersionRecord, activated_at: str) -> bool:
    """Tell whether the version's status says all it should, judged by the record alone.

    Args:
        record: the version.
        activated_at: since when the Prompt serves it (RFC 3339); empty when it does not.
    """
    if activated_at and record.activated_at != activated_at:
        return False
    wanted = (want.short for want in _version_conditions(record))
    said = summary(record.generation, _stage(record, activated_at), wanted)
    return bool(record.first_hash or not record.content_hash) and record.seen == said


def version_status(
    record: VersionRecord, before: PromptVersionStatus, activated_at: datetime | None, now: datetime
) -> PromptVersionStatus:
    """Return the status of a PromptVersion; the hash kept is the one first seen, or one a person accepted."""
    now = now.replace(microsecond=0)
    accepted = record.accepted_hash if record.accepted_hash == record.content_hash else ""
    left = activated_at is None and before.stage == "Active"
    return PromptVersionStatus(
        observed_generation=record.generation,
        content_hash=accepted or before.content_hash or record.content_hash or None,
        stage=_stage(record, "active" if activated_at else ""),
        activated_at=activated_at or before.activated_at,
        last_active_at=now if left else before.last_active_at,
        conditions=transition(before.conditions, _version_conditions(record), record.generation, now),
    )


def _stage(record: VersionRecord, active: str) -> Any:
    return "Active" if active else record.stage


def _version_conditions(record: VersionRecord) -> Iterator[Wanted]:
    problem = record.problem()
    yield Wanted(
        ConditionType.READY, "False" if problem else "True", problem or Reason.VALID, _READY[problem or Reason.VALID]
    )
    if record.verified():
        yield Wanted(ConditionType.VERIFIED, "True", Reason.IDENTICAL, "the content has the hash first seen")
    else:
        yield Wanted(ConditionType.VERIFIED, "False", Reason.HASH_MISMATCH, _READY[Reason.HASH_MISMATCH])
    idle = not_implemented(
        dict.fromkeys((field.removeprefix("spec.") for field in record.unsupported), True), PROMPT_VERSION
    )
    if idle is not None:
        yield idle


_READY = {
    Reason.VALID: "may be activated",
    Reason.VERSION_DRAFT: "a Draft is never activated: set spec.stage to Staged",
    Reason.HASH_MISMATCH: "the content is not the one that was declared or seen first: it is not activated, "
    "and what was projected before stays",
    Reason.NOT_IMPLEMENTED: "uses a field without effect in this release: it is not activated",
}


class PolicyProblems(NamedTuple):
    """What is wrong with a policy."""

    unreadable: str = ""
    """Why this release cannot read it; empty when it can."""
    bad_metrics: tuple[str, ...] = ()
    """A sentence per custom metric that cannot be used."""
    bad_rules: tuple[str, ...] = ()
    """A sentence per rule that cannot be used."""
    profile_missing: str = ""
    """The metric profile it names and that the operator does not have; empty otherwise."""
    source_missing: str = ""
    """The same of its metric source."""


def policy_status(
    spec: Mapping[str, Any], problems: PolicyProblems, before: PromptPolicyStatus, *,
    prompts: int, generation: int, now: datetime,
) -> PromptPolicyStatus:  # fmt: skip
    """Return the status of a PromptPolicy.

    Args:
        spec: its spec as written.
        problems: what is wrong with it.
        before: its status as it is.
        prompts: how many prompts are under it.
        generation: its metadata.generation.
        now: becomes the time of changed conditions.
    """
    wanted = [_policy_ready(problems)]
    idle = not_implemented(spec, PROMPT_POLICY)
    wanted += [idle] if idle else []
    return PromptPolicyStatus(
        observed_generation=generation,
        prompts=prompts,
        conditions=transition(before.conditions, wanted, generation, now.replace(microsecond=0)),
    )


def _policy_ready(problems: PolicyProblems) -> Wanted:
    bad = (*problems.bad_metrics, *problems.bad_rules)
    if problems.unreadable:
        return Wanted(ConditionType.READY, "False", Reason.POLICY_INVALID, problems.unreadable)
    if bad:
        reason = Reason.CUSTOM_METRIC_INVALID if problems.bad_metrics else Reason.RULE_INVALID
        return Wanted(ConditionType.READY, "False", reason, "; ".join(bad))
    for reason, kind, name in (
        (Reason.METRICS_SOURCE_NOT_FOUND, "source", problems.source_missing),
        (Reason.METRICS_PROFILE_NOT_FOUND, "profile", problems.profile_missing),
    ):
        if name:
            message = f"spec.metrics.{kind} is {name}, which the operator does not have: no rule is judged under it"
            return Wanted(ConditionType.READY, "False", reason, message)
    return Wanted(ConditionType.READY, "True", Reason.VALID, "in force for the prompts under it")


def experiment_status(
    spec: Mapping[str, Any], before: ExperimentStatus, *, generation: int, now: datetime
) -> ExperimentStatus:
    """Return the status of an Experiment: this release accepts it and does nothing with it, and says so."""
    message = "experiments are not run in this release: traffic is not split"
    wanted = [Wanted(ConditionType.READY, "False", Reason.NOT_IMPLEMENTED, message)]
    idle = not_implemented(spec, EXPERIMENT)
    wanted += [idle] if idle else []
    conditions = transition(before.conditions, wanted, generation, now.replace(microsecond=0))
    return before.model_copy(update={"observed_generation": generation, "conditions": conditions})
