"""Which version should be active, as far as people's wishes and holds decide it. Rules come after."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from prompt_operator.core import instant
from prompt_operator.core.ledger import Hold, holds_of
from prompt_operator.core.reasons import Reason
from prompt_operator.core.target import Candidate, Choice, choose, history_of, unusable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from prompt_operator.core.facts import Facts

RETRY_ANNOTATION = "promptops.dev/retryAt"
FUTURE_TOLERANCE = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Blocked:
    """Why the desired version is not active."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Standing:
    """Which version should be active now, and what keeps the desired one out."""

    active: str
    """Empty when nothing was ever activated and nothing can be."""
    blocked: Blocked | None
    holds: Mapping[str, Hold]

    def overridden(self, desired: str) -> bool:
        """Tell whether another version stands in for the desired one because that one was rejected."""
        return desired in self.holds and self.active not in ("", desired)


def standing(facts: Facts, now: datetime) -> Standing:
    """Decide which version should be active: the desired one if it may be, else the one that was."""
    holds = current_holds(facts, now)
    desired = facts.prompt.spec.version
    active = _served_now(facts, holds)
    if facts.prompt.spec.suspend:
        return Standing(active, None, holds)
    blocked = _blocked(facts, holds, desired)
    if blocked is None:
        return Standing(desired, None, holds)
    if desired in holds and (active in ("", *holds) or _lost(facts, active)):
        active = _fallen_back_to(facts, holds) or active
    return Standing(active, blocked, holds)


def current_holds(facts: Facts, now: datetime) -> dict[str, Hold]:
    """Return the holds in force: records, the decision not recorded yet, less what a person retried."""
    status = facts.prompt.status
    return holds_of(facts.records, status.decision, status.held, instant.parse(retry(facts, now)))


def retry(facts: Facts, now: datetime) -> str:
    """Return the newest retry as it was written, also when its annotation was removed since; empty without one.

    One that is malformed or in the future is none.
    """
    written = [each.value for each in facts.prompt.status.handled_requests if each.verb == "Retry"]
    written.append(facts.prompt.metadata.annotations.get(RETRY_ANNOTATION, ""))
    known = {text: at for text in written if (at := instant.parse(text)) and at <= now + FUTURE_TOLERANCE}
    return max(known, key=lambda text: known[text], default="")


def target_from(facts: Facts, active: str, holds: Mapping[str, Hold]) -> Choice:
    """Choose where a rollback from `active` goes."""
    version = facts.versions.get(active)
    left = {record.from_version for record in facts.records if record.executed}
    return choose(version.reference if version else "", history(facts, active), facts.versions, holds, left)


def history(facts: Facts, active: str) -> tuple[Candidate, ...]:
    """Return the versions that were served before, newest first, without the active one."""
    entries = ((entry.version, entry.hash) for entry in facts.prompt.status.history)
    return history_of(entries, facts.versions.values(), active)


def known_hash(facts: Facts, version: str) -> str:
    """Return the hash under which this prompt served the version before; empty when it did not."""
    status = facts.prompt.status
    if status.active_version == version and status.active_hash:
        return status.active_hash
    return next((entry.hash for entry in status.history if entry.version == version), "")


def _served_now(facts: Facts, holds: Mapping[str, Hold]) -> str:
    """Return the active version; where status was lost, the one our own ConfigMap still serves."""
    if facts.prompt.status.active_version:
        return facts.prompt.status.active_version
    served = facts.config_map.served if facts.config_map and facts.config_map.intact else None
    if served is None or not served.version:
        return ""
    return "" if unusable(Candidate(served.version, served.content_hash), facts.versions, holds) else served.version


def _lost(facts: Facts, active: str) -> bool:
    """Tell whether the active version can neither be read nor is served: it went away before it was projected."""
    if facts.served_version == active:
        return False
    version = facts.versions.get(active)
    return version is None or not version.verified(known_hash(facts, active))


def _fallen_back_to(facts: Facts, holds: Mapping[str, Hold]) -> str:
    """Return what to serve instead of a held version: what its rollback chose, else the newest usable one."""
    for record in sorted((r for r in facts.records if r.executed), key=lambda record: record.at, reverse=True):
        if not unusable(Candidate(record.to_version, known_hash(facts, record.to_version)), facts.versions, holds):
            return record.to_version
    return target_from(facts, facts.prompt.spec.version, holds).version


def _blocked(facts: Facts, holds: Mapping[str, Hold], desired: str) -> Blocked | None:
    """Say what keeps the desired version from being (newly) active."""
    if desired in holds:
        return _held(holds[desired])
    version = facts.versions.get(desired)
    if version is None or version.deleting:
        return Blocked(Reason.VERSION_MISSING, f"PromptVersion {facts.prompt.metadata.name}-{desired} does not exist")
    problem = version.problem(known_hash(facts, desired))
    if problem:
        return Blocked(problem, _PROBLEMS[problem].format(name=version.name, fields=", ".join(version.unsupported)))
    if facts.policy_missing and facts.prompt.status.active_version != desired:
        return policy_missing(facts)
    return None


def policy_missing(facts: Facts) -> Blocked:
    """Say that the named policy is not there."""
    return Blocked(
        Reason.POLICY_NOT_FOUND,
        f"PromptPolicy {facts.policy_missing} does not exist: the built-in policy applies "
        "and no new version is activated",
    )


def _held(hold: Hold) -> Blocked:
    return Blocked(
        Reason.VERSION_HELD,
        f"{hold.version} was rolled back and stays out: set spec.release of PromptRollback {hold.record}, "
        f"or annotate the Prompt with {RETRY_ANNOTATION}=<time now>",
    )


_PROBLEMS = {
    Reason.VERSION_DRAFT: "{name} is a Draft: set its stage to Staged to activate it",
    Reason.HASH_MISMATCH: "{name} has not the content that was declared or seen first: "
    "restore it, or release it under a new version",
    Reason.NOT_IMPLEMENTED: "{name} uses {fields}, which this release does not act on: it is not activated",
}
